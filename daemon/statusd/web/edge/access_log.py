"""The access log: a share of the requests, a line each, in which nothing that a stranger chose can do harm."""

from __future__ import annotations

import logging
import random
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from statusd.events import REQUEST, Event, event
from statusd.web.edge.traffic import Exchange

log = logging.getLogger("statusd.access")

MOST: Final = 100
"""Lines in any second at most: a flood of requests must not become one of the disk."""
LATER: Final = 10.0
"""Seconds from the first request that was left out for that until their number is written."""

SHORT: Final = 40
"""Characters of an address, a method and a version; real ones have fewer."""
LONG: Final = 500
"""Characters of a target; what is longer ends with ``[cut]``."""

# All but visible ASCII; the space would end a field, the quotation mark the request, the backslash begins an escape.
_UNSAFE: Final = re.compile(r"[^!#-\[\]-~]")


@attrs.define(eq=False)
class SampledLog:
    """Writes a share of the requests to the log.

    They are evenly spaced: of any `n` that follow one another ``n * share`` are written, give or take one or two.
    Where in its stretch each lies is left to chance, since what asks in turns, as load balancers do, would
    otherwise be met at the same turn each time.

    Attributes:
        share: of the requests, more than 0, and 1 at most.
        clock: seconds that only grow.
        chance: the randomness of the place in a stretch.
    """

    share: float
    clock: Callable[[], float] = time.monotonic
    chance: random.Random = attrs.field(factory=random.Random)
    _seen: int = attrs.field(default=0, init=False)
    _stretches: int = attrs.field(default=0, init=False)
    _next: float = attrs.field(default=0.0, init=False)
    _written: deque[float] = attrs.field(factory=lambda: deque(maxlen=MOST), init=False)
    _left_out: int = attrs.field(default=0, init=False)
    _due: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._choose()

    def take(self, exchange: Exchange) -> None:
        """Write it, or leave it out."""
        self._seen += 1
        if self._seen < self._next:
            return
        self._choose()
        now = self.clock()
        if self._left_out and now >= self._due and self._has_room(now):
            self._sum_up(now)
        if self._has_room(now):
            self._written.append(now)
            log.info("%s", line(exchange), extra=_event(exchange))
            return
        if not self._left_out:
            self._due = now + LATER
        self._left_out += 1

    def close(self) -> None:
        """Say how many were left out since that was last said."""
        if self._left_out:
            self._sum_up(self.clock())

    def _choose(self) -> None:
        # One of each stretch of 1/share requests; where that is hardly more than one, two places may be the same.
        place = (self._stretches + self.chance.random()) / self.share
        self._next = max(self._seen + 1.0, place)
        self._stretches += 1

    def _has_room(self, now: float) -> bool:
        return len(self._written) < MOST or now - self._written[0] >= 1.0

    def _sum_up(self, now: float) -> None:
        self._written.append(now)
        log.info("%d more requests were not written: over %d lines a second.", self._left_out, MOST)
        self._left_out = 0


def line(exchange: Exchange) -> str:
    """Return a request as a line: client, request, status code, bytes, seconds, stage; ``-`` where there is none."""
    request = "-"
    if exchange.method:
        target = _shown(exchange.target, LONG)
        request = f"{_shown(exchange.method, SHORT)} {target} HTTP/{_shown(exchange.version, SHORT)}"
    client = _shown(exchange.client, SHORT) or "-"
    status = exchange.status or "-"
    return f'{client} "{request}" {status} {exchange.size} {exchange.seconds:.4f} {exchange.stage}'


def _event(exchange: Exchange) -> dict[str, Event]:
    return event(
        REQUEST,
        client=_shown(exchange.client, SHORT) or "-",
        method=_shown(exchange.method, SHORT) or "-",
        target=_shown(exchange.target, LONG) or "-",
        status=str(exchange.status or "-"),
        size=str(exchange.size),
        seconds=f"{exchange.seconds:.4f}",
        stage=str(exchange.stage),
    )


def _shown(text: str, most: int) -> str:
    """Return `text` without anything that ends a line or a field, moves a cursor, or is not shown."""
    text = text if len(text) <= most else f"{text[:most]}[cut]"
    return _UNSAFE.sub(lambda found: _escaped(found[0]), text)


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char == " ":
        return "\\x20"
    return char.encode("unicode_escape").decode()
