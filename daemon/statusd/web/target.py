"""What a request asks for: request targets and hosts, brought to one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

ASTERISK: Final = b"*"

# The names . and .. stand encoded in the tree (`statusd.segment`), since clients resolve them away.
_DOTS: Final = {".": "%2E", "..": "%2E%2E"}

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]+)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)
_HOST: Final = re.compile(rb"(?:\[[0-9A-Za-z:.]+\]|[0-9A-Za-z._~%!$&'()*+,;=-]*)(?::[0-9]*)?")


def origin_form(method: bytes, target: bytes) -> bytes | None:
    """Return `target` in origin-form, or ``*``; None when it is in no form that the method allows.

    A server must accept the absolute-form (RFC 9112, section 3.2.2); ``*`` goes with OPTIONS alone (3.2.4).

    Args:
        method: as sent.
        target: as sent; visible ASCII.
    """
    if target.startswith(b"/"):
        return target
    if target == ASTERISK:
        return target if method == b"OPTIONS" else None
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not is_host(match[1]):
        return None
    path, query = match[2] or b"", match[3] or b""
    if not path and not query and method == b"OPTIONS":
        return ASTERISK
    return (path or b"/") + query


def authority(target: bytes) -> bytes | None:
    """Return the host, and the port, that `target` names itself; None where it does not.

    It goes before the ``Host`` (RFC 9112, section 3.2.2).

    Args:
        target: as sent, in a form that `origin_form` takes.
    """
    match = _ABSOLUTE.fullmatch(target)
    return None if match is None else match[1]


def refusal(version: bytes, headers: Mapping[bytes, bytes]) -> int:
    """Return the status code that refuses a request whatever it asks for, or 0.

    Args:
        version: such as ``1.1``.
        headers: names in lower case.
    """
    if not version.startswith(b"1."):
        return 505
    host = headers.get(b"host")
    if host is None and version > b"1.0":  # RFC 9112, section 3.2
        return 400
    if host is not None and not is_host(host):
        return 400
    if b"content-length" in headers and b"transfer-encoding" in headers:
        # A proxy may have gone by the other length: this is how requests are smuggled (RFC 9112, section 6.3).
        return 400
    return 0


def is_host(value: bytes) -> bool:
    """Whether `value` is a valid ``Host`` (RFC 9110, section 7.2); the empty one is."""
    return _HOST.fullmatch(value) is not None


def canonical(path: str) -> str:
    """Return a raw `path` with each segment percent-encoded in one way, so that equivalent ones compare equal.

    ``/models/qwen:7b`` and ``/models/qwen%3a7b`` are the same path (RFC 3986, section 6.2.2); ``%2F`` is no ``/``.

    Args:
        path: as it stands in the request line, without the query.
    """
    encoded = (quote(unquote_to_bytes(segment), safe="") for segment in path.split("/"))
    return "/".join(_DOTS.get(segment, segment) for segment in encoded)
