"""Measure how fast the documented endpoints answer while upstreams are well, hang, or drop SYNs.

    python benchmarks/latency.py [--rounds 5] [--requests 1000]

One real `statusd run` for each state of its upstreams, all at once, each with upstreams in a process of their own;
one client, one kept connection to each daemon, one request after the other. The states take turns within a round, so
that noise of the machine meets all of them; the ratio is the median of the rounds' ratios.

The row "floor" is a loop over a bare socket that answers fixed bytes, measured alongside: what it shows beyond a
fraction of a millisecond is the machine's noise and not statusd's.

Left out: concurrent clients, new connections, requests for an upstream with a large document, TLS. Client, daemons
and upstreams share the machine's cores, so the numbers are upper bounds of what the daemon itself takes.

Exit code 1 when a median is 5 ms or more, a 99th percentile 20 ms or more, one while upstreams hang over 1.2 times that
while they are well, or a hung backend is called connected.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

from statusd.testing import Behaviour, FlashHead, Hang, OmniRT, Takeoff, Unreachable, Upstream
from statusd.testing.redis_binary import find_server
from statusd.testing.redis_server import RedisServer

ENDPOINTS: Final = ("/health", "/healthz", "/status", "/queue/status", "/models")
STATES: Final = ("well", "hung", "dropped")
MEDIAN_LIMIT: Final = 0.005
P99_LIMIT: Final = 0.020
RATIO_LIMIT: Final = 1.2
"""Of the 99th percentile while every upstream hangs to that while all are well, the median of the rounds."""
START: Final = 20.0
SETTLE: Final = 4.0
"""Seconds before the first round: every source has then met its timeout of 2 s at least once."""


async def run_upstreams(state: str) -> None:
    """Run one of each upstream until standard input ends; print the environment that points statusd at them."""
    behaviour: Mapping[str, Behaviour] = {"hung": Hang(), "dropped": Unreachable()}
    upstreams: dict[str, Upstream] = {
        "takeoff": Takeoff(),
        "omnirt": OmniRT(connected=["flashtalk", "wav2lip"]),
        "flashhead": FlashHead(),
        "redis": Upstream(),
    }
    async with AsyncExitStack() as exits:
        for upstream in upstreams.values():
            await exits.enter_async_context(upstream)
            if state in behaviour:
                upstream.behaviour = behaviour[state]
        redis = upstreams["redis"].url.replace("http", "redis")
        if state == "well":
            redis = (await exits.enter_async_context(RedisServer())).url if find_server() else ""
        environment = {
            "TAKEOFF_URL": upstreams["takeoff"].url,
            "OPENTALKING_REDIS_URL": redis,
            "OMNIRT_ENDPOINT": upstreams["omnirt"].url,
            "FLASHHEAD_WS_URL": upstreams["flashhead"].url.replace("http", "ws"),
        }
        print(json.dumps(environment), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


def run_floor() -> NoReturn:
    """Answer every packet with fixed bytes until terminated; print the port."""
    answer = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"status":"ok"}'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                while connection.recv(65536):
                    connection.sendall(answer)


@attrs.define(eq=False)
class Client:
    """One kept connection."""

    port: int
    _socket: socket.socket | None = None

    def get(self, path: str) -> tuple[float, bytes]:
        """Send one GET; return the seconds to the last byte of its answer, and the body."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head, separator, body = b"", b"", b""
        while not separator:
            head += self._receive()
            head, separator, body = head.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._receive()
        return time.perf_counter() - began, body

    def _receive(self) -> bytes:
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            raise SystemExit("The daemon closed the connection.")
        return data

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@contextmanager
def floor() -> Iterator[Client]:
    """Run the floor until the block ends."""
    with ended(subprocess.Popen([sys.executable, __file__, "--floor"], stdout=-1)) as process:
        assert process.stdout is not None
        client = Client(int(process.stdout.readline()))
        try:
            yield client
        finally:
            client.close()


@contextmanager
def daemon(state: str) -> Iterator[Client]:
    """Run upstreams in `state` and a statusd before them, until the block ends."""
    with ExitStack() as exits:
        upstreams = exits.enter_context(
            ended(subprocess.Popen([sys.executable, __file__, "--upstreams", state], stdin=-1, stdout=-1))
        )
        assert upstreams.stdout is not None
        environment = {**os.environ, **json.loads(upstreams.stdout.readline())}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [console_script(), "run", "--bind", f"127.0.0.1:{port}"]
        exits.enter_context(ended(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)))
        client = Client(port)
        exits.callback(client.close)
        deadline = time.monotonic() + START
        while True:
            try:
                client.get("/health")
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise SystemExit(f"statusd did not start within {START:g} s.") from None
                time.sleep(0.05)
            else:
                break
        client.close()
        yield client


def console_script() -> str:
    """Return the `statusd` that belongs to this interpreter, else the one on PATH."""
    beside = Path(sys.executable).with_name("statusd")
    found = str(beside) if beside.exists() else shutil.which("statusd")
    if found is None:
        raise SystemExit("There is no statusd beside this Python nor on PATH; install it first.")
    return found


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End `process` with the block."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


Times = dict[tuple[str, str], list[list[float]]]
"""(endpoint, state) -> for each round the seconds of its requests."""


def measure(clients: Mapping[str, Client], rounds: int, requests: int) -> Times:
    """Ask every endpoint of every daemon in turn."""
    times: Times = {(endpoint, state): [] for endpoint in ENDPOINTS for state in clients}
    for number in range(rounds):
        turn = list(clients.items())
        for endpoint in ENDPOINTS:
            for state, client in turn[number % len(turn) :] + turn[: number % len(turn)]:
                client.get(endpoint)  # opens the connection
                times[endpoint, state].append([client.get(endpoint)[0] for _ in range(requests)])
                client.close()
    return times


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(times: Times) -> bool:
    """Print the table; return whether every number is within its limit."""
    is_good = True
    print(f"{'endpoint':<16}{'upstreams':<12}{'median ms':>10}{'p99 ms':>10}{'max ms':>10}{'p99 / well':>12}")
    for (endpoint, state), rounds in times.items():
        everything = [value for values in rounds for value in values]
        median, p99 = statistics.median(everything), percentile(everything, 0.99)
        ratio = statistics.median(
            percentile(values, 0.99) / percentile(well, 0.99)
            for values, well in zip(rounds, times[endpoint, "well"], strict=True)
        )
        is_within = state == "floor" or (median < MEDIAN_LIMIT and p99 < P99_LIMIT)
        is_within = is_within and (state != "hung" or ratio <= RATIO_LIMIT)
        is_good = is_good and is_within
        row = (
            f"{endpoint:<16}{state:<12}{median * 1e3:>10.3f}{p99 * 1e3:>10.3f}{max(everything) * 1e3:>10.3f}"
        )
        print(f"{row}{ratio:>12.2f}{'' if is_within else '  over the limit'}")
    return is_good


def connected(client: Client) -> list[str]:
    """Return the models that ``/models`` calls connected."""
    statuses = json.loads(client.get("/models")[1])["statuses"]
    client.close()
    return [entry["id"] for entry in statuses if entry["connected"]]


def main() -> int:
    """Run it all; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000, help="for each endpoint, state and round")
    parser.add_argument("--upstreams", choices=STATES, help=argparse.SUPPRESS)
    parser.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.floor:
        run_floor()
    if options.upstreams:
        trio.run(run_upstreams, options.upstreams)
        return 0
    with ExitStack() as exits:
        clients = {state: exits.enter_context(daemon(state)) for state in STATES}
        time.sleep(SETTLE)
        measured = {"floor": exits.enter_context(floor()), **clients}
        is_good = report(measure(measured, options.rounds, options.requests))
        for state, client in clients.items():
            print(f"connected while upstreams are {state}: {', '.join(connected(client))}")
            is_good = is_good and (state == "well" or set(connected(client)) == {"mock", "quicktalk"})
    if find_server() is None:
        print("left out: a well Redis; there is no redis-server or valkey-server on this machine")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
