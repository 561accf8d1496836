"""HTTP/2 on one connection (RFC 9113): bytes in, requests to the front stage or the application, bytes out.

The library h2 keeps the state of the connection and its streams; what a client may do to it is bounded here.
"""

from __future__ import annotations

from typing import Final

import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from statusd.web.edge import http2_frames
from statusd.web.edge.http2_flight import STREAMS, Flight
from statusd.web.edge.http2_frames import PREFACE, RESET, BadFramesError, Calm, Frame, Frames
from statusd.web.edge.http2_outlet import Outlet
from statusd.web.edge.shared import Edge
from statusd.web.edge.stopping import FIRST, GLANCE
from statusd.web.edge.wire import Wire

NEWEST: Final = (1 << 31) - 1
"""Stands in a GOAWAY for: what you have sent already is served (RFC 9113, section 6.8)."""
LITTLE: Final = 128
"""Bytes of a body below which its frame costs as much as one with nothing."""


class _Parser(H2Connection):
    """The parser, which forgets closed streams sooner, and leaves the count of open ones to `Flight`.

    Stock h2 ends the connection over one too many, of a client that had no way to know the bound yet.
    """

    MAX_CLOSED_STREAMS = 1000

    @property
    def open_inbound_streams(self) -> int:
        """None, after having forgotten those that are closed."""
        super().open_inbound_streams  # noqa: B018  # reading it is how h2 forgets
        return 0


def _parser(header_bytes: int) -> H2Connection:
    # Its own validation ends the connection where `read_head` refuses one request.
    config = H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
    parser = _Parser(config)
    values = {
        SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
        SettingCodes.MAX_HEADER_LIST_SIZE: header_bytes,
    }
    parser.local_settings = Settings(client=False, initial_values=values)
    parser.receive_data(PREFACE)
    return parser


class Http2:
    """HTTP/2 on one connection; with the face of `http1.Http`.

    Args:
        edge: what connections share.
        wire: the connection.
        nursery: runs the requests; belongs to the connection.
    """

    is_between: Final = False
    """Never: the front stage is asked request by request."""

    def __init__(self, edge: Edge, wire: Wire, nursery: trio.Nursery) -> None:
        self._edge = edge
        self._wire = wire
        self._nursery = nursery
        self._calm = Calm(trio.current_time)
        self._frames = Frames(2 * edge.limits.header_bytes)
        self._parser = _parser(edge.limits.header_bytes)
        self._outlet = Outlet(self._parser, self._calm)
        self._flight = Flight(edge, wire, nursery, self._outlet)
        self._is_begun = self._is_finishing = False

    @property
    def is_receiving(self) -> bool:
        """Whether all that is in flight waits for the client."""
        return self._flight.is_stalled

    async def feed(self, data: bytes) -> None:
        """Take what the client sent; ``b""``: it will send no more, and may still want what it has asked for."""
        if not data:
            self._wire.patience.end()  # most likely it is gone
            await self._flight.landed()
            return
        self._begin()
        # Up to which headers are understood, and refused; what clients were told is advice (RFC 9113, section 6.5.2).
        self._frames.header_bytes = self._parser.decoder.max_header_list_size = (
            2 * self._edge.limits.header_bytes
        )
        try:
            for frame in self._frames.take(data):
                if self._outlet.is_over:
                    return
                self._take(frame)
                await self._outlet.room()
                await trio.lowlevel.checkpoint()  # others are served between a client's frames
        except BadFramesError as error:
            if error.bound:
                self._edge.traffic.limited[error.bound] += 1
            self._outlet.go_away(self._flight.newest, error.code)
            self._outlet.close()
        if self._frames.is_in_header:
            self._wire.begun()

    async def close(self) -> None:
        """End the requests in flight, since the client is gone."""
        self._outlet.close()
        self._flight.drop_all()

    def forget(self) -> None:
        """Let go of all that refers back, so that nothing of the connection waits for a garbage collection."""
        vars(self._parser).clear()
        vars(self._flight).clear()
        vars(self).clear()

    def finish(self) -> None:
        """Serve what is in flight, and what the client has sent already; then end, because the server stops."""
        if not self._is_finishing and not self._outlet.is_over:
            self._is_finishing = True
            self._begin()
            self._nursery.start_soon(self._finish)

    async def _finish(self) -> None:
        # What is ready goes first: clients of the library h2 take no answer any more once they have read a GOAWAY.
        with trio.move_on_after(GLANCE):
            await self._flight.emptied()
        self._outlet.go_away(NEWEST)
        with trio.move_on_after(FIRST):
            await self._flight.asked.wait()
        await trio.sleep(GLANCE)
        self._flight.announce_end()
        self._flight.stop_endless()
        self._flight.settle()

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._parser.initiate_connection()
            self._outlet.flush()
            self._nursery.start_soon(self._outlet.run, self._wire)
            if self._edge.is_stopping:
                self.finish()

    def _take(self, frame: Frame) -> None:
        if frame.kind == http2_frames.GOAWAY:
            # The parser would end what is in flight, which the client still wants (RFC 9113, section 6.8).
            self._calm.charge(1)
            self._flight.is_last = True
            self._flight.settle()
            return
        if frame.kind not in {http2_frames.HEADERS, http2_frames.DATA}:
            self._calm.charge(RESET if frame.kind == http2_frames.RST_STREAM else 1)
        try:
            events = self._parser.receive_data(frame.data)
        except ProtocolError:
            self._outlet.flush()  # it has said why already
            self._outlet.close()
            return
        if frame.kind == http2_frames.DATA and not any(map(_is_worth_it, events)):
            self._calm.charge(1)
        for event in events:
            self._on_event(event)
        self._outlet.flush()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._on_request(event)
        elif isinstance(event, DataReceived):
            self._parser.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._flight.take(event.stream_id, event.data)
        elif isinstance(event, StreamEnded):
            self._flight.complete(event.stream_id)
        elif isinstance(event, StreamReset):
            if not event.remote_reset:  # by the parser, over what the client did
                self._calm.charge(RESET)
            self._flight.drop(event.stream_id)
        elif isinstance(event, TrailersReceived):
            self._calm.charge(1)

    def _on_request(self, event: RequestReceived) -> None:
        is_full = self._flight.is_full
        if is_full or self._flight.is_last:
            if is_full:
                self._edge.traffic.limited["http2_streams"] += 1
            self._calm.charge(1)
            self._outlet.reset(event.stream_id, ErrorCodes.REFUSED_STREAM)
        else:
            self._flight.begin(event.stream_id, event.headers, is_whole=event.stream_ended is not None)


def _is_worth_it(event: Event) -> bool:
    return isinstance(event, DataReceived) and (len(event.data) >= LITTLE or event.stream_ended is not None)
