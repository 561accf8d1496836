"""The requests of one connection that the application answers, each a task of its own, contained and counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio

from statusd.plugin.contracts import Document
from statusd.web.access import SECURITY, is_probe
from statusd.web.answering import RETRY
from statusd.web.edge.shared import Asgi, Edge
from statusd.web.edge.traffic import APP, NOWHERE, Exchange
from statusd.web.edge.wire import ROUTE, Asker, Message, Send
from statusd.web.problems import http_problem

QUEUE: Final = 10
"""Messages of a request that wait for the application before the connection stops reading."""

REFUSED: Final = "statusd.refused"
"""Key of a request's scope: the status code with which the protocol answers it itself, since its body is malformed."""


class Requests:
    """Runs the application for each request, in the connection's own nursery.

    Args:
        edge: what connections share.
        wire: the connection, or the stream on it.
        nursery: of the connection.
    """

    def __init__(self, edge: Edge, wire: Asker, nursery: trio.Nursery) -> None:
        self._edge = edge
        self._wire = wire
        self._nursery = nursery

    async def spawn_app(self, app: Asgi, _config: object, scope: Any, send: Send) -> Send:
        """Start the application; return what takes the messages for it; what hypercorn's protocols call."""
        messages, received = trio.open_memory_channel[Message](QUEUE)
        self._nursery.start_soon(self.answer, app, scope, received.receive, send)
        return messages.send

    async def answer(self, app: Asgi, scope: Any, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        """Run the application for one request, to its end; none of its exceptions comes out.

        Args:
            app: the application.
            scope: the request, as ASGI has it; `receive` and `send` likewise.
            receive: returns what comes of the request's body.
            send: takes the answer; and None once the application says no more.
        """
        status, size, began, is_stream = 0, 0, trio.current_time(), False

        async def deliver(message: Message) -> None:
            nonlocal status, size, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = scope["method"] != "HEAD" and is_event_stream(message)
                if is_stream:
                    self._wire.endless()
            elif scope["method"] != "HEAD":
                size += len(message.get("body", b""))
            await self._wire.deliver(send, message)

        try:
            await self._edge.turn()
            if self._wire.refusal and not is_probe(scope["raw_path"].decode("ascii")):
                for message in _no_room(self._wire.refusal):
                    await deliver(message)
            else:
                await self._edge.guard.run("request", partial(app, scope, receive, deliver))
            if not status:
                for message in _failure():
                    await deliver(message)
            await self._wire.deliver(send, None)  # ends what the application left unfinished
        finally:
            seconds = trio.current_time() - began
            if status and not is_stream:
                self._edge.traffic.took(scope.get(ROUTE, NOWHERE), seconds)
            self._count(scope, scope.get(REFUSED, status), size, seconds)

    def refused(
        self, status: int, size: int, method: bytes = b"", target: bytes = b"", version: bytes = b""
    ) -> None:
        """Note that a request got its answer before the application was asked.

        Args:
            status: of the answer.
            size: bytes of its body.
            method: as sent; ``b""`` when no request was understood.
            target: as sent; likewise.
            version: as sent; likewise.
        """
        path, _, query = target.partition(b"?")
        scope = {
            "method": method.decode("ascii", "replace"),
            "raw_path": path,
            "query_string": query,
            "http_version": version.decode("ascii", "replace"),
        }
        self._count(scope, status, size, 0.0)

    def _count(self, scope: Any, status: int, size: int, seconds: float) -> None:
        traffic = self._edge.traffic
        traffic.requests[scope.get(ROUTE, NOWHERE), APP, status] += 1
        if traffic.log is not None:
            target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            traffic.log.take(
                Exchange(
                    client=self._wire.peer,
                    method=scope["method"],
                    target=target.decode("ascii", "replace"),
                    version=scope["http_version"],
                    status=status,
                    size=size,
                    seconds=seconds,
                    stage=APP,
                )
            )


def is_event_stream(start: Message) -> bool:
    """Whether the answer that `start` begins is a stream of Server-Sent Events; a document of that type has a length."""
    fields = {name.lower(): value for name, value in start.get("headers", ())}
    return (
        fields.get(b"content-type", b"").startswith(b"text/event-stream") and b"content-length" not in fields
    )


def _failure() -> tuple[Message, Message]:
    return _messages(http_problem(500))


def _no_room(status: int) -> tuple[Message, Message]:
    """Return the answer to a request for which the connection has no room."""
    return _messages(http_problem(status), (b"retry-after", RETRY.encode()))


def _messages(document: Document, *extra: tuple[bytes, bytes]) -> tuple[Message, Message]:
    headers = [*headers_of(document), *extra]
    return (
        {"type": "http.response.start", "status": document.status, "headers": headers},
        {"type": "http.response.body", "body": document.body},
    )


def headers_of(document: Document) -> list[tuple[bytes, bytes]]:
    """Return the header fields that an answer of the server itself has, but for date and connection."""
    return [
        *((name.encode(), value.encode()) for name, value in SECURITY.items()),
        (b"content-type", document.content_type.encode()),
        (b"content-length", str(len(document.body)).encode()),
    ]
