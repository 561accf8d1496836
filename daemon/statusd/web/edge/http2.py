"""HTTP/2 on one connection (RFC 9113): bytes in, requests to the front stage or the application, bytes out.

The library h2 keeps the state of the connection and its streams; what a client may do to it is bounded here.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from statusd.web.access import is_probe
from statusd.web.answering import Answer, Asked
from statusd.web.edge import http2_frames
from statusd.web.edge.http2_frames import PREFACE, RESET, BadFramesError, Calm, Frame, Frames
from statusd.web.edge.http2_head import Head, read_head
from statusd.web.edge.http2_outlet import Outlet
from statusd.web.edge.http2_stream import Stream
from statusd.web.edge.requests import Requests, headers_of
from statusd.web.edge.shared import Edge
from statusd.web.edge.traffic import FRONT, Exchange
from statusd.web.edge.wire import PATIENCE, PROBES_ONLY, Wire
from statusd.web.problems import http_problem

STREAMS: Final = 100
"""Requests in flight at a time on one connection."""
NEWEST: Final = (1 << 31) - 1
"""Stands in a GOAWAY for: what you have sent already is served (RFC 9113, section 6.8)."""
GLANCE: Final = 0.05
"""Seconds in which what a client has sent already is taken when the server stops."""
LITTLE: Final = 128
"""Bytes of a body below which its frame costs as much as one with nothing."""


class _Parser(H2Connection):
    """The parser, which forgets closed streams sooner, and leaves the count of open ones to `Http2`.

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
    parser.decoder.max_header_list_size = 2 * header_bytes  # up to which it is understood, and refused
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
        self._front = edge.probes_front if wire.is_probes_only else edge.front
        self._calm = Calm(trio.current_time)
        self._frames = Frames(2 * edge.limits.header_bytes)
        self._parser = _parser(edge.limits.header_bytes)
        self._outlet = Outlet(self._parser, self._calm)
        self._streams: dict[int, Stream] = {}
        self._held = 0
        """Bytes of bodies that are kept for the application."""
        self._newest = 0
        self._changed = trio.Event()
        self._is_begun = self._is_finishing = self._is_last = False
        self._scope = {
            "scheme": "https" if wire.is_tls else "http",
            "client": wire.client,
            "server": wire.server,
            "state": {PROBES_ONLY: wire.is_probes_only, PATIENCE: wire.patience},
        }

    @property
    def is_receiving(self) -> bool:
        """Whether all that is in flight waits for the client: for the rest of a body, or to be read."""
        streams = self._streams.values()
        return bool(streams) and all(
            self._outlet.is_waiting(stream.number) or not stream.is_whole for stream in streams
        )

    async def feed(self, data: bytes) -> None:
        """Take what the client sent; ``b""``: it will send no more, and may still want what it has asked for."""
        if not data:
            self._wire.patience.end()  # most likely it is gone
            while not all(stream.is_endless for stream in self._streams.values()):
                await self._changed.wait()
            return
        self._begin()
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
            self._outlet.go_away(self._newest, error.code)
            self._outlet.close()
        if self._frames.is_in_header:
            self._wire.begun()

    async def close(self) -> None:
        """End the requests in flight, since the client is gone."""
        self._outlet.close()
        for stream in self._streams.values():
            stream.leave()

    def finish(self) -> None:
        """Serve what is in flight, and what the client has sent already; then end, because the server stops."""
        if not self._is_finishing and not self._outlet.is_over:
            self._is_finishing = True
            self._begin()
            self._outlet.go_away(NEWEST)
            self._nursery.start_soon(self._finish)

    async def _finish(self) -> None:
        await trio.sleep(GLANCE)
        self._end_soon()
        for stream in self._streams.values():
            if stream.is_endless:
                stream.stop()
        self._settle()

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._parser.initiate_connection()
            self._outlet.flush()
            self._nursery.start_soon(self._outlet.run, self._wire)
            if self._edge.is_stopping:
                self.finish()

    def _end_soon(self) -> None:
        """Serve nothing more than what is in flight."""
        if not self._is_last:
            self._is_last = True
            self._outlet.go_away(self._newest)

    def _take(self, frame: Frame) -> None:
        if frame.kind == http2_frames.GOAWAY:
            # The parser would end what is in flight, which the client still wants (RFC 9113, section 6.8).
            self._calm.charge(1)
            self._is_last = True
            self._settle()
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
            self._on_request(event.stream_id, event.headers, is_whole=event.stream_ended is not None)
            return
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, DataReceived):
            self._parser.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if stream is not None:
                self._on_data(stream, event.data)
        elif isinstance(event, StreamReset):
            if not event.remote_reset:  # by the parser, over what the client did
                self._calm.charge(RESET)
            if stream is not None:
                stream.leave()
        elif isinstance(event, TrailersReceived):
            self._calm.charge(1)
        elif isinstance(event, StreamEnded) and stream is not None and not stream.is_whole:
            stream.complete()

    def _on_data(self, stream: Stream, data: bytes) -> None:
        before = stream.held
        stream.take(data)
        self._held += stream.held - before
        if self._held > 2 * self._edge.limits.body_bytes:  # several at a time, and none of them too large
            self._edge.traffic.limited["body_bytes"] += 1
            stream.reset(ErrorCodes.REFUSED_STREAM)

    def _on_request(self, number: int, block: list[Any], *, is_whole: bool) -> None:
        is_full = len(self._streams) >= STREAMS
        if is_full or self._is_last:
            if is_full:
                self._edge.traffic.limited["http2_streams"] += 1
            self._calm.charge(1)
            self._outlet.reset(number, ErrorCodes.REFUSED_STREAM)
            return
        self._newest = number
        self._wire.asked()
        head = read_head(block, self._edge.limits.header_bytes)
        if is_whole and head.length and not head.status:
            head = attrs.evolve(head, status=400)
        stream = self._streams[number] = Stream(
            number=number,
            head=head,
            outlet=self._outlet,
            edge=self._edge,
            peer=self._wire.peer,
            refusal=self._wire.refusal,
            changed=self._settle,
            is_whole=is_whole,
        )
        if self._wire.is_last and not self._edge.is_stopping:
            self._end_soon()
        self._start(stream)
        self._settle()

    def _start(self, stream: Stream) -> None:
        head = stream.head
        requests = Requests(self._edge, stream, self._nursery)
        if head.status:
            document = http_problem(head.status)
            if head.status == 431:
                self._edge.traffic.limited["header_bytes"] += 1
            size = 0 if head.is_head else len(document.body)
            requests.refused(head.status, size, head.method, head.target, b"2")
            self._answer(stream, head.status, headers_of(document), document.body)
            return
        asked = head.asked(is_probes_only=self._wire.is_probes_only) if stream.is_whole else None
        has_room = asked is not None and (not stream.refusal or is_probe(asked.path))
        if asked is not None and has_room and self._front is not None:
            answer = self._front.answers.at_once(asked)
            if answer is not None:
                self._count(asked, answer)
                fields = [(name.encode(), value.encode("latin-1")) for name, value in answer.fields.items()]
                self._answer(stream, answer.status, fields, answer.body)
                return
        if stream.is_whole:
            stream.complete()
        elif head.wants_continue:
            self._outlet.head(stream.number, [(b":status", b"100")])
        self._nursery.start_soon(self._run, stream, requests, head)

    def _answer(self, stream: Stream, status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
        rest = stream.answer(status, fields, body)
        if rest is None:
            self._forget(stream)
        else:
            self._nursery.start_soon(self._run_rest, stream, rest)

    async def _run(self, stream: Stream, requests: Requests, head: Head) -> None:
        await stream.run(requests, head.scope(self._scope))
        self._forget(stream)
        self._settle()

    async def _run_rest(self, stream: Stream, rest: memoryview) -> None:
        await stream.run_rest(rest)
        self._forget(stream)
        self._settle()

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.number]
        self._held -= stream.held

    def _settle(self) -> None:
        """Tell the connection what it is waiting for."""
        if any(stream.is_endless for stream in self._streams.values()):
            self._wire.endless()
        elif self._streams:
            self._wire.busy()
        elif self._is_last:
            self._outlet.close()
        else:
            self._wire.idle()
        self._changed.set()
        self._changed = trio.Event()

    def _count(self, asked: Asked, answer: Answer) -> None:
        traffic = self._edge.traffic
        traffic.requests[answer.route, FRONT, answer.status] += 1
        if traffic.log is not None:
            query = "?" + asked.query.decode("ascii", "replace") if asked.query else ""
            traffic.log.take(
                Exchange(
                    client=self._wire.peer,
                    method=asked.method,
                    target=asked.path + query,
                    version="2",
                    status=answer.status,
                    size=0 if asked.method == "HEAD" else len(answer.body),
                    seconds=0.0,
                    stage=FRONT,
                )
            )


def _is_worth_it(event: Event) -> bool:
    return isinstance(event, DataReceived) and (len(event.data) >= LITTLE or event.stream_ended is not None)
