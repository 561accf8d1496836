"""A request, as far as answers depend on it, and the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import attrs

from statusd.web.edge.traffic import NOWHERE

RETRY: Final = "10"
"""Seconds after which whom there was no room for may ask again."""
HEEDED: Final = (
    *("accept", "access-control-request-method", "authorization", "cache-control", "host", "if-none-match"),
    "origin",
)
"""The header fields that an answer may depend on; a request's others are not looked at."""


@attrs.frozen(kw_only=True)
class Asked:
    """A request, as far as answers depend on it.

    Attributes:
        method: as sent.
        path: raw: percent-encoded, without the query; or ``*``.
        query: the raw query.
        fields: those of `HEEDED` that it has, names in lower case; the values of several lines joined by commas.
        is_probes_only: whether it came to a listener for probe endpoints alone.
    """

    method: str
    path: str
    query: bytes = b""
    fields: Mapping[str, str]
    is_probes_only: bool = False


@attrs.frozen(kw_only=True)
class Answer:
    """What is sent for a request.

    Attributes:
        status: the status code.
        fields: the header but for ``Date`` and ``Connection``; names in lower case.
        body: also the answer to HEAD has it, and is sent without.
        route: names the endpoint in metrics, whatever strangers put into the path.
        until: seconds since 1970 from when on it may differ although the snapshot does not; 0 = always.
    """

    status: int
    fields: Mapping[str, str]
    body: bytes = b""
    route: str = NOWHERE
    until: float = math.inf
