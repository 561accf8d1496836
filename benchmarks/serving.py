"""Measure how many requests statusd answers, in ratios to other servers that run beside it.

    python benchmarks/serving.py [--rounds 5] [--seconds 1] [--only LOAD]

Needs `pip install 'statusd[benchmark]'` and wrk (Debian: wrk); nginx too, if it is to be compared.

All servers are up at once, each one process on the first core; wrk, one thread, is on the second, and so are the
simulated upstreams that statusd probes meanwhile. They answer the same documents, taken from the statusd that runs:
    statusd                   `statusd run`, as it comes
    statusd, no front stage   the same with `[http] front_stage = false`
    FastAPI dict              endpoints that return a dict; uvicorn with httptools and uvloop, no access log
    FastAPI bytes             endpoints that return a Response of bytes rendered before
    floor                     trio and httptools with answers prepared before: no deadline, no bound, no clock, no log
    nginx                     `return 200`
Loads:
    keep-1, keep-16, keep-64  the same request again and again on that many kept connections
    different-16              each request has a header value that no other has
    mixed-16                  likewise, and the four endpoints in turn
    close-16                  a connection for each request (`Connection: close`)
    streams                   `/health` on 16 kept connections, with and without 1,000 idle clients of `/events`
The servers take turns within each load and round, so that the machine's noise meets all of them. A ratio is of requests
a second within one round; shown are the median of the rounds' ratios and, in brackets, the least and the most. Requests
a second and latencies are medians too, and for orientation only: they depend on the machine, and wrk sends the next
request when it has the answer, so latencies are those of a server that is never idle.

The memory of a stream is what the daemon's resident set grew by, so without the kernel's buffers.

Left out: TLS, HTTP/2, Unix sockets, several processes, other documents than the four, event streams that have news, the
cores that clients take. wrk itself may be what limits nginx. With upstreams that hang: benchmarks/latency.py.

Exit code 1 when a bar is missed, 2 when something needed is not installed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from loads import LOADS, Load, Result, apply, wrk
from peers import DICT, FLOOR, STATUSD, Field, field
from processes import Bar, allow_descriptors, cores, resident, verdict
from streams import idle_streams

STREAMS: Final = 1_000
DESCRIPTORS: Final = 8_192
"""Half of them are the daemon's connections, and a quarter its streams."""
BARS: Final = {
    "keep-16": ((DICT, 3.5), (FLOOR, 0.75)),
    "different-16": ((DICT, 1.3),),
    "mixed-16": ((DICT, 1.3),),
    "close-16": ((DICT, 0.85),),
}
"""Load -> the least ratio of statusd to a peer, for each of its rows."""
MEMORY_BAR: Final = 40.0
"""KB for an idle event stream."""
SLOWER_BAR: Final = 1.5
"""p99 with the event streams, in ratio to without."""
SETTLE: Final = 1.0
"""Seconds after opening and after closing event streams."""

Results = dict[tuple[str, str, str], list[Result]]
"""(load, row, server) -> for each round what came out."""


def measure(running: Field, loads: Sequence[Load], number: int, seconds: int, results: Results) -> None:
    """Apply every load to every server once; who begins changes with the round's `number`."""
    for load in loads:
        for row in load.rows:
            first = number % len(running.servers)
            for server in [*running.servers[first:], *running.servers[:first]]:
                result = apply(load, row, server.port, seconds)
                results.setdefault((load.name, row, server.name), []).append(result)


def ratios(results: Results, load: str, row: str, names: tuple[str, str]) -> list[float]:
    """Return for each round how many times as many requests the first of `names` answers as the second."""
    first, second = (results[load, row, name] for name in names)
    return [one.rate / other.rate for one, other in zip(first, second, strict=True)]


def report(results: Results, running: Field, loads: Sequence[Load]) -> list[Bar]:
    """Print a table for each load; return the bars on it."""
    bars = []
    for load in loads:
        for row in load.rows:
            print(
                f"\n{load.name} {row:<24}{'requests/s':>12}{'p50 ms':>8}{'p99 ms':>8}"
                f"{'/ ' + DICT:>22}{'/ ' + FLOOR:>22}"
            )
            width = len(load.name) + 25
            for server in running.servers:
                median = _median(results[load.name, row, server.name])
                columns = "".join(
                    f"{spread(ratios(results, load.name, row, (server.name, peer))):>22}"
                    for peer in (DICT, FLOOR)
                )
                rate = f"{median(lambda result: result.rate):>12.0f}"
                p50, p99 = median(lambda result: result.p50), median(lambda result: result.p99)
                print(f"{server.name:<{width}}{rate}{p50:>8.2f}{p99:>8.2f}{columns}")
            for peer, least in BARS.get(load.name, ()):
                ratio = statistics.median(ratios(results, load.name, row, (STATUSD, peer)))
                bars.append(Bar(name=f"{load.name} {row} / {peer}", value=ratio, limit=least))
    for name, reason in running.left_out.items():
        print(f"\nleft out: {name}; {reason}")
    return bars


def _median(results: Sequence[Result]) -> Callable[[Callable[[Result], float]], float]:
    return lambda column: statistics.median(map(column, results))


def spread(values: Sequence[float]) -> str:
    """Return the median with the least and the most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def measure_streams(running: Field, rounds: int, seconds: int) -> list[Bar]:
    """Measure ``/health`` without and with idle event streams in turn, and what they weigh; print it."""
    server = running.named(STATUSD)
    assert server is not None
    load = next(load for load in LOADS if load.name == "keep-16")
    before, most, p99s = 0, 0, []
    for _ in range(rounds):
        without = apply(load, "/health", server.port, seconds)
        before = before or resident(server.pid)  # memory of streams that were closed is used again
        with idle_streams(server.port, STREAMS):
            time.sleep(SETTLE)  # the streams have all there is by then
            most = max(most, resident(server.pid))
            beside = apply(load, "/health", server.port, seconds)
        time.sleep(SETTLE)  # they have ended by then
        p99s.append((without.p99, beside.p99))
    each = (most - before) / STREAMS / 1024
    slower = [beside / without for without, beside in p99s]
    quiet, busy = (statistics.median(column) for column in zip(*p99s, strict=True))
    print(f"\nstreams: /health p99 {quiet:.2f} ms without, {busy:.2f} ms with {STREAMS}: {spread(slower)}")
    print(f"streams: {each:.1f} KB each")
    return [
        Bar(name="an idle event stream", value=each, limit=MEMORY_BAR, is_most=True, unit=" KB"),
        Bar(
            name="p99 with / without streams",
            value=statistics.median(slower),
            limit=SLOWER_BAR,
            is_most=True,
        ),
    ]


def main() -> int:
    """Run it all; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="for each server, row and round")
    names = [*(load.name for load in LOADS), "streams"]
    parser.add_argument("--only", choices=names, action="append", help="this load alone; may be repeated")
    options = parser.parse_args()
    only = options.only or names
    loads = [load for load in LOADS if load.name in only]
    wrk()
    server_core, load_core = cores()
    allow_descriptors(DESCRIPTORS)
    os.sched_setaffinity(0, {load_core})
    with field(server_core, load_core) as running:
        measure(running, [load for load in LOADS if load.is_mixed], 0, 1, {})  # warms all of them up
        bars, results = [], Results()
        if "streams" in only:
            bars = measure_streams(running, options.rounds, options.seconds)
        for number in range(options.rounds if loads else 0):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            measure(running, loads, number, options.seconds, results)
        bars = report(results, running, loads) + bars
    return verdict(bars) if bars else 0


if __name__ == "__main__":
    sys.exit(main())
