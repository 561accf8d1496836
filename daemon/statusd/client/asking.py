"""What a client asks, as scripts: one answer, or the event stream for ever."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

import attrs

from statusd.client.address import Address, node_path
from statusd.client.answers import Explanation, TreeState, read_answer, refusal
from statusd.client.exchange import Exchange, Head
from statusd.client.faults import ClientError, InterruptedStepError, hung_up
from statusd.client.sse import EventParser
from statusd.client.steps import Close, Emit, Pause, Script
from statusd.client.updates import Disconnected, read_event

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of an answer."""
MAX_REFUSAL: Final = 64 * 1024
"""Bytes that are read of an answer that is not the wanted one."""
SILENCE: Final = 45.0
"""Seconds without a byte, three heartbeats of the daemon, after which a stream counts as dead."""


@attrs.frozen(kw_only=True)
class Patience:
    """How long to wait before the stream is opened again.

    Attributes:
        first: seconds, where the server does not say.
        least: seconds, whatever the server says: a stream that ends at once is no reason to hammer it.
        most: seconds that the pauses grow to.
        jitter: part of a pause that chance adds at most, so that the clients of a restarted daemon come one by one.
    """

    first: float = 2.0
    least: float = 0.1
    most: float = 30.0
    jitter: float = 0.5

    def pause(self, retry: int | None, failures: int) -> float:
        """Return the seconds to wait.

        Args:
            retry: milliseconds that the server asked for, or None.
            failures: streams in a row that brought nothing.
        """
        asked = self.first if retry is None else retry / 1000
        grown = min(max(asked, self.least) * 2.0 ** min(failures, 30), self.most)
        return grown * (1 + self.jitter * random.random())  # noqa: S311  # spreads load, hides nothing


@attrs.frozen(kw_only=True)
class Asking:
    """Whom to ask, and by which clock.

    Attributes:
        address: of the daemon.
        timeout: seconds for an answer.
        clock: the transport's, in seconds.
        patience: between two streams.
    """

    address: Address
    timeout: float
    clock: Callable[[], float]
    patience: Patience = Patience()

    def state(
        self, path: str, *, since: int | None, wait: float | None, max_age: float | None, no_cache: bool
    ) -> Script[TreeState]:
        """Return a script that asks for the tree or a branch."""
        query = {}
        if since is not None:
            if since < 0:
                raise ValueError(f"since must be a revision, 0 or more: {since}")
            query["since"] = str(since)
        if wait is not None:
            query["wait"] = _seconds(wait, "wait")
        allowed = self.timeout + (wait or 0.0)
        headers = _freshness(max_age, no_cache=no_cache)
        return self._state(path, query, headers, allowed)

    def explain(self, path: str, *, max_age: float | None, no_cache: bool) -> Script[Explanation]:
        """Return a script that asks why a node has its status."""
        return self._explain(path, _freshness(max_age, no_cache=no_cache))

    def _state(
        self, path: str, query: dict[str, str], headers: list[tuple[str, str]], allowed: float
    ) -> Script[TreeState]:
        head, body = yield from self._whole("/state", path, query, headers, allowed)
        return read_answer(TreeState, head, body, self.address, "/state")

    def _explain(self, path: str, headers: list[tuple[str, str]]) -> Script[Explanation]:
        head, body = yield from self._whole("/explain", path, {}, headers, self.timeout)
        return read_answer(Explanation, head, body, self.address, "/explain")

    def _whole(
        self,
        endpoint: str,
        path: str,
        query: dict[str, str],
        headers: list[tuple[str, str]],
        allowed: float,
    ) -> Script[tuple[Head, bytes]]:
        until = self.clock() + allowed
        inside = node_path(path)
        target = self.address.target(f"{endpoint}/{inside}" if inside else endpoint, **query)
        exchange = Exchange(self.address)
        head = yield from exchange.open(target, [("Accept", "application/json"), *headers], until=until)
        is_wanted = head.status == 200
        body = yield from exchange.body(MAX_BODY if is_wanted else MAX_REFUSAL, until=until)
        if not is_wanted:
            raise refusal(head, body, self.address, endpoint, inside)
        return head, body

    def follow(self, path: str) -> Script[None]:
        """Return a script that follows the tree or a branch for ever, over any number of streams."""
        return _Following(self, node_path(path)).script()


@attrs.define(eq=False)
class _Following:
    """The event stream of one branch, opened again whenever it is lost."""

    asking: Asking
    path: str
    _id: str = ""  # of the last update that was handed over
    _retry: int | None = None
    _failures: int = 0
    _has_begun: bool = False

    def script(self) -> Script[None]:
        """Emit updates for ever; raise what keeps the first stream from beginning."""
        while True:
            try:
                yield from self._stream()
                lost = hung_up(str(self.asking.address))
            except InterruptedStepError:
                yield Close()
                continue
            except ClientError as error:
                if not self._has_begun:
                    raise
                if error.reason in {"bad_stream", "too_large"}:
                    self._id = ""  # to go on from there would bring the same again
                lost = error
            yield Close()
            yield Emit(Disconnected(lost.message))
            pause = self.asking.patience.pause(self._retry, self._failures)
            self._failures += 1
            yield Pause(self.asking.clock() + pause)

    def _stream(self) -> Script[None]:
        exchange = yield from self._open()
        parser = EventParser(last_id=self._id)
        while data := (yield from exchange.piece(lambda: self.asking.clock() + SILENCE)):
            for event in parser.feed(data):
                self._retry = parser.retry if parser.retry is not None else self._retry
                update = read_event(event.type, event.data)
                if update is None:
                    continue
                self._has_begun, self._failures = True, 0
                self._id = event.id
                yield Emit(update)
            self._retry = parser.retry if parser.retry is not None else self._retry

    def _open(self) -> Script[Exchange]:
        asking = self.asking
        until = asking.clock() + asking.timeout
        target = asking.address.target("/events", **({"path": self.path} if self.path else {}))
        headers = [("Accept", "text/event-stream")]
        if self._id.isascii() and self._id.isprintable() and 0 < len(self._id) <= 200:
            headers.append(("Last-Event-ID", self._id))
        exchange = Exchange(asking.address)
        head = yield from exchange.open(target, headers, until=until)
        if head.status != 200 or head.media_type != "text/event-stream":
            body = b"" if head.status == 200 else (yield from exchange.body(MAX_REFUSAL, until=until))
            raise refusal(head, body, asking.address, "/events", self.path)
        return exchange


def _freshness(max_age: float | None, *, no_cache: bool) -> list[tuple[str, str]]:
    """Return the ``Cache-Control`` that asks for an answer this fresh (RFC 9111, section 5.2.1)."""
    wanted = ["no-cache"] if no_cache else []
    if max_age is not None:
        _seconds(max_age, "max_age")
        wanted.append(f"max-age={int(max_age)}")
    return [("Cache-Control", ", ".join(wanted))] if wanted else []


def _seconds(value: float, name: str) -> str:
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be seconds, 0 or more: {value}")
    return f"{value:.3f}".rstrip("0").rstrip(".")
