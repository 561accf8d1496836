"""Reloads the configuration while the daemon runs: checked whole first, then turned to, or left alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import attrs
import trio

from statusd.app import Running
from statusd.building import CONFIG, facts_about, faults_of
from statusd.config.mistakes import ConfigError
from statusd.errors import StartError
from statusd.events import CONFIG_MISTAKE, RELOAD_FAILED, RELOADED, event
from statusd.model.report import Report
from statusd.outcome import MOST, Outcome, monotonic, start_of, write
from statusd.planning import Plan
from statusd.runtime.messages import Statement
from statusd.telling import StatusTeller
from statusd.turning import Turned, unforeseen

READING: Final = 15.0
"""Seconds in which the file, its secrets and its plugins must be read; a network file system may hang."""
HANGING: Final = 4
"""Readings that may hang at a time: a pipe that somebody has put in the file's place must not be the end of all reloads."""
LONGEST: Final = 2000
"""Characters of a message that are told: a file may hold a word of a million, and as many messages have to fit the outcome."""
LOOK: Final = 1.0
"""Seconds between two looks at a file that is watched."""
log = logging.getLogger(__name__)

_Signature: TypeAlias = tuple[object, ...]


@attrs.frozen(kw_only=True)
class Reading:
    """Reads the configuration.

    Attributes:
        plan: reads it, and holds it against the installed plugins; blocks. Raises ConfigError and StartError.
        find: returns the file that `plan` would read, or None.
    """

    plan: Callable[[], Plan]
    find: Callable[[], str | None]

    def signature(self) -> _Signature:
        """Return what tells whether the file is still the same, symbolic links followed."""
        path = self.find()
        try:
            found = os.stat(path) if path is not None else None  # noqa: PTH116  # the path as given
        except (OSError, ValueError):
            found = None
        if found is None:
            return (path,)
        # The last one changes also where the file is given another owner or mode, or its old time back (inode(7)).
        return path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@attrs.define(eq=False, kw_only=True)
class Reloader:
    """Reloads the configuration, one at a time; what is asked for meanwhile comes next, once.

    Attributes:
        reading: reads the configuration.
        teller: tells systemd.
        stop: set when the daemon stops.
        file: takes the outcomes; None: nobody can read them.
    """

    reading: Reading
    teller: StatusTeller
    stop: trio.Event
    file: Path | None = None
    _wanted: trio.Event = attrs.field(factory=trio.Event, init=False)
    _seen: _Signature = attrs.field(default=(), init=False)
    _threads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(HANGING), init=False)

    def plan(self) -> Plan:
        """Read the configuration, and remember which file that was; blocks.

        Raises:
            ConfigError: with every mistake in it.
            StartError: when two plugins claim one name.
        """
        self._seen = self.reading.signature()  # first: a change while it is read is then seen
        return self.reading.plan()

    def want(self) -> None:
        """Have the configuration reloaded, soon."""
        self._wanted.set()

    async def run(
        self, running: Running, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Reload whenever that is wanted, until the daemon stops.

        Args:
            running: what is turned to the new configuration.
            task_status: started once the outcome of the start is in the file.
        """
        now = monotonic()
        await self._note(running, began=now, code=0, messages=())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, running)
            nursery.start_soon(self._end, nursery.cancel_scope)
            task_status.started()
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                await self._reload(running)

    async def _end(self, scope: trio.CancelScope) -> None:
        """Give up what is under way when the daemon stops: its parts take nothing new any more."""
        await self.stop.wait()
        scope.cancel()

    async def _reload(self, running: Running) -> None:
        began = monotonic()
        self.teller.reloading()
        remark, code, wrong = "", 0, 0
        # It knows the secrets of former configurations, too, which a bad file may spell out.
        redact = running.daemon.plan.redactor
        try:
            turned = await running.turn(await self._planned())
        except ConfigError as error:
            # A file may hold a hundred thousand; only these are told.
            messages = [_cut(redact(f"{error.origin}: {mistake}")) for mistake in error.mistakes[:MOST]]
            code, wrong = os.EX_CONFIG, len(error.mistakes)
        except StartError as error:
            # A path that the command line gave need not be UTF-8.
            messages = [_cut(redact(str(error).encode(errors="backslashreplace").decode()))]
            code, wrong = 1, 1
        else:
            plan = running.daemon.plan
            origin = plan.configuration.origin
            faults = [f"{origin}: {fault}" for fault in faults_of(plan, running.daemon.parts)]
            messages = [_cut(redact(message)) for message in (_in_words(turned), *faults)[:MOST]]
            log.info(
                "reloaded %s: %s",
                origin,
                messages[0],
                extra=event(RELOADED, generation=str(running.daemon.generation)),
            )
        if code:
            remark = await self._failed(running, messages, wrong)
        await self._note(running, began=began, code=code, messages=messages)
        await self.teller.reloaded(self.stop, remark)

    async def _planned(self) -> Plan:
        try:
            with trio.fail_after(READING):
                return await trio.to_thread.run_sync(
                    self._contained_plan, abandon_on_cancel=True, limiter=self._threads
                )
        except trio.TooSlowError:
            raise StartError(
                f"The configuration could not be read within {READING:g} s; see whether its file system hangs, "
                "or a plugin does while it is loaded."
            ) from None

    def _contained_plan(self) -> Plan:
        try:
            return self.plan()
        except (ConfigError, StartError):
            raise
        except BaseException as error:  # noqa: BLE001  # containment: plugins are loaded in there; the daemon goes on
            raise unforeseen(error) from None

    async def _failed(self, running: Running, messages: Sequence[str], wrong: int) -> str:
        """Say in the log and in the tree that the old configuration goes on; return it in short.

        Args:
            running: what goes on.
            messages: what is wrong, as far as that is told.
            wrong: how much there is in all.
        """
        daemon = running.daemon
        for message in messages:
            log.error("%s", message, extra=event(CONFIG_MISTAKE))
        more = f" (and {wrong - 1} more)" if wrong > 1 else ""
        remark = f"the last reload failed: {messages[0]}{more}"
        log.error(
            "the reload failed, and generation %d goes on: %s%s",
            daemon.generation,
            messages[0],
            more,
            extra=event(RELOAD_FAILED, generation=str(daemon.generation)),
        )
        facts = facts_about(daemon.plan, daemon.generation)
        text = f"The new configuration cannot be used, and the old one goes on: {messages[0]}{more}"
        report = Report.degraded("reload_failed", text, facts=facts)
        await daemon.hub.send(Statement(path=CONFIG, report=report))
        return remark

    async def _note(self, running: Running, *, began: float, code: int, messages: Sequence[str]) -> None:
        """Write the outcome to the file."""
        if self.file is None:
            return
        outcome = Outcome(
            pid=os.getpid(),
            start=start_of(os.getpid()) or 0,
            began=began,
            ended=monotonic(),
            ok=code == 0,
            generation=running.daemon.generation,
            code=code,
            messages=tuple(messages[:MOST]),
        )
        try:
            await trio.to_thread.run_sync(write, self.file, outcome)
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): `statusd reload` cannot tell what becomes of a reload; "
                "see to it that this user can write in that directory",
                self.file,
                error.strerror,
            )

    async def _watch(self, running: Running) -> NoReturn:
        """Want a reload once the file has changed and then stayed the same for a look, while that is configured.

        An empty file is one that is about to be written, or could not be: on a full disk that is all that is left of it.
        """
        limiter = trio.CapacityLimiter(1)  # its own: a file system that hangs must not stop other work
        changed: _Signature = ()
        while True:
            await trio.sleep(LOOK)
            if not running.daemon.plan.configuration.reload.watch:
                continue
            now = await trio.to_thread.run_sync(
                self.reading.signature, abandon_on_cancel=True, limiter=limiter
            )
            if now != self._seen and now == changed and not _is_empty(now):
                self._seen = now
                self.want()
            changed = now


def _is_empty(signature: _Signature) -> bool:
    return signature[3:4] == (0,)


def _cut(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[: LONGEST - 1]}…"


def _in_words(turned: Turned) -> str:
    parts = [
        f"{what}: {', '.join(names)}"
        for what, names in (("started", turned.started), ("stopped", turned.stopped))
        if names
    ]
    count = len(turned.kept)
    return "; ".join([*parts, f"{count} source{'s go' if count != 1 else ' goes'} on"])
