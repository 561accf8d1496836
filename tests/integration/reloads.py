"""A daemon inside a test's own trio run that reloads its configuration from a text that the test changes."""

import contextlib
import os
from functools import partial
from pathlib import Path

import attrs
import trio

from statusd.app import Running, run_daemon
from statusd.config.load import read_text
from statusd.outcome import read as read_outcome
from statusd.planning import plan
from statusd.reloading import Reading, Reloader
from statusd.systemd.notify import Notifier
from statusd.telling import StatusTeller
from tests.integration.inprocess import DEADLINE, Client
from tests.stages import configured


@attrs.define(eq=False)
class Reloading:
    """A running daemon with its reloader.

    Attributes:
        path: of its configuration.
        outcomes: the file of outcomes.
        bind: addresses in place of those of the configuration, or None.
        points: the entry points to choose plugins from, or None for the installed ones.
    """

    path: Path
    outcomes: Path
    bind: list[str] | None = None
    points: list | None = None
    reloader: Reloader = attrs.field(init=False)
    running: Running = attrs.field(init=False)
    client: Client = attrs.field(init=False)

    def plan(self):
        text = configured(self.path.read_text())
        settings = read_text(text, str(self.path), os.environ, bind=self.bind)
        return plan(settings, points=self.points, redactor=self.redactor)

    redactor: object = None

    async def reload(self, text):
        """Have the daemon reload `text`; return what became of it."""
        before = read_outcome(self.outcomes)
        self.path.write_text(text)
        self.reloader.want()
        return await self.outcome_after(before)

    async def outcome_after(self, before):
        with trio.fail_after(DEADLINE):
            while (found := read_outcome(self.outcomes)).began == before.began:
                await trio.sleep(0.005)
        return found

    async def know(self, running, *, task_status=trio.TASK_STATUS_IGNORED):
        """Companion of the daemon: learn where it is."""
        self.running = running
        task_status.started()


@contextlib.asynccontextmanager
async def reloading(tmp_path, text, *, bind=("127.0.0.1:0",), points=None, redactor=None):
    """Run the daemon with the configuration `text`; yields a `Reloading`."""
    path, outcomes = tmp_path / "statusd.toml", tmp_path / "reload.json"
    path.write_text(text)
    daemon = Reloading(path, outcomes, bind and list(bind), points, redactor=redactor)
    stop = trio.Event()
    reading = Reading(plan=daemon.plan, find=lambda: str(path))
    daemon.reloader = Reloader(reading=reading, teller=StatusTeller(Notifier({})), stop=stop, file=outcomes)
    async with trio.open_nursery() as nursery:
        begin = partial(
            run_daemon, daemon.reloader.plan(), stop=stop, companions=(daemon.know, daemon.reloader.run)
        )
        address, *_ = await nursery.start(begin)
        daemon.client = Client(address)
        try:
            yield daemon
        finally:
            with trio.CancelScope(shield=True):
                await daemon.client.aclose()
            stop.set()
            with trio.move_on_after(6, shield=True) as scope:
                while nursery.child_tasks:
                    await trio.sleep(0.005)
            assert not scope.cancelled_caught, "the daemon did not stop within 6 s"
