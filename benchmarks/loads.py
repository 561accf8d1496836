"""The loads of `serving.py`: what wrk asks, over how many connections, and what it reports."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from processes import HOST

ENDPOINTS: Final = ("/health", "/models", "/queue/status", "/status")
LATENCY: Final = 1_000.0
"""wrk reports microseconds; tables are in milliseconds."""

DONE: Final = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.duration, summary.requests,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99)))
end
"""

DISTINCT: Final = """
local count, paths = 0, {%s}
function request()
  count = count + 1
  local path = paths[count %% #paths + 1]
  return "GET " .. path .. " HTTP/1.1\\r\\nHost: %s\\r\\nX-Request-Id: %s-" .. count .. "\\r\\n\\r\\n"
end
"""

runs: Final = itertools.count()


@attrs.frozen(kw_only=True)
class Load:
    """What wrk does to a server.

    Attributes:
        name: as in ``--only``.
        connections: how many at a time.
        paths: the endpoints; each has a row, unless they are mixed.
        is_distinct: whether each request has a header value of its own.
        is_mixed: whether the endpoints are asked in turn in one run.
        is_closed: whether each request has a connection of its own.
    """

    name: str
    connections: int
    paths: tuple[str, ...] = ENDPOINTS
    is_distinct: bool = False
    is_mixed: bool = False
    is_closed: bool = False

    @property
    def rows(self) -> tuple[str, ...]:
        """What is measured one by one."""
        return ("mixed",) if self.is_mixed else self.paths


LOADS: Final = (
    Load(name="keep-1", connections=1, paths=("/health",)),
    Load(name="keep-16", connections=16),
    Load(name="keep-64", connections=64, paths=("/health",)),
    Load(name="different-16", connections=16, is_distinct=True),
    Load(name="mixed-16", connections=16, is_distinct=True, is_mixed=True),
    Load(name="close-16", connections=16, is_closed=True),
)


@attrs.frozen(kw_only=True)
class Result:
    """One run of wrk.

    Attributes:
        rate: requests a second.
        p50: median latency in milliseconds.
        p99: 99th percentile of latency in milliseconds.
    """

    rate: float
    p50: float
    p99: float


def wrk() -> str:
    """Return where wrk is.

    Raises:
        SystemExit: with code 2, when it is nowhere.
    """
    found = shutil.which("wrk")
    if found is None:
        print("The load comes from wrk, which is not installed: sudo apt-get install wrk")
        raise SystemExit(2)
    return found


def apply(load: Load, row: str, port: int, seconds: int) -> Result:
    """Run wrk against the server on `port`, on the core of this process.

    Raises:
        SystemExit: when a request failed, or wrk kept connections that were to be new.
    """
    paths = load.paths if row == "mixed" else (row,)
    script = DONE
    if load.is_distinct:
        listed = ", ".join(f'"{path}"' for path in paths)
        script += DISTINCT % (listed, f"{HOST}:{port}", next(runs))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [wrk(), "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "5s", "-s", file.name]
        if load.is_closed:
            command += ["-H", "Connection: close"]
        connected = _connections()
        done = subprocess.run(
            [*command, f"http://{HOST}:{port}{paths[0]}"], capture_output=True, text=True, check=True
        )
        connected = _connections() - connected
    numbers = _numbers(done.stdout)
    where = f"{load.name} {row} on port {port}"
    duration, requests, broken, refused, p50, p99 = numbers
    if broken or refused or not requests:
        raise SystemExit(
            f"{where}: {broken} connections failed and {refused} answers were not 200.\n{done.stdout}"
        )
    if load.is_closed and connected < requests:
        raise SystemExit(f"{where}: {requests} requests, and only {connected} new connections.")
    return Result(rate=requests / duration * 1e6, p50=p50 / LATENCY, p99=p99 / LATENCY)


def _numbers(output: str) -> Sequence[int]:
    for line in output.splitlines():
        if line.startswith("RESULT "):
            return [int(number) for number in line.split()[1:]]
    raise SystemExit(f"wrk printed no result:\n{output}")


def _connections() -> int:
    """Return how many connections this machine has opened so far (proc(5), net/snmp: ActiveOpens)."""
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("ActiveOpens")])
