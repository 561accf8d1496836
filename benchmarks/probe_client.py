"""What one HTTP probe costs: statusd's client, a bare one without caps, and httpx where it is installed.

    python benchmarks/probe_client.py [--probes 3000] [--rounds 5]

Prints microseconds of CPU (user and system, of this process alone) for each probe, the median over rounds that take
turns, and the ratio to the bare client. The server is another process on 127.0.0.1 that answers 300 bytes of JSON.

Left out: networks, names, TLS, connecting (all clients keep one connection), parsing the JSON, pauses between probes
(paced, waking up costs more than any of these), and more than one connection (httpx grows with their number).
"""

from __future__ import annotations

import argparse
import importlib
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

import httptools
import trio

from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.trace import Trace
from statusd.values import Url

Probe: TypeAlias = Callable[[], Awaitable[None]]

BODY: Final = json.dumps({"status": "ok", "padding": "x" * 300})[:300].encode()
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: benchmark\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)


def serve() -> None:
    """Answer each request on each connection, one connection at a time a thread; runs in the other process."""
    import threading  # noqa: PLC0415  # only the server's process wants it

    def answer(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                connection.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()


@asynccontextmanager
async def statusd_client(port: int) -> AsyncIterator[Probe]:
    """The client as the daemon uses it, under a deadline."""
    client = HttpClient(Resolver(), Trace())
    url = Url.parse(f"http://127.0.0.1:{port}/status")

    async def probe() -> None:
        with trio.fail_after(2):
            response = await client.get(url)
        assert response.status == 200
        assert len(response.body) == len(BODY)

    yield probe
    await client.aclose()


class _Answer:
    """The least that a parser's target can be."""

    def __init__(self) -> None:
        self.body = b""
        self.is_complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True


@asynccontextmanager
async def bare_client(port: int) -> AsyncIterator[Probe]:
    """Send, receive, parse: no caps, no second attempt, no phases, no header fields."""
    request = f"GET /status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with trio.socket.socket() as sock:
        await sock.connect(("127.0.0.1", port))

        async def probe() -> None:
            answer = _Answer()
            parser = httptools.HttpResponseParser(answer)
            with trio.fail_after(2):
                await sock.send(request)
                while not answer.is_complete:
                    parser.feed_data(await sock.recv(16384))
            assert parser.get_status_code() == 200
            assert len(answer.body) == len(BODY)

        yield probe


@asynccontextmanager
async def httpx_client(port: int) -> AsyncIterator[Probe]:
    """One shared AsyncClient, the way its documentation recommends."""
    httpx: Any = importlib.import_module("httpx")
    async with httpx.AsyncClient(timeout=2) as client:

        async def probe() -> None:
            response = await client.get(f"http://127.0.0.1:{port}/status")
            assert response.status_code == 200
            assert len(response.content) == len(BODY)

        yield probe


async def measure(probe: Probe, count: int) -> float:
    """Return microseconds of CPU for each of `count` probes."""
    start = time.process_time()
    for _ in range(count):
        await probe()
    return (time.process_time() - start) / count * 1e6


async def compare(port: int, probes: int, rounds: int) -> None:
    """Measure every client in turns and print the table."""
    clients = {"bare trio.socket + httptools": bare_client, "statusd": statusd_client}
    try:
        importlib.import_module("httpx")
        clients["httpx, shared AsyncClient"] = httpx_client
    except ImportError:
        print("httpx is not installed and is left out: pip install httpx")
    async with AsyncExitStack() as stack:
        ready = {name: await stack.enter_async_context(client(port)) for name, client in clients.items()}
        costs: dict[str, list[float]] = {name: [] for name in ready}
        for probe in ready.values():
            await measure(probe, probes // 10)  # warm up
        for _ in range(rounds):
            for name, probe in ready.items():
                costs[name].append(await measure(probe, probes))
    base = statistics.median(costs["bare trio.socket + httptools"])
    print(f"{'client':32}{'CPU us/probe':>14}{'spread':>16}{'ratio':>8}")
    for name, values in costs.items():
        middle = statistics.median(values)
        print(f"{name:32}{middle:14.1f}{f'{min(values):.1f}-{max(values):.1f}':>16}{middle / base:8.2f}")


def main() -> None:
    """Start the server's process, compare, stop it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--probes", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            trio.run(compare, int(server.stdout.readline()), arguments.probes, arguments.rounds)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
