"""The requests of one connection that the application answers, each a task of its own, contained and counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

import trio

from statusd.plugin.contracts import Document
from statusd.web.access import SECURITY, is_probe
from statusd.web.asked import RETRY
from statusd.web.edge.shared import Asgi, Edge, Queue
from statusd.web.edge.traffic import APP, NOWHERE, Exchange
from statusd.web.edge.wire import ROUTE, STREAM, Asker, Message, Send
from statusd.web.problems import http_problem

QUEUE: Final = 10
"""Messages of a request that wait for the application before the connection stops reading."""

GONE: Final = "statusd.gone"
"""Key of a request's scope: the client has left."""
STREAMING: Final = "statusd.streaming"
"""Key of a request's scope: what is to be cancelled when the client leaves while an answer without an end is sent."""

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

    async def spawn_app(self, _app: Asgi, _config: object, scope: Any, send: Send) -> Send:
        """Start the application; return what takes the messages for it; what hypercorn's protocols call."""
        messages, received = trio.open_memory_channel[Message](QUEUE)
        self._nursery.start_soon(self.answer, self._edge.app, scope, received.receive, send)
        body, most = bytearray(), self._edge.limits.body_bytes

        async def put(message: Message) -> None:
            if message["type"] == "http.request":
                if len(body) > most:  # the application knows
                    return
                # In one message: to hand on each chunk of a single byte takes more time than to send it.
                body.extend(message["body"])
                if message["more_body"] and len(body) <= most:
                    return
                message = {**message, "body": bytes(body)}
            elif message["type"] == "http.disconnect":
                scope[GONE] = True
                if STREAMING in scope:  # nobody receives any more
                    scope[STREAMING].cancel()
                    return
            await messages.send(message)

        return put

    async def answer(self, app: Asgi, scope: Any, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        """Run the application for one request, to its end; none of its exceptions comes out.

        Args:
            app: the application.
            scope: the request, as ASGI has it; `receive` and `send` likewise.
            receive: returns what comes of the request's body.
            send: takes the answer; and None once the application says no more.
        """
        answer, began = _Answer(self._wire, scope, send), trio.current_time()
        try:
            is_for_probe = is_probe(scope["raw_path"].decode("ascii"))
            if self._wire.refusal and not is_for_probe:  # at once: whoever waits keeps a place of the reserve
                await answer.say(_no_room(self._wire.refusal))
            else:
                await self._edge.turn(Queue.PROBES if is_for_probe else Queue.OTHERS)
                bounded = _bounded(receive, self._edge.limits.body_bytes)
                await self._edge.guard.run("request", partial(app, scope, bounded, answer.take))
                if answer.is_stream:
                    await self._edge.guard.run("request", answer.stream)
            if not answer.status:
                await answer.say(_messages(http_problem(500)))
            await self._wire.deliver(send, None)  # ends what the application left unfinished
        finally:
            if STREAM in scope:
                self._edge.traffic.streams -= 1
                with trio.CancelScope(shield=True):  # it has nothing to wait for
                    await scope.pop(STREAM).aclose()
            seconds = trio.current_time() - began
            if answer.status and not answer.is_stream:
                self._edge.traffic.took(scope.get(ROUTE, NOWHERE), seconds)
            self._count(scope, scope.get(REFUSED, answer.status), answer.size, seconds)

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


def _bounded(receive: Callable[[], Awaitable[Any]], most: int) -> Callable[[], Awaitable[Any]]:
    """Return `receive`, after whose message beyond `most` bytes of body nothing more of it is kept.

    Quart looks at the size of a body of unknown length when it is complete, some versions of it not before.
    """
    taken = 0

    async def bounded() -> Any:
        nonlocal taken
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            before, taken = taken, taken + len(message.get("body", b""))
            if taken <= most:
                return message
            if before <= most:
                return {**message, "more_body": False}

    return bounded


class _Answer:
    """What is sent for one request.

    Attributes:
        status: the status code; 0 = nothing has been sent.
        size: bytes of the body.
        is_stream: whether it has no end.
    """

    def __init__(self, wire: Asker, scope: Any, send: Send) -> None:
        self.status = 0
        self.size = 0
        self.is_stream = False
        self._wire = wire
        self._scope = scope
        self._send = send

    async def take(self, message: Message) -> None:
        """Send what the application says."""
        has_body = self._scope["method"] != "HEAD"
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.is_stream = has_body and is_event_stream(message)
            if self.is_stream:
                self._wire.endless()
        elif self.is_stream and STREAMING not in self._scope:
            return  # the stream comes instead
        elif has_body:
            self.size += len(message.get("body", b""))
        await self._wire.deliver(self._send, message)

    async def say(self, messages: Iterable[Message]) -> None:
        """Send what the server says itself."""
        for message in messages:
            await self.take(message)

    async def stream(self) -> None:
        """Send what the application has left, until its end or the client's."""
        with trio.CancelScope() as streaming:
            self._scope[STREAMING] = streaming
            if GONE in self._scope:
                return
            async for part in self._scope[STREAM]:
                await self.take({"type": "http.response.body", "body": part, "more_body": True})
                del part  # or it would be kept until the next one
            await self.take({"type": "http.response.body"})


def is_event_stream(start: Message) -> bool:
    """Whether the answer that `start` begins is a stream of Server-Sent Events; a document of that type has a length."""
    fields = {name.lower(): value for name, value in start.get("headers", ())}
    return (
        fields.get(b"content-type", b"").startswith(b"text/event-stream") and b"content-length" not in fields
    )


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
