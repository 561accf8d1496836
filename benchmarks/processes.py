"""The processes of a benchmark: started on one core, awaited, weighed and ended."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

import attrs

START: Final = 20.0
"""Seconds in which a server must listen."""
BUSY: Final = 0.5
"""Load average of the last minute, beyond which others take part in what is measured."""
HOST: Final = "127.0.0.1"


def cores() -> tuple[int, int]:
    """Return one core for what is measured and one for what measures.

    Raises:
        SystemExit: when this process may use one core only.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit("Two cores are needed: one for the server, one for its clients.")
    if (load := os.getloadavg()[0]) > BUSY:
        print(
            f"This machine is busy already, load average {load:.1f}: the numbers will say little.", flush=True
        )
    return usable[0], usable[1]


def allow_descriptors(wanted: int) -> None:
    """Raise the limit of open files for this process and those it starts.

    Raises:
        SystemExit: when the hard limit is below `wanted`.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(
            f"{wanted} open files are needed, and the limit is {hard}; raise it: ulimit -Hn {wanted}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def running(
    command: Sequence[str],
    core: int,
    *,
    environment: Mapping[str, str] | None = None,
    pipes: bool = False,
    errors: int | IO[bytes] = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` on `core` until the block ends.

    Args:
        command: program and arguments.
        core: the one core that it and its threads may use.
        environment: variables to add.
        pipes: whether its standard input and output are pipes.
        errors: what its standard error is, as in `subprocess.Popen`.
    """
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # what is started inherits it, before its first thread
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stderr=errors,
        )
    finally:
        os.sched_setaffinity(0, mine)
    with ExitStack() as exits:
        for pipe in filter(None, (process.stdin, process.stdout)):
            exits.callback(pipe.close)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def beside(script: str, *arguments: str) -> list[str]:
    """Return the command that runs a script of this directory with this interpreter."""
    return [sys.executable, str(Path(__file__).with_name(script)), *arguments]


def console_script() -> str:
    """Return the `statusd` that belongs to this interpreter, else the one on PATH."""
    own = Path(sys.executable).with_name("statusd")
    found = str(own) if own.exists() else shutil.which("statusd")
    if found is None:
        raise SystemExit("There is no statusd beside this Python nor on PATH; install it first.")
    return found


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until `port` accepts connections; return False when `process` ends instead, or takes too long."""
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex((HOST, port)) == 0:
                return True
        time.sleep(0.05)  # between two looks, with a deadline
    return False


def resident(pid: int) -> int:
    """Return the bytes of memory that `pid` holds (proc(5), statm: the resident set)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def threads(pid: int) -> int:
    """Return how many threads `pid` has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def descriptors(pid: int) -> int:
    """Return how many descriptors `pid` has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@attrs.frozen(kw_only=True)
class Bar:
    """What must hold.

    Attributes:
        name: what is measured.
        value: what came out.
        limit: the bar.
        is_most: whether the bar is a most instead of a least.
        unit: of both.
    """

    name: str
    value: float
    limit: float
    is_most: bool = False
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the value is on the right side of the bar."""
        return self.value <= self.limit if self.is_most else self.value >= self.limit


def verdict(bars: Sequence[Bar]) -> int:
    """Print each bar, met or missed; return the exit code: 1 when one is missed."""
    width = max(len(bar.name) for bar in bars)
    print("\nverdict")
    for bar in bars:
        bound = f"{'at most' if bar.is_most else 'at least'} {bar.limit:g}{bar.unit}"
        print(f"  {bar.name:<{width}}{bar.value:>10.2f}  {bound:<16}{'met' if bar.is_met else 'MISSED'}")
    return 0 if all(bar.is_met for bar in bars) else 1
