"""The WebSocket probe client: opening handshake, close, nothing between (RFC 6455; protocol: wsproto)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import trio
import wsproto
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, CloseConnection, Event, RejectConnection, Request
from wsproto.utilities import ProtocolError

from statusd.errors import ProbeError
from statusd.net.greeting import Greeting
from statusd.net.http_request import TLS_SCHEMES, endpoint_of, masked, request_fields, target
from statusd.net.limits import CLOSE_WAIT, MAX_CLOSING_BYTES, MAX_HEAD_BYTES, MAX_INFORMATIONAL, PIECE
from statusd.net.names import Resolver
from statusd.net.oserrors import hung_up
from statusd.net.streams import Connection, open_connection
from statusd.net.tls import tls_target
from statusd.net.trace import Trace
from statusd.values import Url

_NORMAL: Final = 1000
_OWN: Final = frozenset(
    {"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol"}
)
_BROKEN: Final = (ProtocolError, ValueError, AssertionError)
"""What wsproto raises at bytes that make no sense; a header that is no ASCII is a ValueError to it."""


@attrs.define(eq=False)
class WebSocketClient:
    """WebSocket handshakes for one source; the caller sets the deadline, as a trio cancel scope."""

    _resolver: Resolver
    _trace: Trace

    async def handshake(
        self, url: Url, *, headers: Mapping[str, str] | None = None, ca_file: str = ""
    ) -> int:
        """Open a WebSocket and close it with 1000; return the status code of the answer, 101 when it opened.

        A peer that opens and then never answers the close, hangs up or talks on has opened all the same; it has
        `CLOSE_WAIT` seconds, or half of what is left of the caller's deadline.

        Args:
            url: ws or wss, http or https.
            headers: further header fields, such as ``Origin``.
            ca_file: PEM file with the certificate authorities to trust, instead of the system's.

        Raises:
            ProbeError: as `statusd.HttpClient.get`.
        """
        endpoint = endpoint_of(url)
        opening = _opening(url, headers)
        tls = None
        if url.scheme in TLS_SCHEMES:
            self._trace.enter(f"loading the certificate authorities for {endpoint}")
            tls = await tls_target(endpoint.host, ca_file)
        protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        try:
            request = protocol.send(opening)
        except _BROKEN as error:
            raise ProbeError(
                "protocol_error", f"No request to {endpoint} can be made of the URL: correct it."
            ) from error
        connection = await open_connection(endpoint, self._resolver, self._trace, tls=tls)
        try:
            self._trace.enter(f"sending the WebSocket handshake to {connection.where}")
            if self._trace.is_recording:
                self._trace.sent(masked(request))
            await connection.send(request)
            session = _Session(connection, self._trace, protocol)
            status = await session.await_answer()
            if status == 101:
                await session.close()
            return status
        finally:
            connection.close()


def _opening(url: Url, headers: Mapping[str, str] | None) -> Request:
    fields = request_fields(url, headers, own=_OWN)
    _, host = fields.pop("host")
    return Request(
        host=host,
        target=target(url),
        extra_headers=[(name.encode(), value.encode("latin-1")) for name, value in fields.values()],
    )


@attrs.define(eq=False)
class _Session:
    """One WebSocket, from the request that was sent to the close."""

    _connection: Connection
    _trace: Trace
    _protocol: wsproto.WSConnection
    _head: int = 0
    _informational: int = 0
    _is_ended: bool = False
    _waiting: bytes = b""

    async def await_answer(self) -> int:
        """Return the status code of the final answer."""
        where = self._connection.where
        self._trace.enter(f"waiting for {where} to answer the WebSocket handshake")
        greeting = Greeting(where)
        while True:
            data = await self._receive()
            if not data:
                raise hung_up(where)
            greeting.take(data)
            room = MAX_HEAD_BYTES - self._head
            self._head += len(data)
            status = self._answer(self._feed(data[:room]))
            if status is not None:
                if status == 101:
                    self._feed(data[room:])
                return status
            if self._head > MAX_HEAD_BYTES:
                raise ProbeError("too_large", f"{where} sends over {MAX_HEAD_BYTES} bytes of header.")

    async def close(self) -> None:
        """Say goodbye, and give the peer a moment to do the same."""
        where = self._connection.where
        self._trace.enter(f"closing the WebSocket to {where}")
        left = trio.current_effective_deadline() - trio.current_time()
        with trio.move_on_after(min(CLOSE_WAIT, left / 2)):
            try:
                await self._send_close()
                received = 0
                while not self._is_ended and received <= MAX_CLOSING_BYTES:
                    data = await self._receive()
                    if not data:
                        return
                    received += len(data)
                    self._feed(data)
            except ProbeError as error:
                if error.reason == "protocol_error":
                    raise
                # it opened; how it goes away is its own affair

    async def _send_close(self) -> None:
        if self._protocol.state in {ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING}:
            frame = self._protocol.send(CloseConnection(code=_NORMAL))
            self._trace.sent(frame)
            await self._connection.send(frame)

    async def _receive(self) -> bytes:
        """Return what came next, `PIECE` bytes at most, since a frame may have two; others are served in between."""
        if self._waiting:
            await trio.lowlevel.checkpoint()
        else:
            self._waiting = await self._connection.receive()
            self._trace.received(self._waiting)
        data, self._waiting = self._waiting[:PIECE], self._waiting[PIECE:]
        return data

    def _feed(self, data: bytes) -> list[Event]:
        if not data or self._is_ended:
            return []
        where = self._connection.where
        failure: Exception | None = None
        events: list[Event] = []
        try:
            try:
                self._protocol.receive_data(data)
            finally:
                events.extend(self._protocol.events())
        except _BROKEN as error:
            failure = error
        # a status that was read before is the answer, however garbled the body behind it
        if failure is not None and not any(_is_final(event) for event in events):
            raise ProbeError("protocol_error", f"{where} does not answer as a WebSocket server.") from failure
        if any(isinstance(event, CloseConnection) for event in events):
            if self._protocol.state in {ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING}:
                # wsproto reports a frame that it cannot read as a close, and stays in its state
                raise ProbeError("protocol_error", f"{where} sends frames that are none of a WebSocket's.")
            self._is_ended = True
        return events

    def _answer(self, events: list[Event]) -> int | None:
        for event in events:
            if isinstance(event, AcceptConnection):
                return 101
            if isinstance(event, RejectConnection):
                if _is_final(event):
                    return event.status_code
                self._informational += 1
                if self._informational > MAX_INFORMATIONAL:
                    where = self._connection.where
                    raise ProbeError("too_large", f"{where} sends over {MAX_INFORMATIONAL} interim answers.")
        return None


def _is_final(event: Event) -> bool:
    return isinstance(event, RejectConnection) and event.status_code >= 200
