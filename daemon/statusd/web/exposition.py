"""Writing metrics: which of the two formats a client wants, and the document in it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Final

import attrs
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from statusd.plugin.contracts import Document

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of the Prometheus text format."""
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The content type of OpenMetrics 1.0."""

CHEAP: Final = 0.025
"""Seconds of processor time below which writing is done anew each time."""
SPARING: Final = 20
"""A document that cost more is kept for so many times what it cost."""

MOST_TYPES: Final = 100
"""Media types of one ``Accept`` that are looked at; nobody names more."""

_MEDIA_TYPE: Final = "application/openmetrics-text"
_VERSIONS: Final = frozenset({"1.0.0", "0.0.1"})  # the draft's clients read the first version
_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110, section 12.4.2


@attrs.define(eq=False)
class Exposition:
    """Writes metrics for whoever asks, and spends no more than a part of the daemon's time on it.

    200 sources and 200 models cost 40 to 60 ms a time, during which nothing else runs. Whoever asks again before
    `SPARING` times that has passed gets the same document, about a second old; what costs less than `CHEAP`, as
    fifty sources do, is always new.

    Attributes:
        metrics: what to write.
        clock: seconds that only grow.
        cost: seconds of processor time that this thread has used.
    """

    metrics: Collector
    clock: Callable[[], float] = time.monotonic
    cost: Callable[[], float] = time.thread_time
    _kept: dict[bool, tuple[float, Document]] = attrs.field(factory=dict, init=False)

    def document(self, accept: str) -> Document:
        """Return the metrics in the format that a client wants.

        Args:
            accept: the value of the request's ``Accept``; ``""`` where there is none.
        """
        is_openmetrics = wants_openmetrics(accept)
        until, document = self._kept.get(is_openmetrics, (-math.inf, None))
        now = self.clock()
        if document is None or now >= until:
            began = self.cost()
            document = _written(self.metrics, is_openmetrics=is_openmetrics)
            took = self.cost() - began
            self._kept[is_openmetrics] = (now + took * SPARING if took >= CHEAP else now, document)
        return document


def _written(metrics: Collector, *, is_openmetrics: bool) -> Document:
    if is_openmetrics:
        body: bytes = openmetrics.generate_latest(metrics)  # type: ignore[no-untyped-call]  # the library's is not typed
        return Document(body=body, content_type=OPENMETRICS)
    return Document(body=generate_latest(metrics), content_type=TEXT)


def wants_openmetrics(accept: str) -> bool:
    """Whether a client names OpenMetrics and wants it no less than text (RFC 9110, section 12.5.1).

    Who names neither, such as a browser, gets text. The library's own choice is not taken, since it ignores weights,
    claims whatever version is asked for, and raises on one that is no number.
    """
    weights: dict[str, float] = {}
    for entry in accept.split(",", MOST_TYPES)[:MOST_TYPES]:
        media_type, *rest = (part.strip().lower() for part in entry.split(";"))
        parameters = {
            name.strip(): value.strip().strip('"') for name, _, value in (p.partition("=") for p in rest)
        }
        weight = parameters.get("q", "1")
        is_other = media_type == _MEDIA_TYPE and parameters.get("version", "1.0.0") not in _VERSIONS
        if _WEIGHT.fullmatch(weight) and not is_other:
            weights[media_type] = max(float(weight), weights.get(media_type, 0.0))
    text = next((weights[kind] for kind in ("text/plain", "text/*", "*/*") if kind in weights), 0.0)
    return 0.0 < weights.get(_MEDIA_TYPE, 0.0) >= text
