"""Restart the service a hundred times under load, systemd holding its socket: no request may fail.

    python benchmarks/restarts.py [--restarts 100] [--rate 200]

Needs root: the real systemd runs as PID 1 in throwaway namespaces (tests/systemd/machine.py), with the shipped units. The
sockets of statusd.socket are systemd's, so while the service is away connections wait in their backlog. All the while a
client inside the machine's network asks `/health`, RATE times a second, each on a connection of its own and whether or not
those before were answered (requester.py). A request is failed when it has no answer, or not 200, within 20 s; its time
runs from when it was due. Each restart is a `systemctl restart statusd.service`, which returns when the new process is
ready; the next one comes after a pause of up to half a second.

Left out: clients that keep their connections, who are told `Connection: close`, or find theirs closed; addresses that are
not systemd's, which are closed and opened again.

Exit code 1 when a bar is missed, 2 where such a machine cannot boot.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from processes import Bar, beside, cores, percentile, verdict

sys.path.insert(0, str(Path(__file__).parents[1]))
shared: Final[Any] = importlib.import_module("tests.systemd.machine")
"""What tests and benchmarks share."""

SERVICE: Final = "statusd.service"
SOCKET: Final = "statusd.socket"
PORT: Final = 8000
"""As statusd.socket says."""
PAUSES: Final = (0.0, 0.5)
"""Seconds from one restart to the next."""
QUIET: Final = 3.0
"""Seconds of load before the first restart, and after the last."""
RATE_BAR: Final = 0.98
END: Final = 30.0
"""Seconds in which the last requests are answered."""


def restart(machine: Any, count: int) -> list[float]:
    """Restart the service `count` times; return how long each took."""
    chance, seconds = random.Random(1), []
    for number in range(count):
        began = time.monotonic()
        machine.run("systemctl", "restart", SERVICE)
        seconds.append(time.monotonic() - began)
        if number % 10 == 9:
            print(f"{number + 1} of {count}", file=sys.stderr, flush=True)
        time.sleep(chance.uniform(*PAUSES))  # so that a restart meets the load at any moment
    return seconds


@contextmanager
def requester(machine: Any, rate: float) -> Iterator[subprocess.Popen[str]]:
    """Have a client ask inside the machine's network until its standard input is closed."""
    inside = ["nsenter", "-t", str(machine.pid), "-n", "--", *beside("requester.py", str(PORT), str(rate))]
    process = subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()


def measure(machine: Any, restarts: int, rate: float) -> list[Bar]:
    """Restart under load; print how it went; return the bars."""
    machine.run("systemctl", "start", SOCKET)
    machine.get("/health")
    with requester(machine, rate) as client:
        time.sleep(QUIET)  # load alone
        began = time.monotonic()
        took = restart(machine, restarts)
        lasted = time.monotonic() - began
        time.sleep(QUIET)  # load alone
        said, _ = client.communicate(timeout=END)
    asked = json.loads(said)
    times, failed = asked["times"], asked["failed"]
    print(f"{restarts} restarts in {lasted:.0f} s, of them {sum(took):.0f} s in systemctl")
    _say("a restart", took, "s", 1)
    asked_rate = (len(times) + len(failed)) / asked["seconds"]
    print(f"{len(times) + len(failed)} requests, {asked_rate:.0f} a second")
    _say("a request", times, "ms", 1e3)
    for line in failed[:10]:
        print(f"  failed: {line}")
    if failed:
        print(machine.journal()[-4000:])
    [restarted] = machine.show("NRestarts")
    return [
        Bar(name="failed requests", value=len(failed), limit=0, is_most=True),
        Bar(name="requests a second / wanted", value=asked_rate / rate, limit=RATE_BAR),
        Bar(name="restarts that nobody asked for", value=int(restarted), limit=0, is_most=True),
    ]


def _say(what: str, values: Sequence[float], unit: str, scale: float) -> None:
    """Print how long something took."""
    p50, p99, most = (percentile(values, share) * scale for share in (0.5, 0.99, 1))
    print(f"{what}: p50 {p50:.3g}, p99 {p99:.3g}, at most {most:.3g} {unit}")


def main() -> int:
    """Run it all; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    options = parser.parse_args()
    if reason := shared.missing():
        print(f"A machine of its own {reason}.")
        return 2
    cores()  # says whether others take part in what is measured
    with shared.booted() as machine:
        bars = measure(machine, options.restarts, options.rate)
    return verdict(bars)


if __name__ == "__main__":
    sys.exit(main())
