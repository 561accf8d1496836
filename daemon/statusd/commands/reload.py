"""`statusd reload`: has a running daemon reload its configuration, and waits for what becomes of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from statusd.errors import StartError
from statusd.outcome import DIRECTORY, FILE, Outcome, monotonic, read, start_of

TIMEOUT: Final = 60.0
"""Seconds that a reload may take."""
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

    def as_text(self) -> str:
        """Return it for people."""
        outcome = self.outcome
        if outcome.ok:
            return f"reloaded: generation {outcome.generation}; {'; '.join(outcome.messages)}"
        return "\n".join([*outcome.messages, f"not reloaded: generation {outcome.generation} goes on"])


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
    known = _read(path)
    pid = pid or _main_pid(environ) or (known.pid if known is not None else None)
    if pid is None:
        raise StartError(
            f"no daemon has written {path}; name its directory with --runtime-directory, or start statusd"
        )
    if known is not None and known.pid != pid:
        raise StartError(
            f"{path} is of another process ({known.pid}, not {pid}); name the right one with --pid"
        )
    if known is not None and start_of(pid) not in {known.start, None}:
        raise StartError(f"the process {pid} that {path} names has ended: statusd does not run; start it")
    began = monotonic()
    _signal(pid)
    return Reloaded(_outcome(path, pid, began, timeout))


def _main_pid(environ: Mapping[str, str]) -> int | None:
    text = environ.get("MAINPID", "")
    return int(text) if text.isascii() and text.isdigit() and text != "0" else None


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        raise StartError(f"there is no process {pid}: statusd does not run; start it") from None
    except PermissionError:
        raise StartError(
            f"the process {pid} may not be sent a signal by this user; run this as root, or `systemctl reload statusd`"
        ) from None


def _outcome(path: Path, pid: int, began: float, timeout: float) -> Outcome:
    deadline = began + timeout
    while monotonic() < deadline:
        found = _read(path)
        if found is not None and found.pid == pid and found.began >= began:
            return found
        _expect_alive(pid)
        time.sleep(PAUSE)  # between two looks at a file: nothing tells of its change that works everywhere
    raise StartError(
        f"the daemon did not say within {timeout:g} s what became of the reload; see its log, "
        "and whether it has a $RUNTIME_DIRECTORY"
    )


def _expect_alive(pid: int) -> None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise StartError(f"the process {pid} ended meanwhile; see its log") from None


def _read(path: Path) -> Outcome | None:
    """Return what stands in the file; None where there is none."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise StartError(f"{path} may not be read by this user; run this as root") from None
    except (OSError, ValueError):
        raise StartError(f"{path} is not what this version of statusd writes; restart the daemon") from None
