"""How good an answer is: ``Age`` (RFC 9111) and ``Cache-Status`` (RFC 9211), read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import attrs

_PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^",;]+|[,;]|"')
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}")  # RFC 8941, section 3.3.1
_ESCAPED: Final = re.compile(r"\\(.)")


@attrs.frozen(kw_only=True)
class Quality:
    """What the header of an answer says about its freshness.

    Attributes:
        age: seconds since the oldest reading behind the answer was taken, or None when nobody says.
        ttl: seconds until the answer turns stale, below 0 when it has, or None when nobody says.
        detail: why a default or a stale value stands in, or ``""``.
        date: when the daemon answered, by its own clock, in seconds since 1970, or None.
    """

    age: float | None = None
    ttl: int | None = None
    detail: str = ""
    date: float | None = None


def read_quality(headers: Mapping[str, str]) -> Quality:
    """Return what `headers` say; what is not well-formed says nothing.

    Args:
        headers: names in lower case.
    """
    parameters = _of_statusd(headers.get("cache-status", ""))
    age, ttl = headers.get("age", ""), parameters.get("ttl", "")
    return Quality(
        age=float(age) if age.isascii() and age.isdigit() and len(age) < 16 else None,
        ttl=int(ttl) if _INTEGER.fullmatch(ttl) else None,
        detail=_text(parameters.get("detail", "")),
        date=_date(headers.get("date", "")),
    )


def _of_statusd(value: str) -> dict[str, str]:
    """Return the parameters that statusd gave; caches on the way add members of their own (RFC 9211, section 2)."""
    members: list[list[str]] = [[""]]
    for piece in _PIECE.findall(value):
        if piece == ",":
            members.append([""])
        elif piece == ";":
            members[-1].append("")
        else:
            members[-1][-1] += piece
    for name, *parameters in members:
        if _text(name.strip()) == "statusd":
            pairs = (parameter.partition("=") for parameter in parameters)
            return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def _text(item: str) -> str:
    """Return a token or a string (RFC 8941, section 3.3) as text."""
    if len(item) >= 2 and item.startswith('"') and item.endswith('"'):
        return _ESCAPED.sub(r"\1", item[1:-1])
    return item


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
