"""`statusd run`: the daemon as a process: signals, notifications, exit codes."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NoReturn

import attrs
import trio

from statusd import __version__
from statusd.app import run_daemon
from statusd.config.load import read
from statusd.config.mistakes import ConfigError
from statusd.errors import StartError, only
from statusd.model.snapshot import Change, Snapshot
from statusd.planning import Plan, plan
from statusd.redaction import Redactor
from statusd.runtime.garbage import collect_for_ever, spare_answers
from statusd.runtime.lag import source_tasks
from statusd.signals import stop_on_signal
from statusd.systemd.journal import configure_logging, log_uncaught_exceptions
from statusd.systemd.notify import Notifier

HARD_STOP: Final = 4.5
"""Seconds after the first signal at which a plugin that cannot be cancelled no longer keeps the process."""
LEFT_THREADS: Final = 0.5
"""Seconds after the daemon has stopped for which threads that plugins started may still run."""
READY_TRIES: Final = 50
READY_PAUSE: Final = 0.1
"""Seconds between two tries to tell systemd."""
log = logging.getLogger(__name__)


def run(config: str | None, bind: Sequence[str] | None, environ: Mapping[str, str]) -> int:
    """Run the daemon until SIGTERM or SIGINT; return the exit code."""
    code = _run(config, bind, environ)
    _leave_threads(code)
    return code


def _run(config: str | None, bind: Sequence[str] | None, environ: Mapping[str, str]) -> int:
    redactor = Redactor()
    configure_logging(environ, redact=redactor)
    log_uncaught_exceptions()
    notifier = Notifier(environ)
    try:
        planned = plan(read(config, environ, bind), redactor=redactor)
        spare_answers()
        trio.run(run_until_signal, planned, notifier, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        return _failed(only(group), notifier)
    except (ConfigError, StartError) as error:
        return _failed(error, notifier)
    return 0


async def run_until_signal(planned: Plan, notifier: Notifier) -> None:
    """Run the daemon until a signal; a second one hastens the stop."""
    stop = trio.Event()
    teller = StatusTeller(notifier)
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signal, stop, nursery.cancel_scope, partial(_begin_to_stop, notifier))
        nursery.start_soon(collect_for_ever)
        nursery.start_soon(_ready_when_started, planned, stop, teller, nursery.cancel_scope)


def _begin_to_stop(notifier: Notifier) -> None:
    notifier.stopping()
    timer = threading.Timer(HARD_STOP, _stop_hard, [trio.lowlevel.current_root_task()])
    timer.daemon = True
    timer.start()


def _stop_hard(root: trio.lowlevel.Task | None) -> NoReturn:
    # Read from another thread while the loop may run: at this point a name too few or too many does no harm.
    names = ", ".join(source_tasks(root)) if root is not None else ""
    text = "%s does not end within %g s of the signal; the process ends without it"
    log.critical(text, names or "a task", HARD_STOP)
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
    os._exit(code)


async def _ready_when_started(
    planned: Plan, stop: trio.Event, teller: StatusTeller, scope: trio.CancelScope
) -> None:
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(run_daemon, planned, stop=stop, listeners=(teller.take,)))
        if not stop.is_set():  # a signal may have come first, and STOPPING cannot be taken back
            log.info(
                "statusd %s is ready on %s, configuration: %s",
                __version__,
                ", ".join(addresses),
                planned.configuration.origin,
            )
            await _tell_ready(teller, stop)
    scope.cancel()


async def _tell_ready(teller: StatusTeller, stop: trio.Event) -> None:
    """Say READY, again for a while where systemd's queue is full: without it the start would time out."""
    for _ in range(READY_TRIES):
        if stop.is_set() or teller.ready():
            return
        await trio.sleep(READY_PAUSE)


@attrs.define(eq=False)
class StatusTeller:
    """Keeps systemd's status line in step with the tree.

    Attributes:
        notifier: where to.
    """

    notifier: Notifier
    _line: str = "starting"
    _is_ready: bool = False

    def take(self, change: Change) -> None:
        """Take what a revision brings; tells systemd when the line changes."""
        line = status_line(change.snapshot)
        if line != self._line:
            self._line = line
            if self._is_ready:
                self.notifier.status(line)

    def ready(self) -> bool:
        """Tell systemd that the daemon is ready; False when it could not be told now."""
        self._is_ready = True
        return self.notifier.ready(self._line)


def status_line(snapshot: Snapshot) -> str:
    """Return the rollup in one line: ``degraded: 4 of 6 models connected; sources: 3 ok, 1 down, 2 off``."""
    models = snapshot.root.children["models"].children.values()
    sources = snapshot.root.children["sources"].children.values()
    connected = sum(node.status.is_connected for node in models)
    counts = Counter(node.status for node in sources)
    in_words = ", ".join(
        f"{counts[status]} {status}" for status in sorted(counts, key=lambda one: one.severity)
    )
    return f"{snapshot.root.status}: {connected} of {len(models)} models connected; sources: {in_words or 'none'}"


def _failed(error: BaseException, notifier: Notifier) -> int:
    """Say what ended the daemon, to people and to systemd; return the exit code."""
    if isinstance(error, ConfigError):
        for mistake in error.mistakes:
            log.error("%s: %s", error.origin, mistake)
        notifier.errno(errno.EINVAL, f"{len(error.mistakes)} mistakes in {error.origin}")
        return os.EX_CONFIG  # the unit does not restart on it
    if isinstance(error, StartError):
        log.error("%s", error)
        cause = error.__cause__
        number = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EINVAL
        notifier.errno(number, str(error))
        return 1
    raise error from None  # the groups that wrapped it say nothing
