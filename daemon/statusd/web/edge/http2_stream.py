"""One request on an HTTP/2 connection, and its answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any, Final

import attrs
import trio
from h2.errors import ErrorCodes

from statusd.web.edge.http2_head import Head
from statusd.web.edge.http2_outlet import Outlet
from statusd.web.edge.requests import QUEUE, Requests
from statusd.web.edge.shared import Edge
from statusd.web.edge.wire import Message, Send

PIECE: Final = 64 * 1024
"""Bytes of an answer that share one send deadline."""
_UNSENT: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
"""Fields that have no place in HTTP/2 (RFC 9113, section 8.2.2)."""


@attrs.define(eq=False, kw_only=True)
class Stream:
    """A request; what happens to it happens to no other one of its connection.

    Attributes:
        number: of the stream.
        head: the header of the request.
        outlet: sends.
        edge: what connections share.
        peer: the peer's address as people write it; ``""`` when it has none.
        refusal: the status code that the request gets unless it is for a probe endpoint; 0 = it is served.
        changed: is told that the answer has no end.
        is_whole: whether the request is complete.
        is_ended: whether nothing more will be sent.
        is_endless: whether the answer has no end.
        held: bytes of the body that are kept for the application.
    """

    number: int
    head: Head
    outlet: Outlet
    edge: Edge
    peer: str
    refusal: int
    changed: Callable[[], None]
    is_whole: bool = False
    is_ended: bool = False
    is_endless: bool = False
    held: int = 0
    _body: bytearray = attrs.field(factory=bytearray, init=False)
    _received: int = attrs.field(default=0, init=False)
    _is_begun: bool = attrs.field(default=False, init=False)
    _is_stopped: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _messages: trio.MemorySendChannel[Message] = attrs.field(init=False)
    _inbox: trio.MemoryReceiveChannel[Message] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._scope.deadline = trio.current_time() + self.edge.limits.request_timeout
        self._messages, self._inbox = trio.open_memory_channel[Message](QUEUE)

    async def run(self, requests: Requests, scope: dict[str, Any]) -> None:
        """Have the application answer.

        Args:
            requests: runs it.
            scope: the request, as ASGI has it.
        """
        with self._scope:
            await requests.answer(self.edge.app, scope, self._inbox.receive, self._send)
        self._settle()

    async def run_rest(self, rest: memoryview) -> None:
        """Send what the client's windows did not take at once.

        Args:
            rest: of the body.
        """
        with self._scope:
            await self._push(rest, is_end=True)
        self._settle()

    def _settle(self) -> None:
        """End what has not come to its end."""
        if self.is_ended:
            return
        if self._scope.cancelled_caught and not self._is_stopped:
            self.edge.traffic.limited["request_timeout"] += 1
            self.reset(ErrorCodes.CANCEL)
        elif self._is_stopped and self._is_begun:  # a stream's clients come back when it ends
            if self.outlet.send_now(self.number, b"") is None:
                self._end()
            else:
                self.reset(ErrorCodes.CANCEL)
        else:
            self.reset(ErrorCodes.INTERNAL_ERROR)

    def stop(self) -> None:
        """End the answer, which has no end of its own, because the server stops."""
        self._is_stopped = True
        self._scope.cancel()

    def leave(self) -> None:
        """End, because the client does not want the answer any more, or is gone."""
        self.is_ended = True
        self.outlet.drop(self.number)
        self._scope.cancel()

    def reset(self, code: ErrorCodes) -> None:
        """End in the middle, and say so.

        Args:
            code: why.
        """
        self.outlet.reset(self.number, code)
        self.leave()

    def take(self, data: bytes) -> None:
        """Take a part of the request's body.

        Args:
            data: the part.
        """
        self._received += len(data)
        most = self.edge.limits.body_bytes
        if self.held > most:  # the application knows
            return
        self._body += data
        self.held = len(self._body)
        if self.held > most:
            self._tell()  # nothing more comes; Quart 0.23 looks at the size of whole bodies alone

    def complete(self) -> None:
        """Note that the request is complete; one whose body has another length than it said is none."""
        self.is_whole = True
        if self.head.length not in {None, self._received}:
            self.reset(ErrorCodes.PROTOCOL_ERROR)
        elif not self.is_ended and self.held <= self.edge.limits.body_bytes:
            self._tell()

    def _tell(self) -> None:
        body, self._body = bytes(self._body), bytearray()
        self._messages.send_nowait({"type": "http.request", "body": body, "more_body": False})

    def endless(self) -> None:
        """Let the answer take as long as the client listens."""
        self.is_endless = True
        self._scope.deadline = math.inf
        self.changed()

    async def deliver(self, send: Send, message: Message) -> None:
        """Await ``send(message)``; nothing once the stream has ended."""
        if not self.is_ended:
            await send(message)

    def answer(self, status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes) -> memoryview | None:
        """Send a whole answer as far as it goes at once; return the rest, or None when that was all.

        Args:
            status: the status code.
            fields: of the header, but for the date.
            body: left out where there is to be none.
        """
        self._begin(status, fields)
        if self.is_ended:
            return None
        rest = self.outlet.send_now(self.number, body)
        if rest is None:
            self._end()
        return rest

    async def _send(self, message: Message) -> None:
        """Send what the application says; None: it says no more."""
        if message is None:
            return
        if message["type"] == "http.response.start" and not self._is_begun:
            self._begin(int(message["status"]), message.get("headers", ()))
        elif message["type"] == "http.response.body" and self._is_begun:
            await self._push(memoryview(message.get("body", b"")), is_end=not message.get("more_body", False))
        else:
            raise RuntimeError(f"the application sent {message['type']} out of turn")

    def _begin(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._is_begun = True
        has_body = not self.head.is_head and status not in {204, 304}
        plain = [(name.lower(), value) for name, value in fields if name.lower() not in _UNSENT]
        date = formatdate(math.floor(time.time()), usegmt=True).encode()
        every = [(b":status", b"%d" % status), *plain, (b"date", date)]
        self.outlet.head(self.number, every, is_end=not has_body)
        if not has_body:
            self._end()

    async def _push(self, data: memoryview, *, is_end: bool) -> None:
        """Send a part of the body, each piece of it in time."""
        for start in range(0, len(data) or 1, PIECE):
            piece = data[start : start + PIECE]
            is_last = is_end and start + PIECE >= len(data)
            if self.is_ended or not (piece or is_last):
                return
            # Whoever does not read a stream costs nothing, and gets a newer snapshot when it does again.
            seconds = math.inf if self.is_endless else self.edge.limits.send_timeout
            with trio.move_on_after(seconds) as scope:
                await self.outlet.send(self.number, piece, is_end=is_last)
            if scope.cancelled_caught:
                self.edge.traffic.limited["send_timeout"] += 1
                self.reset(ErrorCodes.CANCEL)
            elif is_last:
                self._end()

    def _end(self) -> None:
        """Note that the answer is complete; what is still coming of the request is not wanted (RFC 9113, section 8.1)."""
        self.is_ended = True
        if not self.is_whole:
            self.outlet.reset(self.number, ErrorCodes.NO_ERROR)
