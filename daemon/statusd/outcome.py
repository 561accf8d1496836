"""What became of the last reload, in a file: how a command that only sent a signal learns whether it was heeded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from statusd.files import read_signed, write_atomically

FILE: Final = "reload.json"
DIRECTORY: Final = "/run/statusd"
"""Where the unit has ``$RUNTIME_DIRECTORY``."""
MOST: Final = 50
"""Messages that are kept."""
_LARGEST: Final = 1 << 20
MODE: Final = 0o644
GREATEST_PID: Final = 1 << 22
"""Linux gives no process a greater number (proc_sys_kernel(5), ``pid_max``); 0 and below mean several (kill(2))."""

Pid = Annotated[int, Meta(ge=1, le=GREATEST_PID)]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a reload, or of the start.

    Attributes:
        pid: of the daemon.
        start: when that process started, in clock ticks since the boot: another one may have got its number since.
        began: when the configuration was about to be read, in seconds on CLOCK_MONOTONIC, which all processes share.
        ended: when the daemon had turned to it or given it up, likewise.
        ok: whether the daemon runs with it.
        generation: how many configurations the daemon has run with, with the present one.
        code: exit code of a command that wanted the reload: 0, 1 a fault, 78 a mistake in the configuration.
        messages: what is wrong with the configuration; or what changed, then what around it is not as it says.
    """

    pid: Pid
    start: int
    began: float
    ended: float
    ok: bool
    generation: int
    code: Annotated[int, Meta(ge=0, le=255)]
    messages: tuple[str, ...]


def start_of(pid: int) -> int | None:
    """Return when a process started, as `Outcome.start`; None when there is none, or it is hidden (proc_pid_stat(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def users_of(pid: int) -> frozenset[int]:
    """Return every user that a process runs as; none when there is no such process, or it is hidden (proc_pid_status(5))."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        line = next(line for line in text.splitlines() if line.startswith("Uid:"))
        return frozenset(map(int, line.split()[1:]))
    except (OSError, ValueError, StopIteration):
        return frozenset()


def monotonic() -> float:
    """Return the time that `Outcome` speaks of."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def file_in(environ: Mapping[str, str]) -> Path | None:
    """Return the file in ``$RUNTIME_DIRECTORY`` (systemd.exec(5)), where there is such a directory."""
    first = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(first, FILE) if first else None


def write(path: Path, outcome: Outcome) -> None:
    """Write `outcome`, whole.

    Raises:
        OSError: when it cannot be written.
    """
    write_atomically(path, msgspec.json.encode(outcome) + b"\n", mode=MODE, durable=False)


def read(path: Path) -> Outcome:
    """Return what stands in the file; raises as `read_with_owner` does."""
    return read_with_owner(path)[0]


def read_with_owner(path: Path) -> tuple[Outcome, int]:
    """Return what stands in the file, and the user whose word it is.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is of another version.
    """
    data, owner = read_signed(path, _LARGEST)
    try:
        return msgspec.json.decode(data, type=Outcome), owner
    except RecursionError:
        raise ValueError("it is nested too deep") from None
