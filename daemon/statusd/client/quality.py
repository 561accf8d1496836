"""How good an answer is: ``Age`` (RFC 9111) and ``Cache-Status`` (RFC 9211), read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import attrs

_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_MEMBER: Final = re.compile(rf'(?:{_STRING}|[^",])+')  # of a list, and each of its parts
_PART: Final = re.compile(rf'(?:{_STRING}|[^";])+')
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}")  # RFC 8941, section 3.3.1
_ESCAPED: Final = re.compile(r"\\(.)")
_LONGEST: Final = 1000
"""Characters of ``Cache-Status`` that are read: strings that nobody ends take time by the square of them."""


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
    parameters = _of_statusd(headers.get("cache-status", "")[:_LONGEST])
    age, ttl = headers.get("age", ""), parameters.get("ttl", "")
    return Quality(
        age=float(age) if age.isascii() and age.isdigit() and len(age) < 16 else None,
        ttl=int(ttl) if _INTEGER.fullmatch(ttl) else None,
        detail=parameters.get("detail", ""),
        date=http_date(headers.get("date", "")),
    )


def _of_statusd(value: str) -> dict[str, str]:
    """Return the parameters that statusd gave; caches on the way add members of their own (RFC 9211, section 2)."""
    for member in _MEMBER.findall(value):
        name, *parameters = (part.strip() for part in _PART.findall(member) or [""])  # none in a lone ";"
        if _text(name) == "statusd":
            pairs = (parameter.partition("=") for parameter in parameters)
            return {key: _text(text) for key, _, text in pairs}
    return {}


def _text(item: str) -> str:
    """Return a token or a string (RFC 8941, section 3.3) as text."""
    return _ESCAPED.sub(r"\1", item[1:-1]) if item.startswith('"') else item


def http_date(value: str) -> float | None:
    """Return the seconds since 1970 of a date in a header (RFC 9110, section 5.6.7), or None for what is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
