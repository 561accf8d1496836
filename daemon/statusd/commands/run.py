"""`statusd run`: the daemon as a process: signals, notifications, exit codes."""

from __future__ import annotations

import errno
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
from statusd.app import Running, run_daemon
from statusd.config.load import find, read
from statusd.config.mistakes import ConfigError
from statusd.errors import StartError, only
from statusd.events import CONFIG_MISTAKE, START_FAILED, STARTED, event
from statusd.outcome import file_in
from statusd.planning import Plan, plan
from statusd.redaction import Redactor
from statusd.reloading import Reading, Reloader
from statusd.runtime.garbage import collect_for_ever, spare_answers
from statusd.runtime.lag import source_tasks
from statusd.runtime.watchdog import Watchdog, extend_stop, schedule_silence
from statusd.signals import stop_on_signal
from statusd.systemd.activation import Inherited, forget, inherited
from statusd.systemd.logs import LogFormat, configure_logging, flush
from statusd.systemd.notify import Notifier, watchdog_interval
from statusd.systemd.uncaught import log_uncaught_exceptions
from statusd.telling import StatusTeller

HARD_STOP: Final = 4.5
"""Seconds after the first signal at which a plugin that cannot be cancelled no longer keeps the process."""
LEFT_THREADS: Final = 0.5
"""Seconds after the daemon has stopped for which threads that plugins started may still run."""
log = logging.getLogger(__name__)


def run(
    config: str | None,
    bind: Sequence[str] | None,
    environ: Mapping[str, str],
    log_format: LogFormat = "auto",
) -> int:
    """Run the daemon until SIGTERM or SIGINT; return the exit code."""
    redactor = Redactor()
    configure_logging(environ, redact=redactor, log_format=log_format, in_background=True)
    log_uncaught_exceptions()
    code = _run(config, bind, environ, redactor)
    _leave_threads(code)
    return code


def _run(
    config: str | None, bind: Sequence[str] | None, environ: Mapping[str, str], redactor: Redactor
) -> int:
    notifier = Notifier(environ)
    try:
        host = _host(config, bind, environ, redactor, notifier)
        planned = host.reloader.plan()
        spare_answers()
        trio.run(host.run, planned, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        return _failed(only(group), notifier)
    except (ConfigError, StartError) as error:
        return _failed(error, notifier)
    return 0


def _host(
    config: str | None,
    bind: Sequence[str] | None,
    environ: Mapping[str, str],
    redactor: Redactor,
    notifier: Notifier,
) -> Host:
    # What systemd says of sockets is about this process, and not about the commands that it runs.
    sockets = inherited(environ)
    forget(os.environ)
    stop, teller = trio.Event(), StatusTeller(notifier)
    reading = Reading(
        plan=lambda: plan(read(config, environ, bind), redactor=redactor),
        find=lambda: find(config, environ),
    )
    reloader = Reloader(reading=reading, teller=teller, stop=stop, file=file_in(environ))
    signal.signal(signal.SIGHUP, lambda *_: reloader.want())  # from now on it ends nothing
    return Host(
        environ=environ, notifier=notifier, reloader=reloader, teller=teller, stop=stop, sockets=sockets
    )


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
                companions=(self.reloader.run, self._watch_over),
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


def _leave_threads(code: int) -> None:
    """See to it that the process ends soon: Python would wait for every thread that a plugin left behind."""
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    if left:
        timer = threading.Timer(LEFT_THREADS, _end_without, (left, code))
        timer.daemon = True
        timer.start()


def _end_without(threads: Sequence[str], code: int) -> NoReturn:
    log.warning(
        "threads that plugins started do not end (%s); the process ends without them", ", ".join(threads)
    )
    flush()
    os._exit(code)


def _failed(error: BaseException, notifier: Notifier) -> int:
    """Say what ended the daemon, to people and to systemd; return the exit code."""
    if isinstance(error, ConfigError):
        for mistake in error.mistakes:
            log.error("%s: %s", error.origin, mistake, extra=event(CONFIG_MISTAKE))
        notifier.errno(errno.EINVAL, f"{len(error.mistakes)} mistakes in {error.origin}")
        return os.EX_CONFIG  # the unit does not restart on it
    if isinstance(error, StartError):
        log.error("%s", error, extra=event(START_FAILED))
        cause = error.__cause__
        number = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EINVAL
        notifier.errno(number, str(error))
        return 1
    raise error from None  # the groups that wrapped it say nothing
