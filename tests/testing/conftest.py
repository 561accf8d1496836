"""A small HTTP client of the tests' own, so that simulators are not judged by the client they are to judge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import attrs
import httptools
import pytest
import trio

from statusd.testing import Upstream


@attrs.define
class Answer:
    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    is_complete: bool = False


class Client:
    """One connection, kept; `receive` reads one whole answer, or what came before the connection ended."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.is_head = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, target: str, *, method: str = "GET", **headers: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n")
        self.is_head = method == "HEAD"

    async def receive(self) -> Answer:
        answer = Answer()
        parser = httptools.HttpResponseParser(_Callbacks(answer, self.is_head, lambda: parser))
        while not answer.is_complete:
            data = await self.stream.receive_some(65536)
            if not data:
                break
            parser.feed_data(data)
        return answer

    async def ask(self, target: str, **rest: str) -> Answer:
        await self.send(target, **rest)
        return await self.receive()


class _Callbacks:
    def __init__(
        self, answer: Answer, is_head: bool, parser: Callable[[], httptools.HttpResponseParser]
    ) -> None:
        self.answer = answer
        self.is_head = is_head
        self.parser = parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.answer.body += body

    def on_message_complete(self) -> None:
        self.answer.status = self.parser().get_status_code()
        self.answer.is_complete = True

    def on_headers_complete(self) -> None:
        self.answer.status = self.parser().get_status_code()
        self.answer.is_complete = self.is_head


async def _connect(upstream: Upstream) -> Client:
    if upstream.unix_socket:
        return Client(await trio.open_unix_socket(upstream.unix_socket))
    # A bare socket: trio.open_tcp_stream() wraps the refusal that tests look for in an exception group.
    family = trio.socket.AF_INET6 if ":" in upstream.host else trio.socket.AF_INET
    sock = trio.socket.socket(family)
    try:
        await sock.connect((upstream.host, upstream.port))
    except BaseException:
        sock.close()
        raise
    return Client(trio.SocketStream(sock))


@pytest.fixture
def connect() -> Callable[[Upstream], Awaitable[Client]]:
    return _connect


@pytest.fixture
def wrap() -> Callable[[trio.abc.Stream], Client]:
    return Client


@pytest.fixture
def ask():
    async def ask(upstream: Upstream, target: str, **rest: str) -> Answer:
        async with await _connect(upstream) as client:
            return await client.ask(target, **rest)

    return ask
