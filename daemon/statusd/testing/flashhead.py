"""A simulated FlashHead server: one WebSocket path, no HTTP of its own, at times a single session."""

from __future__ import annotations

import attrs
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    TextMessage,
)
from wsproto.events import Request as Handshake
from wsproto.utilities import RemoteProtocolError

from statusd.testing.behaviours import Exchange
from statusd.testing.upstream import Upstream
from statusd.testing.wire import CHUNK, Request, Response


@attrs.define(eq=False, kw_only=True)
class FlashHead(Upstream):
    """A WebSocket server (RFC 6455) that opens sessions and waits for the client to close them.

    Attributes:
        path: where the WebSocket lives, with or without a slash at its end; another path gets 404.
        plain_status: the answer to a GET that asks for no upgrade: 426, or 404 from older stacks.
        is_single: whether one session at a time is all it takes; a further handshake gets 503.
        is_taken: whether some other client holds the session, for `is_single`.
        close_codes: the code of every close that a client sent, in order.
        sessions: number of sessions open now.
    """

    path: str = "/"
    plain_status: int = 426
    is_single: bool = False
    is_taken: bool = False
    close_codes: list[int] = attrs.field(factory=list, init=False)
    sessions: int = attrs.field(default=0, init=False)

    @property
    def websocket_url(self) -> str:
        """The address as clients write it, with ``ws`` or ``wss`` and the path."""
        return "ws" + self.url.removeprefix("http") + self.path

    def respond(self, request: Request) -> Response:
        """Answer what is no handshake for the right path."""
        if request.path.rstrip("/") != self.path.rstrip("/"):
            return Response.text("Not Found", 404)
        if self.plain_status == 426:
            return Response(
                status=426,
                body=b"Upgrade Required",
                content_type="text/plain",
                headers=(("Upgrade", "websocket"), ("Connection", "Upgrade")),
            )
        return Response.text("Not Found", self.plain_status)

    async def answer(self, exchange: Exchange) -> None:
        """Open a session for a handshake, and keep it until the client closes it."""
        request = exchange.request
        is_here = request.path.rstrip("/") == self.path.rstrip("/")
        if request.headers.get("upgrade", "").lower() != "websocket" or not is_here:
            await exchange.send_response(self.respond(request))
            return
        exchange.is_last = True
        connection = WSConnection(ConnectionType.SERVER)
        try:
            await self._open(connection, exchange)
        except RemoteProtocolError:
            # A faulty handshake or frame; wsproto has nothing more to say on this connection.
            await exchange.stream.aclose()

    async def _open(self, connection: WSConnection, exchange: Exchange) -> None:
        headers = [(name.encode(), value.encode()) for name, value in exchange.request.headers.items()]
        connection.initiate_upgrade_connection(headers, exchange.request.target)
        handshake = next(connection.events())
        assert isinstance(handshake, Handshake)
        if self.is_single and (self.is_taken or self.sessions):
            await exchange.send(connection.send(RejectConnection(status_code=503, has_body=True)))
            await exchange.send(connection.send(RejectData(data=b"busy")))
            return
        self.sessions += 1
        try:
            await exchange.send(connection.send(AcceptConnection()))
            await self._hold(connection, exchange.stream)
        finally:
            self.sessions -= 1

    async def _hold(self, connection: WSConnection, stream: trio.abc.Stream) -> None:
        while True:
            data = await stream.receive_some(CHUNK)
            if not data:
                return
            connection.receive_data(bytes(data))
            for event in connection.events():
                if isinstance(event, CloseConnection):
                    self.close_codes.append(event.code)
                reply = _reply(event)
                if reply is not None:
                    await stream.send_all(connection.send(reply))
                if isinstance(event, CloseConnection):
                    return


def _reply(event: Event) -> Event | None:
    if isinstance(event, Ping):
        return event.response()
    if isinstance(event, CloseConnection):
        return event.response()
    if isinstance(event, TextMessage | BytesMessage):
        return CloseConnection(code=1008, reason="no session protocol is simulated")
    return None
