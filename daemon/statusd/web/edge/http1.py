"""All that touches the inside of hypercorn: its HTTP/1.1 protocol, driven by our own connections.

Hypercorn's public ``serve`` ends the whole server when one connection raises, so statusd accepts and owns its
connections and uses hypercorn from the protocol upwards. Written against 0.18; `verify` says so when that changes.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, Final, TypeAlias

import h11
import trio

from statusd.errors import StartError
from statusd.plugin.contracts import Document
from statusd.web.edge.guard import Guard
from statusd.web.edge.limits import Limits
from statusd.web.edge.wire import Message, Send, Wire
from statusd.web.problems import http_problem, phrase
from statusd.web.target import origin_form, refusal

SUPPORTED: Final = "0.18."
_REMEDY: Final = f'install a matching one with: pip install "hypercorn=={SUPPORTED}*"'

try:
    from hypercorn.config import Config
    from hypercorn.events import Closed, Event, RawData, Updated
    from hypercorn.protocol.h11 import H11Protocol
    from hypercorn.protocol.http_stream import HTTPStream
    from hypercorn.trio.worker_context import WorkerContext
except ImportError as error:
    raise StartError(
        f"hypercorn {version('hypercorn')} is not as statusd expects it: {error.name} differs; {_REMEDY}"
    ) from error

Asgi: TypeAlias = Callable[[Any, Callable[[], Awaitable[Any]], Send], Awaitable[None]]

UNKNOWN: Final = b"UNKNOWN"
"""Stands for a method that is not written in capitals: no such one is served."""

QUEUE: Final = 10
"""Messages of a request that wait for the application before the connection stops reading."""

_USED: Final[Mapping[type, Mapping[str, tuple[str, ...]]]] = {
    H11Protocol: {
        "__init__": (
            *("self", "app", "config", "context", "task_group", "connection_state"),
            *("ssl", "client", "server", "send"),
        ),
        "handle": ("self", "event"),
        "_check_protocol": ("self", "event"),
        "_create_stream": ("self", "request"),
        "_send_h11_event": ("self", "event"),
        "_send_error_response": ("self", "status_code"),
    },
    HTTPStream: {"handle": ("self", "event"), "app_send": ("self", "message")},
    WorkerContext: {"__init__": ("self", "max_requests")},
}


def verify(installed: str | None = None) -> None:
    """Want the hypercorn that this file was written against.

    Args:
        installed: its version; None asks the installed distribution.

    Raises:
        StartError: when its version or what is used of its inside differs.
    """
    installed = installed or version("hypercorn")
    if not installed.startswith(SUPPORTED):
        raise StartError(
            f"hypercorn {installed} is installed, statusd is written for {SUPPORTED}*; {_REMEDY}"
        )
    for owner, methods in _USED.items():
        for name, parameters in methods.items():
            method = getattr(owner, name, None)
            if method is None or tuple(inspect.signature(method).parameters) != parameters:
                raise StartError(
                    f"hypercorn {installed} is not as statusd expects it: {owner.__name__}.{name} differs; {_REMEDY}"
                )


class Edge:
    """What the connections of one server share.

    Args:
        app: the ASGI application.
        limits: bounds of a connection.
        guard: notes what fails.
    """

    def __init__(self, app: Asgi, limits: Limits, guard: Guard) -> None:
        self.app = app
        self.limits = limits
        self.guard = guard
        self.context = WorkerContext(None)
        self.config = Config()
        self.config.accesslog = None
        self.config.errorlog = logging.getLogger("statusd.web")
        self.config.include_server_header = False
        self.config.keep_alive_max_requests = limits.requests

    async def stop(self) -> None:
        """Let each connection end after the request it is answering."""
        await self.context.terminated.set()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self.context.terminated.is_set()


class Http:
    """HTTP/1.1 on one connection: bytes in, requests to the application, bytes out.

    Args:
        edge: what connections share.
        wire: the connection.
        nursery: runs the requests; belongs to the connection.
    """

    def __init__(self, edge: Edge, wire: Wire, nursery: trio.Nursery) -> None:
        self._wire = wire
        parser = _Parser(h11.SERVER, max_incomplete_event_size=edge.limits.header_bytes)
        requests: Any = _Requests(edge, wire, nursery)  # duck-typed as hypercorn's TaskGroup
        self._protocol = _Protocol(
            app=edge.app,  # type: ignore[arg-type]  # passed through to `spawn_app`, which is ours
            config=edge.config,
            context=edge.context,
            task_group=requests,
            connection_state={},  # type: ignore[arg-type]  # a NewType of dict
            ssl=False,
            client=wire.client,
            server=wire.server,
            send=self._on_event,
        )
        self._protocol.connection = parser

    async def feed(self, data: bytes) -> None:
        """Take what the client sent; ``b""``: it will send no more."""
        await self._protocol.handle(RawData(data))

    async def close(self) -> None:
        """Tell the request in flight, if any, that the client is gone."""
        await self._protocol.handle(Closed())

    async def _on_event(self, event: Event) -> None:
        if isinstance(event, RawData):
            if event.data:  # the end of a message is an empty write where the length was known
                await self._wire.write(event.data)
        elif isinstance(event, Updated):
            if event.idle:
                self._wire.idle()
            else:
                self._wire.busy()
        elif isinstance(event, Closed):
            self._wire.end()


class _Parser(h11.Connection):
    """The parser, deaf after a request that asked to close.

    Stock h11 calls what follows an error, and hypercorn then cuts off the answer that is being sent; no further
    requests are to be processed (RFC 9112, section 9.6), and no more is needed.
    """

    def receive_data(self, data: bytes) -> None:
        if self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        if self.their_state is h11.MUST_CLOSE and self.trailing_data[0]:
            return h11.NEED_DATA
        return super().next_event()


class _Protocol(H11Protocol):
    """Hypercorn's HTTP/1.1, without its ways to other protocols, and with whole error answers."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Switch to no other protocol: nobody needs h2c here, and it has two ways to end the server."""

    async def _create_stream(self, request: h11.Request) -> None:
        # Methods are case-sensitive (RFC 9110, section 9.1), and further on all are written in capitals.
        method = request.method if request.method.isupper() else UNKNOWN
        target = origin_form(method, request.target)
        status = refusal(request.http_version, dict(request.headers))
        if status or target is None:
            await self._refuse(status or 400, method)
            return
        plain = h11.Request(
            method=method,
            target=target,
            # An upgrade may be ignored (RFC 9110, section 7.8).
            headers=[pair for pair in request.headers if pair[0] != b"upgrade"],
            # A higher minor version is served as ours (section 2.5).
            http_version=min(request.http_version, b"1.1"),
        )
        await super()._create_stream(plain)

    async def _refuse(self, status_code: int, method: bytes) -> None:
        await self._send_error_response(status_code, with_body=method != b"HEAD")
        await self.send(Closed())

    async def _send_error_response(self, status_code: int, *, with_body: bool = True) -> None:
        document = http_problem(status_code)
        headers = [*_headers(document), (b"connection", b"close"), *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        if with_body:
            await self._send_h11_event(h11.Data(data=document.body))
        await self._send_h11_event(h11.EndOfMessage())

    async def _send_h11_event(self, event: Any) -> None:
        if isinstance(event, h11.Response):
            headers = list(event.headers)
            if self.context.terminated.is_set():
                headers = [pair for pair in headers if pair[0] != b"connection"] + [(b"connection", b"close")]
            # Hypercorn leaves the reason phrase empty; simple probes look for "200 OK".
            event = h11.Response(
                status_code=event.status_code, headers=headers, reason=phrase(event.status_code)
            )
        await super()._send_h11_event(event)


class _Requests:
    """Runs the application for each request, in the connection's own nursery."""

    def __init__(self, edge: Edge, wire: Wire, nursery: trio.Nursery) -> None:
        self._edge = edge
        self._wire = wire
        self._nursery = nursery

    async def spawn_app(self, app: Asgi, _config: Config, scope: Any, send: Send) -> Send:
        """Start the application; return what takes the messages for it."""
        messages, received = trio.open_memory_channel[Message](QUEUE)
        self._nursery.start_soon(self._answer, app, scope, received.receive, send)
        return messages.send

    async def _answer(self, app: Asgi, scope: Any, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        is_begun = False

        async def deliver(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                if scope["method"] != "HEAD" and is_event_stream(message):
                    self._wire.endless()
            await self._wire.deliver(send, message)

        await self._edge.guard.run("request", partial(app, scope, receive, deliver))
        if not is_begun:
            for message in _failure():
                await self._wire.deliver(send, message)
        await self._wire.deliver(send, None)  # ends what the application left unfinished


def is_event_stream(start: Message) -> bool:
    """Whether the answer that `start` begins is a stream of Server-Sent Events; a document of that type has a length."""
    fields = {name.lower(): value for name, value in start.get("headers", ())}
    return (
        fields.get(b"content-type", b"").startswith(b"text/event-stream") and b"content-length" not in fields
    )


def _failure() -> tuple[Message, Message]:
    document = http_problem(500)
    return (
        {"type": "http.response.start", "status": document.status, "headers": _headers(document)},
        {"type": "http.response.body", "body": document.body},
    )


def _headers(document: Document) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", document.content_type.encode()),
        (b"content-length", str(len(document.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
