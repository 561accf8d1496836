"""Validators for the keys of the `http` plugin."""

from __future__ import annotations

import re
from typing import Final

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2
_OWN_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""The client answers for these: they decide where a message ends, and whom it is for."""


def codes(_instance: object, _attribute: object, codes: list[int]) -> None:
    """Want final status codes (RFC 9110, section 15)."""
    for code in codes:
        if not 200 <= code <= 599:
            raise ValueError(f"holds {code}, which is no final status code: 200 to 599")


def a_path(_instance: object, _attribute: object, path: str | None) -> None:
    """Want an absolute path, percent-encoded, or nothing."""
    if path and (not path.startswith("/") or not path.isascii() or any(char <= " " for char in path)):
        raise ValueError('is no path: it begins with "/" and is percent-encoded')


def a_header_name(_instance: object, _attribute: object, name: str) -> None:
    """Want the name of a header field that no client sets by itself (RFC 9110, section 5.6.2)."""
    if not _TOKEN.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise ValueError(f'"{name}" is no header field that can be set')


def header_fields(_instance: object, _attribute: object, headers: dict[str, str]) -> None:
    """Want header fields that can be sent as they are, and shown."""
    for name, value in headers.items():
        a_header_name(None, None, name)
        if name.lower() == "authorization":
            raise ValueError("holds credentials, which would be shown; put the key into api_key")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f'has a value for "{name}" that is not printable ASCII')
