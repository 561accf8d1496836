"""Measure whether a hostile crowd can hurt statusd or those it serves, and whether it stops in order.

    python benchmarks/flood.py [--seconds 60] [--rate 300] [--only flood|stop]

One `statusd run` on the first core, with 1,024 file descriptors, as services have them; a quiet client, the crowd
and the simulated upstreams are on the second core, all on loopback. The crowd (flooder.py, fuzz.py) is a process of its
own with the lowest priority, so that what the quiet client waits for is statusd. It holds nearly 600 connections, more
than statusd takes with those descriptors, and opens at most RATE new ones a second:
    fuzz          random and mutated HTTP/1.1, HTTP/2 and WebSocket bytes, whole, at every byte, or cut anywhere
    silent        connected, and nothing; half_closed: then the end of the stream; half_sent: half a request
    slow_header, slow_body, slow_reader: a byte every quarter of a second
    reset         before, within or after a request
The quiet client asks `/health` every 10 ms, on a kept and on a new connection in turn. The time of a request runs from
when it was due, so one that is late because the one before hung is not forgotten.

Stages: a short flood, so that what is allocated once is allocated; a settling of 20 s or longer, until its connections
have ended in the daemon too; quiet; the flood; a settling; quiet again. Memory is the resident set after each settling.
Then, upstreams hanging: SIGTERM to the same daemon with 100 event streams, 10 long polls, 10 requests that wait for
fresh probes, and 20 clients that pipeline requests and never read.

Left out: TLS, handshakes of TCP that are never completed (the kernel's matter: tcp_syncookies), an attacker with many
addresses, or with more bandwidth or CPU than the bounds above.

Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import attrs
import trio

import stopping
from peers import REPORTED, simulators, statusd
from processes import (
    HOST,
    Bar,
    allow_descriptors,
    beside,
    cores,
    free_port,
    listens,
    percentile,
    resident,
    running,
    verdict,
)

GAP: Final = 0.01
"""Seconds from one request of the quiet client to the next."""
WARM: Final = 20.0
"""Seconds of the first flood, at most."""
SETTLE: Final = 20.0
"""Seconds after a flood in which its connections should end."""
PATIENCE: Final = 60.0
"""Seconds after a flood in which they must have ended."""
QUIET: Final = 20.0
"""Seconds of quiet that are measured."""
DESCRIPTORS: Final = 1024
SPARE: Final = 4
"""Descriptors that probes may have open at the moment."""
SLOWER_BAR: Final = 5.0
GROWTH_BAR: Final = 1.10
STOP_BAR: Final = 5.0
REQUEST: Final = f"GET /health HTTP/1.1\r\nHost: {HOST}\r\n".encode()
OK: Final = b'{"status":"ok"}'


@attrs.define(eq=False)
class Client:
    """The quiet client.

    Attributes:
        port: where it asks.
        times: seconds of its requests, on ``kept`` and on ``new`` connections.
        failed: requests without a good answer, and why.
    """

    port: int
    times: dict[str, list[float]] = attrs.field(factory=lambda: {"kept": [], "new": []})
    failed: list[str] = attrs.field(factory=list)
    _kept: socket.socket | None = None

    def run(self, seconds: float) -> None:
        """Ask in time for `seconds`."""
        began = time.monotonic()
        for number in range(int(seconds / GAP)):
            due = began + number * GAP
            if time.monotonic() > due + PATIENCE:
                self.failed.append(f"gave up, {PATIENCE:g} s late")
                return
            time.sleep(max(0.0, due - time.monotonic()))  # the pace of the quiet client
            kind = "new" if number % 2 else "kept"
            try:
                self._ask(kind)
            except OSError as error:
                self.failed.append(f"{kind}: {error!r}")
                self.close()
            self.times[kind].append(time.monotonic() - due)

    def _ask(self, kind: str) -> None:
        connection = self._kept if kind == "kept" else None
        if connection is None:
            connection = socket.create_connection((HOST, self.port), timeout=5)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if kind == "kept":
            self._kept = connection
        connection.sendall(REQUEST + (b"Connection: close\r\n\r\n" if kind == "new" else b"\r\n"))
        answer = b""
        while not answer.endswith(OK):
            data = connection.recv(65536)
            if not data:
                raise ConnectionError(f"the answer ended with {answer!r}")
            answer += data
        if kind == "new":
            connection.close()
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the answer was {answer!r}")

    def close(self) -> None:
        """Close the kept connection; the next request opens another."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def measured(stage: str, port: int, seconds: float) -> Client:
    """Be the quiet client for `seconds`; print how it went."""
    client = Client(port)
    client.run(seconds)
    client.close()
    for kind, times in client.times.items():
        p50, p99, most = (percentile(times, share) * 1e3 for share in (0.5, 0.99, 1))
        print(f"{stage:<8}{kind:<6}{len(times):>7}{p50:>10.2f}{p99:>10.2f}{most:>10.2f}", flush=True)
    for failure in client.failed[:5]:
        print(f"  failed, {failure}")
    return client


def flood(daemon: subprocess.Popen[bytes], port: int, seconds: float, rate: float, core: int) -> list[Bar]:
    """Let the crowd loose on the daemon twice; return the bars."""

    def crowd(length: float, seed: int) -> list[str]:
        return beside("flooder.py", str(port), str(length), str(rate), str(seed))

    idle = _descriptors(daemon)
    short = min(WARM, seconds)
    with running(crowd(short, 1), core, pipes=True) as first:
        first.wait()
    settle(daemon, idle)
    print(f"{'':<8}{'':<6}{'asked':>7}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    before = measured("quiet", port, QUIET)
    memory = resident(daemon.pid)
    with running(crowd(seconds, 2), core, pipes=True) as second:
        during = measured("flood", port, seconds)
        assert second.stdout is not None
        done = json.loads(second.stdout.read())
    settled = settle(daemon, idle)
    grown = resident(daemon.pid)
    after = measured("after", port, QUIET)
    print("\nthe crowd: " + "; ".join(f"{name}: {_shown(value)}" for name, value in done.items()))
    print(f"memory: {memory / 2**20:.1f} MB before, {grown / 2**20:.1f} MB after")
    print(f"its connections had ended in the daemon after {settled:.0f} s or less")
    bars = [
        Bar(
            name="failed /health",
            value=sum(len(client.failed) for client in (before, during, after)),
            limit=0,
            is_most=True,
        )
    ]
    for kind in ("kept", "new"):
        ratio = percentile(during.times[kind], 0.99) / percentile(before.times[kind], 0.99)
        bars.append(Bar(name=f"p99 flood / quiet, {kind}", value=ratio, limit=SLOWER_BAR, is_most=True))
    bars.append(Bar(name="memory after / before", value=grown / memory, limit=GROWTH_BAR, is_most=True))
    return bars


def settle(daemon: subprocess.Popen[bytes], idle: int) -> float:
    """Wait `SETTLE` seconds, and on until the daemon has `idle` descriptors again; return the seconds.

    Raises:
        SystemExit: when the daemon is dead, or keeps connections for more than `PATIENCE` seconds.
    """
    began = time.monotonic()
    time.sleep(SETTLE)  # the crowd's connections end by their deadlines
    while daemon.poll() is None:
        seconds, left = time.monotonic() - began, _descriptors(daemon) - idle
        if left <= SPARE:
            return seconds
        if seconds > PATIENCE:
            raise SystemExit(
                f"{left} connections are still open in the daemon {seconds:.0f} s after the flood."
            )
        time.sleep(0.5)  # between two looks, with a deadline
    raise SystemExit(f"The daemon is dead, exit code {daemon.returncode}.")


def _descriptors(daemon: subprocess.Popen[bytes]) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in sorted(value.items()))
    return str(value)


def stop(daemon: subprocess.Popen[bytes], port: int) -> list[Bar]:
    """Stop the daemon while clients are at it; return the bars."""
    stopped = trio.run(stopping.stop, daemon, port)
    print(f"\nSIGTERM: exit code {stopped.code} after {stopped.seconds:.2f} s")
    print(f"event streams: {_shown(stopped.streams)}; requests in flight: {_shown(stopped.answers)}")
    return [
        Bar(name="exit code", value=abs(stopped.code), limit=0, is_most=True),
        Bar(name="seconds to the end", value=stopped.seconds, limit=STOP_BAR, is_most=True, unit=" s"),
        Bar(name="answers cut", value=stopped.answers["cut"] + stopped.streams["cut"], limit=0, is_most=True),
    ]


def main() -> int:
    """Run it all; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="of the flood that is measured")
    parser.add_argument("--rate", type=float, default=300, help="new connections a second, at most")
    parser.add_argument("--only", choices=("flood", "stop"), help="this part alone")
    options = parser.parse_args()
    server_core, client_core = cores()
    os.sched_setaffinity(0, {client_core})
    with ExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        upstreams, environment = exits.enter_context(simulators(client_core))
        port = free_port()
        command = statusd(directory / "statusd.toml", port)
        allow_descriptors(DESCRIPTORS)  # which the daemon inherits
        daemon = exits.enter_context(running(command, server_core, environment=environment))
        if not listens(daemon, port):
            raise SystemExit("statusd did not start.")
        allow_descriptors(DESCRIPTORS * 2)
        time.sleep(REPORTED)  # sources have reported by then
        bars = []
        if options.only != "stop":
            bars += flood(daemon, port, options.seconds, options.rate, client_core)
        if options.only != "flood":
            assert upstreams.stdin is not None
            upstreams.stdin.write(b"hung\n")
            upstreams.stdin.flush()
            time.sleep(stopping.SETTLE)  # hung upstreams change nothing more by then
            bars += stop(daemon, port)
    return verdict(bars)


if __name__ == "__main__":
    sys.exit(main())
