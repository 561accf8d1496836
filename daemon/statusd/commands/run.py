"""`statusd run`: the daemon as a process: signals, notifications, exit codes."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import trio

from statusd.config.load import find, read
from statusd.config.mistakes import ConfigError
from statusd.errors import StartError, only
from statusd.events import CONFIG_MISTAKE, START_FAILED, event
from statusd.host import Host
from statusd.outcome import file_in
from statusd.planning import plan
from statusd.redaction import Redactor
from statusd.reloading import Reading, Reloader
from statusd.runtime.garbage import spare_answers
from statusd.signals import SIGNALS, outlast_further_ones
from statusd.systemd.activation import forget, inherited
from statusd.systemd.logs import LogFormat, configure_logging, flush
from statusd.systemd.notify import Notifier
from statusd.systemd.uncaught import log_uncaught_exceptions
from statusd.telling import StatusTeller

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
    # It ends by itself from here, with this code. Python gives back their effect to signals with a handler, not to these.
    for number in (*SIGNALS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
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
    outlast_further_ones(stop)
    return Host(
        environ=environ, notifier=notifier, reloader=reloader, teller=teller, stop=stop, sockets=sockets
    )


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
        more = f" (and {len(error.mistakes) - 1} more)" if len(error.mistakes) > 1 else ""
        notifier.errno(errno.EINVAL, f"{error.origin}: {error.mistakes[0]}{more}")
        return os.EX_CONFIG  # the unit does not restart on it
    if isinstance(error, StartError):
        log.error("%s", error, extra=event(START_FAILED))
        cause = error.__cause__
        number = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EINVAL
        notifier.errno(number, str(error))
        return 1
    raise error from None  # the groups that wrapped it say nothing
