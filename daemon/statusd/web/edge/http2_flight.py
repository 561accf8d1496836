"""The requests in flight on one HTTP/2 connection: begun, answered by the front stage or the application, and ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import trio
from h2.errors import ErrorCodes

from statusd.web.access import is_probe
from statusd.web.asked import Answer, Asked
from statusd.web.edge.http2_head import Field, read_head
from statusd.web.edge.http2_outlet import Outlet
from statusd.web.edge.http2_stream import Stream
from statusd.web.edge.requests import Requests, headers_of
from statusd.web.edge.shared import Edge
from statusd.web.edge.traffic import FRONT, Exchange
from statusd.web.edge.wire import PATIENCE, PROBES_ONLY, Wire
from statusd.web.problems import http_problem

STREAMS: Final = 100
"""Requests in flight at a time on one connection."""


class Flight:
    """Answers requests beside each other.

    Args:
        edge: what connections share.
        wire: the connection.
        nursery: runs the requests; belongs to the connection.
        outlet: sends.
    """

    def __init__(self, edge: Edge, wire: Wire, nursery: trio.Nursery, outlet: Outlet) -> None:
        self.newest = 0
        """The newest stream that is served."""
        self.is_last = False
        """Whether no more are served than are in flight."""
        self.asked = trio.Event()
        """Set once there has been a request, or there will be none."""
        self._edge = edge
        self._wire = wire
        self._nursery = nursery
        self._outlet = outlet
        self._streams: dict[int, Stream] = {}
        self._held = 0
        """Bytes of bodies that are kept for the application."""
        self._changed = trio.Event()
        self._scope = {
            "scheme": "https" if wire.is_tls else "http",
            "client": wire.client,
            "server": wire.server,
            "state": {PROBES_ONLY: wire.is_probes_only, PATIENCE: wire.patience},
        }

    @property
    def is_full(self) -> bool:
        """Whether as many are in flight as may be."""
        return len(self._streams) >= STREAMS

    @property
    def is_stalled(self) -> bool:
        """Whether all that is in flight waits for the client: for the rest of a body, or to be read."""
        streams = self._streams.values()
        return bool(streams) and all(
            self._outlet.is_waiting(stream.number) or not stream.is_whole for stream in streams
        )

    async def landed(self) -> None:
        """Return once nothing is in flight but what has no end."""
        while not all(stream.is_endless for stream in self._streams.values()):
            await self._changed.wait()

    async def emptied(self) -> None:
        """Return once nothing is in flight."""
        while self._streams:
            await self._changed.wait()

    def begin(self, number: int, block: Sequence[Field], *, is_whole: bool) -> None:
        """Serve a request.

        Args:
            number: of the stream.
            block: the fields of its header.
            is_whole: whether that is all of it.
        """
        self.newest = number
        self.asked.set()
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
            changed=self.settle,
            is_whole=is_whole,
        )
        if self._wire.is_last and not self._edge.is_stopping:
            self.announce_end()
        if head.status:
            self._refuse(stream)
        elif not self._answer_at_once(stream):
            self._ask(stream)
        self.settle()

    def announce_end(self) -> None:
        """Serve nothing more than what is in flight, and say so."""
        if not self.is_last:
            self.is_last = True
            self._outlet.go_away(self.newest)

    def take(self, number: int, data: bytes) -> None:
        """Take a part of a request's body.

        Args:
            number: of the stream.
            data: the part.
        """
        stream = self._streams.get(number)
        if stream is None:
            return
        before = stream.held
        stream.take(data)
        self._held += stream.held - before
        if self._held > 2 * self._edge.limits.body_bytes:  # several at a time, and none of them too large
            self._edge.traffic.limited["body_bytes"] += 1
            stream.reset(ErrorCodes.REFUSED_STREAM)

    def complete(self, number: int) -> None:
        """Note that a request is complete."""
        stream = self._streams.get(number)
        if stream is not None and not stream.is_whole:
            stream.complete()

    def drop(self, number: int) -> None:
        """Note that the client does not want an answer any more."""
        stream = self._streams.get(number)
        if stream is not None:
            stream.leave()

    def drop_all(self) -> None:
        """Note that the client is gone."""
        self.asked.set()
        for stream in self._streams.values():
            stream.leave()

    def stop_endless(self) -> None:
        """End what has no end of its own."""
        for stream in self._streams.values():
            if stream.is_endless:
                stream.stop()

    def settle(self) -> None:
        """Tell the connection what it is waiting for."""
        if any(stream.is_endless for stream in self._streams.values()):
            self._wire.endless()
        elif self._streams:
            self._wire.busy()
        elif self.is_last:
            self._outlet.close()
        else:
            self._wire.idle()
        self._changed.set()
        self._changed = trio.Event()

    def _refuse(self, stream: Stream) -> None:
        head = stream.head
        document = http_problem(head.status)
        if head.status == 431:
            self._edge.traffic.limited["header_bytes"] += 1
        size = 0 if head.is_head else len(document.body)
        requests = Requests(self._edge, stream, self._nursery)
        requests.refused(head.status, size, head.method, head.target, b"2")
        self._answer(stream, head.status, headers_of(document), document.body)

    def _answer_at_once(self, stream: Stream) -> bool:
        """Answer by the front stage, if it can; return whether it could."""
        asked = stream.head.asked(is_probes_only=self._wire.is_probes_only) if stream.is_whole else None
        front = self._edge.front_for(is_probes_only=self._wire.is_probes_only)
        if asked is None or front is None or (stream.refusal and not is_probe(asked.path)):
            return False
        answer = front.answers.at_once(asked)
        if answer is None:
            return False
        self._count(asked, answer)
        fields = [(name.encode(), value.encode("latin-1")) for name, value in answer.fields.items()]
        self._answer(stream, answer.status, fields, answer.body)
        return True

    def _ask(self, stream: Stream) -> None:
        """Have the application answer."""
        if stream.is_whole:
            stream.complete()
        elif stream.head.wants_continue:
            self._outlet.head(stream.number, [(b":status", b"100")])
        self._nursery.start_soon(self._run, stream)

    def _answer(self, stream: Stream, status: int, fields: Sequence[Field], body: bytes) -> None:
        rest = stream.answer(status, fields, body)
        if rest is None:
            self._forget(stream)
        else:
            self._nursery.start_soon(self._run_rest, stream, rest)

    async def _run(self, stream: Stream) -> None:
        scope: dict[str, Any] = stream.head.scope(self._scope)
        await stream.run(Requests(self._edge, stream, self._nursery), scope)
        self._forget(stream)
        self.settle()

    async def _run_rest(self, stream: Stream, rest: memoryview) -> None:
        await stream.run_rest(rest)
        self._forget(stream)
        self.settle()

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.number]
        self._held -= stream.held

    def _count(self, asked: Asked, answer: Answer) -> None:
        traffic = self._edge.traffic
        traffic.requests[answer.route, FRONT, answer.status] += 1
        if traffic.log is None:
            return
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
