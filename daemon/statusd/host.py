"""The daemon towards its host: signals, what the service manager is told, and what operators say to it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NoReturn

import attrs
import trio

from statusd import __version__
from statusd.app import Companion, Running, run_daemon
from statusd.control.drains import drain_commands
from statusd.control.place import socket_path
from statusd.control.server import ControlServer
from statusd.events import STARTED, event
from statusd.planning import Plan
from statusd.reloading import Reloader
from statusd.runtime.garbage import collect_for_ever
from statusd.runtime.lag import source_tasks
from statusd.runtime.reminder import Reminder
from statusd.runtime.watchdog import Watchdog, extend_stop, schedule_silence
from statusd.signals import stop_on_signal
from statusd.systemd.activation import Inherited
from statusd.systemd.logs import flush
from statusd.systemd.notify import Notifier, watchdog_interval
from statusd.telling import StatusTeller

HARD_STOP: Final = 4.5
"""Seconds after the first signal at which a plugin that cannot be cancelled no longer keeps the process."""
log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Host:
    """The daemon towards its host: signals, and what the service manager is told.

    Attributes:
        environ: the environment.
        notifier: reaches the service manager.
        reloader: reloads the configuration.
        teller: keeps the status line.
        stop: set at the first signal to stop.
        sockets: those that systemd handed over.
    """

    environ: Mapping[str, str]
    notifier: Notifier
    reloader: Reloader
    teller: StatusTeller
    stop: trio.Event
    sockets: Sequence[Inherited] = ()

    async def run(self, planned: Plan) -> None:
        """Run the daemon until a signal; a second one hastens the stop."""
        async with trio.open_nursery() as nursery:
            await nursery.start(
                stop_on_signal, self.stop, nursery.cancel_scope, partial(self._begin_to_stop, nursery)
            )
            await nursery.start(_reload_on_signal, self.reloader)
            nursery.start_soon(collect_for_ever)
            nursery.start_soon(self._run_daemon, planned, nursery.cancel_scope)

    def _begin_to_stop(self, nursery: trio.Nursery) -> None:
        self.notifier.stopping()
        nursery.start_soon(extend_stop, self.notifier)
        timer = threading.Timer(HARD_STOP, _stop_hard, [trio.lowlevel.current_root_task()])
        timer.daemon = True
        timer.start()

    async def _run_daemon(self, planned: Plan, scope: trio.CancelScope) -> None:
        async with trio.open_nursery() as nursery:
            daemon = partial(
                run_daemon,
                planned,
                stop=self.stop,
                listeners=(self.teller.take,),
                companions=self._companions(),
                inherited=self.sockets,
            )
            addresses = await nursery.start(daemon)
            if not self.stop.is_set():  # a signal may have come first, and STOPPING cannot be taken back
                log.info(
                    "statusd %s is ready on %s, configuration: %s",
                    __version__,
                    ", ".join(addresses),
                    planned.configuration.origin,
                    extra=event(STARTED),
                )
                await self.teller.ready(self.stop)
        scope.cancel()

    def _companions(self) -> tuple[Companion, ...]:
        return (
            self.reloader.run,
            self._take_commands,
            _remind,
            self._watch_over,
        )

    async def _take_commands(
        self, running: Running, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take the commands of operators at the control socket."""
        server = ControlServer(socket_path(self.environ), drain_commands(running.daemon.drains))
        await server.run(task_status=task_status)

    async def _watch_over(
        self, running: Running, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Feed systemd's watchdog while the hub, the sources' schedule and the accept loops make progress."""
        daemon, doors = running.daemon, running.doors
        watchdog = Watchdog(
            manager=self.notifier,
            interval=watchdog_interval(self.environ),
            signs={
                "the hub": lambda: daemon.running.pulse.silence,
                "the sources' schedule": lambda: schedule_silence(daemon.sources, trio.current_time()),
                "the accept loops": lambda: doors.server.silence,
            },
        )
        await watchdog.run(task_status=task_status)


async def _remind(running: Running, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    await Reminder(lambda: running.daemon.hub.snapshot).run(task_status=task_status)


async def _reload_on_signal(
    reloader: Reloader, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as received:
        task_status.started()
        async for _ in received:
            reloader.want()


def _stop_hard(root: trio.lowlevel.Task | None) -> NoReturn:
    # Read from another thread while the loop may run: at this point a name too few or too many does no harm.
    names = ", ".join(source_tasks(root)) if root is not None else ""
    text = "%s does not end within %g s of the signal; the process ends without it"
    log.critical(text, names or "a task", HARD_STOP)
    flush()
    os._exit(1)
