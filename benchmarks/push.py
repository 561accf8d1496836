"""Measure how long a change in Redis takes until it is seen, pushed and polled.

    python benchmarks/push.py [--writes 1000] [--polls 60]

Each row is the time from just before a write is sent to Redis until
    changed   `RedisClient.watch` calls `changed`, in a process of its own event loop: what listening costs;
    push      a client of `/events` of a real `statusd run` has received the new queue size;
    poll      the same, with a Redis user who may not listen, so that only polling, every 0.5 s, brings it.
The row "floor" is a PING to Redis and its answer, before each of those writes: what it shows beyond a fraction of a
millisecond is the machine's noise and not statusd's.

Redis, the daemon and the client run on this machine and share its cores, all over loopback. Writes come at random
moments, one after the other. Left out: TLS, many sources, many clients of the stream, a busy Redis.

Exit code 1 when the 99th percentile of `push` is over 10 ms.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from statusd import Url
from statusd.net.names import Resolver
from statusd.net.redis import RedisServers
from statusd.net.trace import Trace
from statusd.testing.redis_server import RedisServer

KEY: Final = "opentalking:flashtalk_queue_status"
P99_LIMIT: Final = 0.010
START: Final = 20.0
GAP: Final = (0.005, 0.025)
"""Seconds from one change seen to the next write, pushed."""
POLL_GAP: Final = (0.0, 1.0)
"""The same, polled: any moment within an interval."""
USERS: Final = {"poller": ">secret ~* +hgetall"}
CONFIG: Final = '[sources.queue]\nplugin = "redis_queue"\nurl = "${BENCHMARK_REDIS}"\n'


@attrs.define(eq=False)
class Writer:
    """A client of Redis that writes a new queue size each time."""

    port: int
    size: int = 0
    _socket: socket.socket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=START)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> float:
        """Send the next write; return when."""
        self.size += 1
        words = ("HSET", KEY, "slot_occupied", "1", "queue_size", str(self.size))
        command = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        began = time.perf_counter()
        self._socket.sendall(command.encode())
        return began

    def finish(self) -> None:
        """Take the reply to the write."""
        if not self._socket.recv(100).startswith(b":"):
            raise SystemExit("Redis refused the write.")

    def ping(self) -> float:
        """Return the seconds that a PING takes."""
        began = time.perf_counter()
        self._socket.sendall(b"PING\r\n")
        self._socket.recv(100)
        return time.perf_counter() - began

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@attrs.define(eq=False)
class Stream:
    """A client of ``/events``."""

    port: int
    _socket: socket.socket = attrs.field(init=False)
    _seen: bytes = attrs.field(default=b"", init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=START)
        self._socket.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    def until(self, pattern: bytes) -> float:
        """Receive until something like `pattern` has come, and forget what came up to there; return when it came."""
        while (found := re.search(pattern, self._seen)) is None:
            data = self._socket.recv(65536)
            if not data:
                raise SystemExit("The daemon closed the stream.")
            self._seen += data
        ended = time.perf_counter()
        self._seen = self._seen[found.end() :]
        return ended

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


async def to_changed(redis: RedisServer, writes: int) -> list[float]:
    """Return the seconds from each write until `changed` is called."""
    servers, calls = RedisServers(Resolver()), Calls()
    writer = Writer(redis.port)
    times: list[float] = []

    async def watch() -> None:
        client = servers.client(Trace(), 2.0)
        await client.watch(Url.parse(redis.url), KEY, changed=calls)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await calls.next()
        for _ in range(writes):
            await trio.sleep(random.uniform(*GAP))
            began = writer.send()
            times.append(await calls.next() - began)
            writer.finish()
        nursery.cancel_scope.cancel()
    writer.close()
    await servers.aclose()
    return times


@attrs.define
class Calls:
    """Says when it was called."""

    _called: trio.Event = attrs.field(factory=trio.Event)
    _at: float = 0.0

    def __call__(self) -> None:
        self._at = time.perf_counter()
        self._called.set()

    async def next(self) -> float:
        """Wait for the next call; return when it came."""
        await self._called.wait()
        self._called = trio.Event()
        return self._at


def to_stream(
    redis: RedisServer, url: str, writes: int, gap: tuple[float, float]
) -> tuple[list[float], list[float]]:
    """Return the seconds from each write until a client of the daemon's event stream has it, and the floor's."""
    writer = Writer(redis.port)
    times: list[float] = []
    floor: list[float] = []
    with daemon(url) as port:
        stream = Stream(port)
        writer.send()
        writer.finish()
        stream.until(rb'"queue_size":%d[,}]' % writer.size)
        time.sleep(1.0)  # the daemon has begun to listen, and its first probes are over
        for _ in range(writes):
            time.sleep(random.uniform(*gap) / 2)
            floor.append(writer.ping())
            time.sleep(random.uniform(*gap) / 2)
            began = writer.send()
            times.append(stream.until(rb'"queue_size":%d[,}]' % writer.size) - began)
            writer.finish()
        stream.close()
    writer.close()
    return times, floor


@contextmanager
def daemon(redis: str) -> Iterator[int]:
    """Run a statusd that looks after the queue in `redis`, until the block ends; yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "statusd.toml"
        config.write_text(CONFIG, encoding="utf-8")
        command = [console_script(), "run", "--config", str(config), "--bind", f"127.0.0.1:{port}"]
        environment = {**os.environ, "BENCHMARK_REDIS": redis}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            await_port(port)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def await_port(port: int) -> None:
    """Wait until something listens there."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"statusd did not start within {START:g} s.")


def console_script() -> str:
    """Return the `statusd` that belongs to this interpreter, else the one on PATH."""
    beside = Path(sys.executable).with_name("statusd")
    found = str(beside) if beside.exists() else shutil.which("statusd")
    if found is None:
        raise SystemExit("There is no statusd beside this Python nor on PATH; install it first.")
    return found


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def show(name: str, times: list[float]) -> None:
    """Print a row."""
    columns = (statistics.median(times), percentile(times, 0.99), max(times))
    print(f"{name:<10}{len(times):>8}" + "".join(f"{value * 1e3:>10.2f}" for value in columns), flush=True)


async def run(writes: int, polls: int) -> int:
    """Measure and print; return the exit code."""
    print(f"{'':<10}{'writes':>8}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    async with RedisServer(users=USERS) as redis:
        show("changed", await to_changed(redis, writes))
        pushed, floor = await trio.to_thread.run_sync(to_stream, redis, redis.url, writes, GAP)
        show("push", pushed)
        show("floor", floor)
        polled = redis.url.replace("//", "//poller:secret@")
        seen, _floor = await trio.to_thread.run_sync(to_stream, redis, polled, polls, POLL_GAP)
        show("poll", seen)
    return int(percentile(pushed, 0.99) > P99_LIMIT)


def main() -> int:
    """Run it all; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--writes", type=int, default=1000, help="changes to measure with push")
    parser.add_argument("--polls", type=int, default=60, help="changes to measure with polling")
    options = parser.parse_args()
    return trio.run(run, options.writes, options.polls)


if __name__ == "__main__":
    sys.exit(main())
