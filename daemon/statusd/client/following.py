"""What a client follows: the event stream of one branch, opened again whenever it is lost."""

from __future__ import annotations

import random
from collections import deque
from typing import Final

import attrs

from statusd.client.address import node_path
from statusd.client.asking import MAX_REFUSAL
from statusd.client.connection import Connection
from statusd.client.exchange import Exchange
from statusd.client.faults import ClientError, hung_up
from statusd.client.refusals import refusal
from statusd.client.sse import EventParser
from statusd.client.updates import Disconnected, Update, read_event

SILENCE: Final = 45.0
"""Seconds without a byte, three heartbeats of the daemon, after which a stream counts as dead."""
FIRST_PAUSE: Final = 2.0
"""Seconds before a lost stream is opened again, where the server does not say."""
LEAST_PAUSE: Final = 0.1
"""Seconds, whatever the server says: a stream that ends at once is no reason to hammer it."""
MOST_PAUSE: Final = 30.0
"""Seconds that the pauses grow to."""
MOST_RETRY_AFTER: Final = 600.0
"""Seconds for which a server can ask with ``Retry-After``."""
JITTER: Final = 0.5
"""Part of a pause that chance adds at most, so that the clients of a restarted daemon come one by one."""


@attrs.define(eq=False)
class Following:
    """The updates of one branch, for ever, over any number of streams.

    Args:
        connection: which it closes.
        path: of the branch, as a caller wrote it.
        timeout: seconds for a stream to begin.
    """

    _connection: Connection
    _path: str = attrs.field(converter=node_path)
    _timeout: float
    _exchange: Exchange | None = attrs.field(default=None, init=False)
    _parser: EventParser = attrs.field(factory=EventParser, init=False)
    _ready: deque[Update] = attrs.field(factory=deque, init=False)  # read, and not yet handed over
    _has_begun: bool = attrs.field(default=False, init=False)
    _failures: int = attrs.field(default=0, init=False)  # streams in a row that brought nothing
    _pause_until: float = attrs.field(default=0.0, init=False)

    @property
    def is_closed(self) -> bool:
        """Whether there are no further updates."""
        return self._connection.is_closed

    def close(self) -> None:
        """End it, also for whoever waits in `next`."""
        self._connection.close()

    def drop(self) -> None:
        """Give the stream up, and go on from the last update on another: bytes of this one may be gone."""
        self._exchange = None
        self._connection.drop()

    async def next(self) -> Update | None:
        """Return the next update, or None when closed.

        A wait that is cancelled between two bytes has taken nothing, and can be begun again.

        Raises:
            ClientError: when the first stream does not begin.
        """
        while not self.is_closed:
            if self._ready:
                return self._ready.popleft()
            try:
                await self._read()
            except ClientError as error:
                self._lose(error)
        self._connection.drop()  # what was opened while it was closed
        return None

    async def _read(self) -> None:
        if self._exchange is None:
            await self._connection.sleep(self._pause_until)
            self._exchange = await self._opened()
        self._connection.until = self._connection.now() + SILENCE
        data = await self._exchange.piece()
        if not data:
            raise hung_up(str(self._connection.address))
        for event in self._parser.feed(data):
            update = read_event(event.type, event.data)
            if update is not None:
                self._has_begun, self._failures = True, 0
                self._ready.append(update)

    async def _opened(self) -> Exchange:
        connection = self._connection
        connection.until = connection.now() + self._timeout
        self._parser = EventParser(last_id=self._parser.last_id, retry=self._parser.retry)
        last_id, headers = self._parser.last_id, [("Accept", "text/event-stream")]
        if last_id.isascii() and last_id.isprintable() and 0 < len(last_id) <= 200:
            headers.append(("Last-Event-ID", last_id))
        exchange = Exchange(connection)
        target = connection.address.target("/events", **({"path": self._path} if self._path else {}))
        head = await exchange.open(target, headers)
        if head.status != 200 or head.media_type != "text/event-stream":
            body = b"" if head.status == 200 else await exchange.body(MAX_REFUSAL)
            raise refusal(head, body, connection.address, "/events", self._path)
        return exchange

    def _lose(self, error: ClientError) -> None:
        self.drop()
        if not self._has_begun:
            if self.is_closed:  # by another task or thread, which is what ended the stream
                return
            self.close()
            raise error
        if error.reason in {"bad_stream", "too_large"}:
            self._parser.last_id = ""  # to go on from there would bring the same again
        self._ready.append(Disconnected(error.message))
        self._pause_until = self._connection.now() + pause(
            self._parser.retry, self._failures, error.retry_after
        )
        self._failures += 1


def pause(retry: int | None, failures: int, retry_after: float | None = None) -> float:
    """Return the seconds to wait before the stream is opened again.

    Args:
        retry: milliseconds that the server asked for, or None.
        failures: streams in a row that brought nothing.
        retry_after: seconds that the answer asked for which came instead of a stream, or None.
    """
    asked = FIRST_PAUSE if retry is None else retry / 1000
    grown = min(max(asked, LEAST_PAUSE) * 2.0 ** min(failures, 30), MOST_PAUSE)
    least = max(grown, min(retry_after or 0.0, MOST_RETRY_AFTER))
    return least * (1 + JITTER * random.random())  # noqa: S311  # spreads load, hides nothing
