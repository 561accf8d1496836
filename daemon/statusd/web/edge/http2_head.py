"""The header of an HTTP/2 request, read as HTTP/1.1 would be: what is refused there is refused here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

import attrs

from statusd.web.asked import HEEDED, Asked
from statusd.web.target import origin_form, refusal

Field = tuple[bytes, bytes]

UNKNOWN: Final = b"UNKNOWN"
"""Stands for a method that is not written in capitals: no such one is served."""
OVERHEAD: Final = 32
"""Bytes that a field counts for besides its own (RFC 9113, section 6.5.2)."""

_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
_WANTED: Final = (b":method", b":scheme", b":path")
_SCHEMES: Final = frozenset({b"http", b"https"})
_CONNECTION: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
"""Fields about the connection, which HTTP/2 has no use for (RFC 9113, section 8.2.2)."""
_ELSEWHERE: Final = frozenset({b"content-length", b"expect", b"trailer", b"te"})
"""Fields with which a request is the application's, as `glance` has it."""

_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE: Final = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_TARGET: Final = re.compile(rb"[!-~]+")
_PLAIN: Final = re.compile(rb"[\t -~]*")


@attrs.frozen(kw_only=True)
class Head:
    """The header of a request.

    Attributes:
        status: the status code with which it is refused, or 0.
        method: as sent where it is in capitals, else `UNKNOWN`; ``b""`` when there is none.
        target: path and query; likewise.
        fields: the rest, ``host`` first.
    """

    status: int = 0
    method: bytes = b""
    target: bytes = b""
    fields: tuple[Field, ...] = ()

    @property
    def is_head(self) -> bool:
        """Whether the answer has no body."""
        return self.method == b"HEAD"

    @property
    def length(self) -> int | None:
        """Bytes that the body is to have, if it says so; the parser wants it to be a number."""
        return next((int(value) for name, value in self.fields if name == b"content-length"), None)

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for a word before it sends the body (RFC 9110, section 10.1.1)."""
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.fields)

    def asked(self, *, is_probes_only: bool) -> Asked | None:
        """Return it as answers depend on it; None when it is the application's.

        Args:
            is_probes_only: whether it came to a listener for probe endpoints alone.
        """
        if self.method not in {b"GET", b"HEAD"}:
            return None
        heeded: dict[str, str] = {}
        for raw, value in self.fields:
            if raw in _ELSEWHERE:
                return None
            name = raw.decode()
            if name in HEEDED:
                if not _PLAIN.fullmatch(value):
                    return None
                text = value.decode()
                heeded[name] = f"{heeded[name]}, {text}" if name in heeded else text
        path, _, query = self.target.partition(b"?")
        return Asked(
            method=self.method.decode(),
            path=path.decode(),
            query=query,
            fields=heeded,
            is_probes_only=is_probes_only,
        )

    def scope(self, connection: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ASGI calls the scope.

        Args:
            connection: its part that is the same for every request of the connection.
        """
        path, _, query = self.target.partition(b"?")
        return {
            **connection,
            "type": "http",
            "http_version": "2",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": self.method.decode(),
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(self.fields),
            "state": dict(connection["state"]),
            "extensions": {},
        }


def read_head(block: Iterable[Field], most: int) -> Head:
    """Return the header that `block` is, refused or not.

    Args:
        block: its fields, those that begin with a colon included.
        most: bytes it may have.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: list[Field] = []
    size, is_whole = 0, True
    for name, value in block:
        size += len(name) + len(value) + OVERHEAD
        if name.startswith(b":"):
            is_whole = is_whole and name in _PSEUDO and name not in pseudo and not fields
            pseudo.setdefault(name, value)
        else:
            is_whole = is_whole and _is_field(name, value)
            fields.append((name, value))
    sent, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    method = sent if sent.isupper() else UNKNOWN
    if size > most:
        return Head(status=431, method=sent, target=target)
    host = _host(pseudo, fields)
    if not is_whole or host is None or not _is_request(pseudo, method):
        return Head(status=400, method=sent, target=target)
    plain = [(b"host", host), *(field for field in fields if field[0] != b"host")]
    status = refusal(b"1.1", dict(plain))
    return Head(status=status, method=sent if status else method, target=target, fields=tuple(plain))


def _host(pseudo: Mapping[bytes, bytes], fields: Iterable[Field]) -> bytes | None:
    """Return the host that is asked; None when none is, or more than one."""
    hosts = [value for name, value in fields if name == b"host"]
    named = pseudo.get(b":authority")
    if len(hosts) > 1 or (hosts and named is not None and hosts[0].lower() != named.lower()):
        return None
    return named if named is not None else next(iter(hosts), None)


def _is_field(name: bytes, value: bytes) -> bool:
    """Whether a field may stand in a request (RFC 9113, sections 8.2.1 and 8.2.2)."""
    if name in _CONNECTION or (name == b"te" and value.lower() != b"trailers"):
        return False
    if name == b"content-length" and not value.isdigit():
        return False
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(value))


def _is_request(pseudo: Mapping[bytes, bytes], method: bytes) -> bool:
    """Whether the fields with a colon make a request (RFC 9113, section 8.3.1); CONNECT has others, and is not served."""
    if any(name not in pseudo for name in _WANTED):
        return False
    target = pseudo[b":path"]
    return bool(
        _METHOD.fullmatch(pseudo[b":method"])
        and pseudo[b":scheme"].lower() in _SCHEMES
        and _TARGET.fullmatch(target)
        and origin_form(method, target) == target
    )
