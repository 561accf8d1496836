"""What a certificate says about itself; OpenSSL decides what it is worth."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import attrs

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----(?P<base64>[^-]*)-----END CERTIFICATE-----")

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION, _EXTENSIONS = 0xA0, 0xA3  # [0] and [3] of a TBSCertificate
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87  # [2] and [7] of a GeneralName
_COMMON_NAME: Final = b"\x55\x04\x03"  # 2.5.4.3
_ALTERNATIVE_NAME: Final = b"\x55\x1d\x11"  # 2.5.29.17
_CENTURY: Final = 50


@attrs.frozen(kw_only=True)
class About:
    """What a certificate says.

    Attributes:
        names: the host names and IP addresses that it is for.
        not_before: when it begins to be valid, in seconds since 1970.
        not_after: when it expires, likewise.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float


def about(pem: bytes) -> About | None:
    """Return what the first certificate in `pem` says (RFC 5280, section 4.1); None where that cannot be read."""
    block = _PEM.search(pem)
    if block is None:
        return None
    try:
        return _about(base64.b64decode(block["base64"]))
    except (binascii.Error, ValueError, IndexError, OverflowError):
        return None


def _about(der: bytes) -> About:
    certificate = _only(der)
    fields = [one for one in _elements(_only(certificate, 0)) if one[0] != _VERSION]
    _serial, _signature, _issuer, (_, validity), (_, subject), _key, *rest = fields
    not_before, not_after = (_time(*one) for one in _elements(validity))
    extensions = next((value for tag, value in rest if tag == _EXTENSIONS), None)
    names = tuple(_alternative_names(extensions)) if extensions is not None else ()
    return About(names=names or tuple(_common_names(subject)), not_before=not_before, not_after=not_after)


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Cut `data` into pairs of a tag and what it holds (X.690, section 8.1; tags here are one byte)."""
    found = []
    while data:
        tag, size, at = data[0], data[1], 2
        if size & 0x80:
            at += size & 0x7F
            size = int.from_bytes(data[2:at])
        if at + size > len(data):
            raise ValueError("it ends before its length")
        found.append((tag, data[at : at + size]))
        data = data[at + size :]
    return found


def _only(data: bytes, index: int = 0) -> bytes:
    return _elements(data)[index][1]


def _time(tag: int, value: bytes) -> float:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280, section 4.1.2.5.1
        text = ("20" if int(text[:2]) < _CENTURY else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _alternative_names(extensions: bytes) -> Iterator[str]:
    for _, extension in _elements(_only(extensions)):
        (_, kind), *_critical, (_, value) = _elements(extension)
        if kind != _ALTERNATIVE_NAME:
            continue
        for tag, name in _elements(_only(value)):
            if tag == _DNS_NAME:
                yield name.decode("ascii", "backslashreplace")
            elif tag == _IP_ADDRESS:
                yield str(ipaddress.ip_address(name))


def _common_names(subject: bytes) -> Iterator[str]:
    for _, group in _elements(subject):
        for _, pair in _elements(group):
            (_, kind), (_, value) = _elements(pair)
            if kind == _COMMON_NAME:
                yield value.decode("utf-8", "backslashreplace")
