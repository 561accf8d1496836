"""A hostile crowd on loopback: a fuzzer of connections and a flood of them; run as a process of its own.

    python flooder.py PORT SECONDS RATE SEED

Bounded: `CROWD` connections are open at most, and RATE new ones are made each second. Its niceness is 19, so that a
quiet client on the same core is not kept waiting by this process, but by the server alone. Prints as JSON what it did.
"""

from __future__ import annotations

import collections
import json
import os
import random
import re
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from fuzz import conversation, pieces
from processes import HOST

HOLD: Final = 8.0
"""Seconds that a connection is kept at most; longer than a server should wait for a request."""
DRIP: Final = 0.25
"""Seconds between two bytes of the slow ones."""
ANSWER: Final = 0.5
"""Seconds that the fuzzer waits for an answer."""
RESET: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER`` on, zero seconds: close() sends RST (socket(7))."""
HEADER: Final = b"GET /state HTTP/1.1\r\nHost: localhost\r\nX-Padding: " + b"c" * 200
REQUEST: Final = b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE: Final = REQUEST.replace(b"/state", b"/openapi.json") * 50
"""More than the kernel keeps for a client that does not read."""


@attrs.define(eq=False)
class Crowd:
    """What all of them share: where to, how often, and what came of it."""

    port: int
    gap: float
    chance: random.Random
    made: collections.Counter[str] = attrs.field(factory=collections.Counter)
    answers: collections.Counter[str] = attrs.field(factory=collections.Counter)
    open: int = 0
    most: int = 0
    _next: float = 0.0

    @asynccontextmanager
    async def connection(self, kind: str) -> AsyncIterator[trio.SocketStream]:
        """Connect when it is this one's turn."""
        at = max(trio.current_time(), self._next)
        self._next = at + self.gap
        await trio.sleep_until(at)
        with trio.move_on_after(HOLD):
            stream = await trio.open_tcp_stream(HOST, self.port)
            self.made[kind] += 1
            self.open += 1
            self.most = max(self.most, self.open)
            try:
                yield stream
            finally:
                self.open -= 1
                await trio.aclose_forcefully(stream)

    async def listen(self, stream: trio.SocketStream) -> None:
        """Count the answers until the server closes."""
        while data := await stream.receive_some(65536):
            self.answers.update(code.decode() for code in re.findall(rb"HTTP/1.1 (\d{3}) ", data))


Attack = Callable[[Crowd, trio.SocketStream], Awaitable[None]]


async def fuzz(crowd: Crowd, stream: trio.SocketStream) -> None:
    """Send something strange, in pieces, and see what comes."""
    for piece in pieces(crowd.chance, conversation(crowd.chance)):
        await stream.send_all(piece)
    with trio.move_on_after(ANSWER):
        await crowd.listen(stream)


async def silent(crowd: Crowd, stream: trio.SocketStream) -> None:
    """Say nothing."""
    await crowd.listen(stream)


async def half_closed(crowd: Crowd, stream: trio.SocketStream) -> None:
    """Say that nothing will come."""
    await stream.send_eof()
    await crowd.listen(stream)


async def half_sent(crowd: Crowd, stream: trio.SocketStream) -> None:
    """Stop in the middle of a request."""
    await stream.send_all(HEADER)
    await crowd.listen(stream)


async def slow_header(crowd: Crowd, stream: trio.SocketStream) -> None:
    """Send a header byte by byte."""
    await drip(crowd, stream, HEADER)


async def slow_body(crowd: Crowd, stream: trio.SocketStream) -> None:
    """Send a body byte by byte."""
    await stream.send_all(b"POST /state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
    await drip(crowd, stream, b"d" * 1000)


async def drip(crowd: Crowd, stream: trio.SocketStream, data: bytes) -> None:
    """Send `data` byte by byte, until the server closes."""

    async def send() -> None:
        for index in range(len(data)):
            await stream.send_all(data[index : index + 1])
            await trio.sleep(DRIP)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await crowd.listen(stream)
        nursery.cancel_scope.cancel()


async def slow_reader(crowd: Crowd, stream: trio.SocketStream) -> None:
    """Ask for a lot, and read a byte now and then."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    last = crowd.chance.choice((REQUEST, REQUEST.replace(b"/state", b"/events")))
    with trio.move_on_after(1):
        await stream.send_all(LARGE + last)
    while True:
        if not await stream.receive_some(1):
            return
        await trio.sleep(DRIP)


async def reset(crowd: Crowd, stream: trio.SocketStream) -> None:
    """Reset the connection before, within or after a request."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await stream.send_all(REQUEST[: crowd.chance.randrange(1, len(REQUEST) + 1)])
    await trio.sleep(crowd.chance.choice((0, 0.001, 0.01)))


CROWD: Final[Mapping[Attack, int]] = {
    fuzz: 60,
    silent: 150,
    half_closed: 20,
    half_sent: 100,
    slow_header: 100,
    slow_body: 100,
    slow_reader: 50,
    reset: 10,
}
"""How many of each are at it at a time."""


async def attack(crowd: Crowd, kind: Attack) -> None:
    """Do it again and again."""
    while True:
        try:
            async with crowd.connection(kind.__name__) as stream:
                await kind(crowd, stream)
        except* (OSError, trio.BrokenResourceError):
            crowd.answers["reset or refused"] += 1


async def run(port: int, seconds: float, rate: float, seed: int) -> None:
    """Let the crowd loose for `seconds`; print what it did."""
    crowd = Crowd(port, 1 / rate, random.Random(seed))
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for kind, count in CROWD.items():
                for _ in range(count):
                    nursery.start_soon(attack, crowd, kind)
    print(json.dumps({"connections": crowd.made, "most at a time": crowd.most, "answers": crowd.answers}))


if __name__ == "__main__":
    os.nice(19)
    trio.run(run, int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
