"""The front stage: plain requests for rendered documents get their answer in one write, before any ASGI.

What is remembered is bounded, and an answer is made anew as soon as its document, its age or the second of its date
is another one: it is always what the application would answer at that moment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

import attrs

from statusd.web.access import SECURITY
from statusd.web.answering import Answers
from statusd.web.asked import RETRY, Answer, Asked
from statusd.web.edge.glance import glance
from statusd.web.edge.traffic import FRONT, Exchange, Traffic
from statusd.web.problems import http_problem, phrase

REMEMBERED: Final = 512
"""Requests that are remembered, in each of their spellings, and as many answers."""
LARGEST: Final = 16 * 1024
"""Bytes of an answer that is remembered and sent in one piece.

The body of a larger one is shared by all who ask: each would keep a copy for as long as it does not read.
"""
CLOSE: Final = b"Connection: close\r\n\r\n"


@attrs.frozen(eq=False)
class Reply:
    """An answer as bytes.

    Attributes:
        asked: what it answers.
        head: status line and fields.
        body: the body; none for HEAD.
        data: all of it, but for `rest`.
        rest: a large body.
        counted: (route, status code), as it is counted.
        since: when it was made, in seconds since 1970.
        until: from when on it is another one.
        version: of the snapshot that it was made of.
    """

    asked: Asked
    head: bytes
    body: bytes
    data: bytes
    rest: bytes
    counted: tuple[str, int]
    since: float
    until: float
    version: int

    @property
    def closing(self) -> bytes:
        """All of it but for `rest`, with the word that no further request is served on this connection."""
        return self.head + CLOSE + (b"" if self.rest else self.body)

    def count(self, traffic: Traffic, peer: str) -> None:
        """Note in `traffic` that `peer` has got it."""
        route, status = self.counted
        traffic.requests[route, FRONT, status] += 1
        if traffic.log is None:
            return
        asked = self.asked
        query = "?" + asked.query.decode("ascii", "replace") if asked.query else ""
        traffic.log.take(
            Exchange(
                client=peer,
                method=asked.method,
                target=asked.path + query,
                version="1.1",
                status=status,
                size=len(self.body),
                seconds=0.0,
                stage=FRONT,
            )
        )


@attrs.define(eq=False)
class Known:
    """A request that has come before.

    Attributes:
        asked: what it asks.
        reply: the newest answer to it, or None.
    """

    asked: Asked
    reply: Reply | None = None


@attrs.define(eq=False)
class Front:
    """Answers plain requests.

    Attributes:
        answers: what they are answered from.
        version: returns the version of the newest snapshot.
        now: returns the wall clock, in seconds since 1970.
        is_probes_only: whether it stands behind listeners for probe endpoints alone.
    """

    answers: Answers
    version: Callable[[], int]
    now: Callable[[], float] = time.time
    is_probes_only: bool = False
    _spelled: dict[bytes, tuple[Known, bool]] = attrs.field(factory=dict, init=False)
    _known: dict[object, Known] = attrs.field(factory=dict, init=False)

    def reply(self, data: bytes) -> tuple[Reply, bool] | None:
        """Return the answer to the request that `data` is, and whether the client wants it to be the last one.

        Args:
            data: what has come since the last request.

        Returns:
            None when it is for the application, byte for byte.
        """
        spelled = self._spelled.get(data) or self._learn(data)
        if spelled is None:
            return None
        known, closes = spelled
        reply, now = known.reply, self.now()
        if reply is None or not reply.since <= now < reply.until or reply.version != self.version():
            reply = self._renewed(known, now)
        return None if reply is None else (reply, closes)

    def refused(self, asked: Asked, status: int) -> Reply:
        """Return the answer `status` to a request for which the connection has no room, as `Requests` gives it."""
        document = http_problem(status)
        fields = {
            **SECURITY,
            "content-type": document.content_type,
            "content-length": str(len(document.body)),
            "retry-after": RETRY,
        }
        answer = Answer(status=status, fields=fields, body=document.body)
        return self._written(asked, answer, self.now())

    def _learn(self, data: bytes) -> tuple[Known, bool] | None:
        seen = glance(data)
        if seen is None:
            return None
        fields = tuple(sorted((name, value) for name, value in seen.fields.items() if name != "accept"))
        key = seen.method, seen.path, seen.query, fields
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            asked = Asked(
                method=seen.method,
                path=seen.path,
                query=seen.query,
                fields=seen.fields,
                is_probes_only=self.is_probes_only,
            )
            known = self._known[key] = Known(asked)
        if len(self._spelled) >= REMEMBERED:
            self._spelled.clear()
        spelled = self._spelled[data] = known, seen.closes
        return spelled

    def _renewed(self, known: Known, now: float) -> Reply | None:
        answer = self.answers.at_once(known.asked)
        reply = None if answer is None else self._written(known.asked, answer, now)
        known.reply = reply if reply is not None and not reply.rest else None
        return reply

    def _written(self, asked: Asked, answer: Answer, now: float) -> Reply:
        fields = "".join(f"{name}: {value}\r\n" for name, value in answer.fields.items())
        date = formatdate(math.floor(now), usegmt=True)
        line = f"HTTP/1.1 {answer.status} {phrase(answer.status)}\r\n"
        head = f"{line}{fields}date: {date}\r\n".encode("latin-1")
        body = b"" if asked.method == "HEAD" else answer.body
        rest = body if len(head) + len(body) > LARGEST else b""
        return Reply(
            asked,
            head,
            body,
            b"".join((head, b"\r\n", b"" if rest else body)),
            rest,
            (answer.route, answer.status),
            now,
            min(answer.until, math.floor(now) + 1),
            self.version(),
        )
