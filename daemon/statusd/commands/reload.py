"""`statusd reload`: has a running daemon reload its configuration, and waits for what becomes of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from statusd.errors import StartError
from statusd.outcome import (
    DIRECTORY,
    FILE,
    GREATEST_PID,
    Outcome,
    monotonic,
    read_with_owner,
    start_of,
    users_of,
)
from statusd.systemd.escaping import escape
from statusd.systemd.journal import is_journal

TIMEOUT: Final = 25.0
"""Seconds that a reload may take: less than the unit gives ``ExecReload=`` (TimeoutStartSec=30s), so that this says why."""
PAUSE: Final = 0.02
"""Seconds between two looks at the outcome."""


@attrs.frozen
class Reloaded:
    """What became of a reload.

    Attributes:
        outcome: as the daemon wrote it.
    """

    outcome: Outcome

    @property
    def exit_code(self) -> int:
        """0; 1 for a fault; 78 for a mistake in the configuration."""
        return self.outcome.code

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        outcome = self.outcome
        return {
            "ok": outcome.ok,
            "generation": outcome.generation,
            "messages": list(outcome.messages),
            "seconds": round(outcome.ended - outcome.began, 3),
        }

    def as_text(self, *, is_in_log: bool = False) -> str:
        """Return it for people, and their terminals.

        Args:
            is_in_log: whether it goes where the daemon has said already what is wrong.
        """
        outcome = self.outcome
        messages = [escape(message) for message in outcome.messages]
        if outcome.ok:
            told = f"reloaded: generation {outcome.generation}; {messages[0] if messages else 'as it was'}"
            return "\n".join([told, *messages[1:]])
        failed = f"not reloaded: generation {outcome.generation} goes on"
        if is_in_log:
            return f"{failed}; what is wrong stands before this in the log"
        return "\n".join([*messages, failed])


def is_in_log(environ: Mapping[str, str], descriptor: int = 1) -> bool:
    """Whether this runs as ``ExecReload=``, and what it prints goes to the journal, as what the daemon logs does.

    Args:
        environ: the environment; systemd alone sets ``$MAINPID``.
        descriptor: where it prints.
    """
    return _main_pid(environ) is not None and is_journal(environ, descriptor)


def reload(
    environ: Mapping[str, str],
    *,
    pid: int | None = None,
    directory: str | None = None,
    timeout: float = TIMEOUT,
) -> Reloaded:
    """Send SIGHUP to the daemon, and return what became of the reload that this began.

    Args:
        environ: the environment; ``$RUNTIME_DIRECTORY`` and ``$MAINPID`` are systemd's (systemd.exec(5), systemd.service(5)).
        pid: the daemon's process; by default ``$MAINPID``, then what the file of outcomes names.
        directory: where that file is; by default ``$RUNTIME_DIRECTORY``, then that of the unit.
        timeout: seconds to wait.

    Raises:
        StartError: when there is no daemon, or it may not be sent a signal, or does not reload in time.
    """
    path = Path(directory or environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or DIRECTORY, FILE)
    known, owner = _read(path) or (None, None)
    named = pid or _main_pid(environ)
    pid = named or (known.pid if known is not None else None)
    if pid is None:
        raise StartError(
            f"no daemon has written {path}; name its directory with --runtime-directory, or start statusd"
        )
    if not 0 < pid <= GREATEST_PID:
        raise StartError(f"{pid} is no process: name one with a number from 1 to {GREATEST_PID}")
    if known is not None and known.pid != pid:
        raise StartError(
            f"{path} is of another process ({known.pid}, not {pid}); name the right one with --pid"
        )
    with _held(pid) as process:
        if known is not None and start_of(pid) not in {known.start, None}:
            raise StartError(f"the process {pid} that {path} names has ended: statusd does not run; start it")
        if named is None and users_of(pid) != {owner}:
            raise StartError(
                f"the process {pid} is not one of the user who wrote {path}, so it is sent no signal; "
                "if it is statusd, name it with --pid"
            )
        began = monotonic()
        _signal(pid, process)
    return Reloaded(_outcome(path, pid, began, timeout))


def _main_pid(environ: Mapping[str, str]) -> int | None:
    text = environ.get("MAINPID", "")
    return int(text) if text.isascii() and text.isdigit() and text != "0" else None


@contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """Hold on to the process that has this number now: another one may get it (pidfd_open(2)); None: that cannot be."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        raise StartError(f"there is no process {pid}: statusd does not run; start it") from None
    except OSError:  # an old kernel, or a filter of system calls
        yield None
        return
    try:
        yield process
    finally:
        os.close(process)


def _signal(pid: int, process: int | None) -> None:
    try:
        if process is None:
            os.kill(pid, signal.SIGHUP)
        else:
            signal.pidfd_send_signal(process, signal.SIGHUP)
    except ProcessLookupError:
        raise StartError(f"there is no process {pid}: statusd does not run; start it") from None
    except PermissionError:
        raise StartError(
            f"the process {pid} may not be sent a signal by this user; run this as root, or `systemctl reload statusd`"
        ) from None


def _outcome(path: Path, pid: int, began: float, timeout: float) -> Outcome:
    deadline = began + timeout
    while monotonic() < deadline:
        found, _ = _read(path) or (None, None)
        if found is not None and found.pid == pid and found.began >= began:
            return found
        _expect_alive(pid)
        time.sleep(PAUSE)  # between two looks at a file: nothing tells of its change that works everywhere
    raise StartError(
        f"the daemon did not say within {timeout:g} s in {path} what became of the reload; see its log, "
        "and whether it has a $RUNTIME_DIRECTORY that it can write to"
    )


def _expect_alive(pid: int) -> None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise StartError(f"the process {pid} ended meanwhile; see its log") from None


def _read(path: Path) -> tuple[Outcome, int] | None:
    """Return what stands in the file, and whose word it is; None where there is none."""
    try:
        return read_with_owner(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise StartError(f"{path} may not be read by this user; run this as root") from None
    except (OSError, ValueError):
        raise StartError(f"{path} is not what this version of statusd writes; restart the daemon") from None
