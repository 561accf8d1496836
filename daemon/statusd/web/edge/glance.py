"""A glance at what a client sent: a plain whole request is understood at once, anything else is left to the parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from statusd.web.asked import HEEDED
from statusd.web.target import is_host

LONGEST: Final = 4096
"""Bytes of a request that is looked at; browsers send a fraction of that."""

# The part of RFC 9112 that leaves nothing to interpret: GET or HEAD, origin-form, HTTP/1.1, visible ASCII, no folding.
_LINE: Final = rb"(GET|HEAD) (/[!->@-~]*)(?:\?([!-~]*))? HTTP/1\.1\r\n"
_FIELDS: Final = rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n"
_REQUEST: Final = re.compile(_LINE + _FIELDS)
_FIELD: Final = re.compile(rb"([^:]+):([^\r]*)\r\n")

_ELSEWHERE: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"upgrade", b"expect", b"trailer", b"te"}
)
"""Fields that change how a request is to be read, or what it asks of the connection."""
_HEEDED: Final = frozenset(name.encode() for name in HEEDED)


@attrs.frozen
class Glance:
    """A plain request.

    Attributes:
        method: ``GET`` or ``HEAD``.
        path: raw.
        query: raw.
        fields: those that answers depend on, names in lower case.
        closes: whether the client wants no further request on this connection.
    """

    method: str
    path: str
    query: bytes
    fields: Mapping[str, str]
    closes: bool


def glance(data: bytes) -> Glance | None:
    """Return the request that `data` is, whole and alone; None when it is none, or one that wants a parser.

    Args:
        data: what has come since the last request.
    """
    if len(data) > LONGEST:
        return None
    match = _REQUEST.fullmatch(data)
    if match is None:
        return None
    method, path, query, block = match.groups()
    fields: dict[bytes, bytes] = {}
    closes = False
    for name, raw in _FIELD.findall(block):
        name = name.lower()  # noqa: PLW2901  # the one that is meant
        if name in _ELSEWHERE:
            return None
        if name == b"connection":
            option = raw.strip(b" \t").lower()
            if option not in {b"keep-alive", b"close"}:
                return None
            closes = closes or option == b"close"
        elif name in _HEEDED:
            value = raw.strip(b" \t")
            fields[name] = fields[name] + b", " + value if name in fields else value
    host = fields.get(b"host")
    if host is None or not is_host(host):
        return None
    return Glance(
        method.decode(),
        path.decode(),
        query or b"",
        {name.decode(): value.decode() for name, value in fields.items()},
        closes,
    )
