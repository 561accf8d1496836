"""Clients that ask all the while, none of whom may be turned away: on kept connections, on one each, waiting, following."""

from __future__ import annotations

import collections
import itertools
import json
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import httptools
import trio

from processes import HOST

PATIENCE: Final = 10.0
"""Seconds that a client waits for an answer, where nothing else is said."""
WAIT: Final = 5
"""Seconds that a long poll asks for."""
PAUSE: Final = 0.02
"""Seconds from one long poll to the next."""
HEALTH: Final = "/health"
OTHERS: Final = ("/models", "/state", "/metrics", "/status", "/queue/status", "/livez", "/healthz")
"""What is asked besides, where nothing else is said."""


class LostError(Exception):
    """Raised when a request was not answered as it should be."""


@attrs.define(eq=False)
class Connection:
    """A connection that requests go over one by one.

    Attributes:
        place: where to: a port of loopback, or the path of a Unix socket.
        patience: seconds after which an answer is not waited for any more.
    """

    place: int | str
    patience: float = PATIENCE
    _stream: trio.SocketStream | None = None
    _body: bytearray = attrs.field(factory=bytearray)
    _is_whole: bool = False
    _stays: bool = False

    def on_body(self, data: bytes) -> None:
        """Take a part of the body; httptools calls this."""
        self._body += data

    def on_message_complete(self) -> None:
        """Note the end of the answer; httptools calls this."""
        self._is_whole = True

    async def get(self, target: str, *, is_last: bool = False) -> bytes:
        """Return the body of the answer with status 200.

        Raises:
            LostError: when there is none, with the reason.
        """
        try:
            with trio.fail_after(self.patience):
                return await self._get(target, is_last=is_last)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, httptools.HttpParserError) as error:
            await self.aclose()
            cause = error.__cause__ or error
            raise LostError(f"{target}: {type(cause).__name__} {cause}") from None

    async def _get(self, target: str, *, is_last: bool) -> bytes:
        if self._stream is None:
            self._stream = await _connected(self.place)
        end = "Connection: close\r\n" if is_last else ""
        await self._stream.send_all(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{end}\r\n".encode())
        self._body, self._is_whole = bytearray(), False
        parser = httptools.HttpResponseParser(self)
        while not self._is_whole:
            data = await self._stream.receive_some(65536)
            if not data:
                raise trio.BrokenResourceError(f"closed after {len(self._body)} bytes of the body")
            parser.feed_data(data)
        if is_last or not parser.should_keep_alive():
            await self.aclose()
        if parser.get_status_code() != 200:
            raise LostError(f"{target}: {parser.get_status_code()} {bytes(self._body[:200])!r}")
        return bytes(self._body)

    async def aclose(self) -> None:
        """Hang up; the next request opens another connection."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await trio.aclose_forcefully(stream)


async def _connected(place: int | str) -> trio.SocketStream:
    if isinstance(place, str):
        return await trio.open_unix_socket(place)
    return await trio.open_tcp_stream(HOST, place)


@attrs.define(eq=False, kw_only=True)
class Clients:
    """What all clients share.

    Attributes:
        port: where they ask.
        rate: requests a second on kept connections; as many come on connections of their own.
        kept: how many connections are kept.
        streams: how many follow ``/events``.
        polls: how many wait for news.
        others: what is asked besides ``/health``, in turn, a quarter of the time.
        asked: requests by kind.
        lost: what was not answered as it should be.
        stage: what is measured now.
        is_paused: whether they ask nothing for the moment, and keep their connections.
        times: stage -> seconds of each ``/health``, from when it was due.
    """

    port: int
    rate: float = 100.0
    kept: int = 8
    streams: int = 3
    polls: int = 4
    others: Sequence[str] = OTHERS
    stage: str = ""
    is_paused: bool = False
    asked: collections.Counter[str] = attrs.field(factory=collections.Counter)
    lost: list[str] = attrs.field(factory=list)
    times: dict[str, list[float]] = attrs.field(factory=dict)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask until cancelled; started once all have begun."""
        async with trio.open_nursery() as nursery:
            for _ in range(self.streams):
                await nursery.start(self._follow)
            for _ in range(self.polls):
                nursery.start_soon(self._poll)
            for number in range(self.kept):
                nursery.start_soon(self._keep, number)
            nursery.start_soon(self._come_and_go, nursery)
            task_status.started()

    async def _keep(self, number: int) -> None:
        connection = Connection(self.port)
        first = number % len(self.others)
        others = itertools.cycle([*self.others[first:], *self.others[:first]])
        async for count, due in paced(self.kept / self.rate, number / self.rate):
            if self.is_paused:
                continue
            await self._ask("kept", connection, due, next(others) if count % 4 == 3 else HEALTH)

    async def _come_and_go(self, nursery: trio.Nursery) -> None:
        others = itertools.cycle(self.others)
        async for count, due in paced(1 / self.rate, 0.0):
            if self.is_paused:
                continue
            target = next(others) if count % 4 == 3 else HEALTH
            nursery.start_soon(self._ask, "new", Connection(self.port), due, target)

    async def _ask(self, kind: str, connection: Connection, due: float, target: str) -> None:
        self.asked[kind] += 1
        try:
            await connection.get(target, is_last=kind == "new")
        except LostError as error:
            self.lost.append(f"{kind}: {error}")
        if target == HEALTH:
            self.times.setdefault(self.stage, []).append(trio.current_time() - due)

    async def _poll(self) -> None:
        connection, revision = Connection(self.port), 0
        while True:
            await trio.sleep(PAUSE)
            if self.is_paused:
                continue
            self.asked["poll"] += 1
            try:
                answer = await connection.get(f"/state?since={revision}&wait={WAIT}")
            except LostError as error:
                self.lost.append(f"poll: {error}")
                continue
            before, revision = revision, json.loads(answer)["revision"]
            if revision < before:
                self.lost.append(f"poll: revision {revision} came after {before}")

    async def _follow(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the stream of events: it must go on for ever, and its revisions must rise."""
        async with await trio.open_tcp_stream(HOST, self.port) as stream:
            await stream.send_all(f"GET /events HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            follower = Follower(self)
            parser = httptools.HttpResponseParser(follower)
            self.asked["stream"] += 1
            try:
                while (data := await stream.receive_some(65536)) and not follower.is_whole:
                    parser.feed_data(data)
                    if follower.events:
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
            except (trio.BrokenResourceError, httptools.HttpParserError) as error:
                self.lost.append(f"stream: {error!r}")
            else:
                self.lost.append(f"stream: ended after {follower.events} events")


@attrs.define(eq=False)
class Follower:
    """Reads the lines of an event stream.

    Attributes:
        clients: learn of what is wrong.
        events: that came.
        revision: of the last one.
        is_whole: whether the server ended the answer.
    """

    clients: Clients
    events: int = 0
    revision: int = -1
    is_whole: bool = False
    _rest: bytes = b""

    def on_body(self, data: bytes) -> None:
        """Take a part of the stream; httptools calls this."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"id:"):
                revision = int(line[3:].strip().rpartition(b"-")[2])
                if revision < self.revision:
                    self.clients.lost.append(f"stream: revision {revision} came after {self.revision}")
                self.revision = revision
                self.events += 1

    def on_message_complete(self) -> None:
        """Note the end of the stream; httptools calls this."""
        self.is_whole = True


async def paced(gap: float, first: float) -> AsyncIterator[tuple[int, float]]:
    """Yield a number and when it was due, each `gap` seconds; late ones follow at once, none is left out."""
    began = trio.current_time() + first
    for number in itertools.count():
        due = began + number * gap
        await trio.sleep_until(due)
        yield number, due


@asynccontextmanager
async def asking(clients: Clients) -> AsyncIterator[Clients]:
    """Have all of `clients` ask until the block ends."""
    async with trio.open_nursery() as nursery:
        await nursery.start(clients.run)
        yield clients
        nursery.cancel_scope.cancel()


async def fetched(port: int, target: str) -> Any:
    """Return the JSON at `target`."""
    return json.loads(await Connection(port).get(target, is_last=True))


async def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `condition` holds.

    Raises:
        SystemExit: when that takes longer than `seconds`.
    """
    deadline = trio.current_time() + seconds
    while not condition():
        if trio.current_time() > deadline:
            raise SystemExit(f"{what} took longer than {seconds:g} s.")
        await trio.sleep(0.01)  # between two looks, with a deadline


def in_ms(times: Sequence[float], share: float) -> float:
    """Return the value that `share` of `times` do not exceed, in milliseconds."""
    return sorted(times)[min(len(times) - 1, math.floor(len(times) * share))] * 1e3
