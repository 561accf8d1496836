"""Bytes that a server should survive: HTTP/1.1, HTTP/2 and WebSocket, whole, mutated, and cut anywhere."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UPGRADE: Final = (
    b"GET /events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PATHS: Final = (
    b"/health",
    b"/models",
    b"/status",
    b"/state",
    b"/state?wait=1",
    b"/events",
    b"/explain/%2e%2e/x",
    b"/readyz?verbose",
    b"/metrics",
    b"/%ff%00",
    b"*",
    b"http://b/health",
    b"/" + b"a" * 9_000,
)
METHODS: Final = (b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"CONNECT", b"get", b"\x16\x03\x01")
FIELDS: Final = (
    b"Content-Length: 5",
    b"Content-Length: 5, 6",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Expect: 100-continue",
    b"Connection: close",
    b"Connection: keep-alive, Upgrade",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABkAAQAAP__",
    b'If-None-Match: "x", W/"y", *',
    b"Cache-Control: max-age=0",
    b"Range: bytes=0-1",
    b"Host: other",
    b" folded: value",
    b"no colon",
    b"X: \xff\xfe\x00",
    b"X-Long: " + b"b" * 20_000,
)
BODIES: Final = (b"", b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffff\r\n", b"x" * 70_000)
MASK: Final = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
"""A masked WebSocket text frame (RFC 6455, section 5.7)."""


def conversation(chance: random.Random) -> bytes:
    """Return what a client might send on one connection, well or ill."""
    kind = chance.random()
    if kind < 0.5:
        data = b"".join(_request(chance) for _ in range(chance.randint(1, 4)))
    elif kind < 0.7:
        data = PREFACE + b"".join(_frame(chance) for _ in range(chance.randint(0, 6)))
    elif kind < 0.9:
        data = UPGRADE + chance.choice((b"", b"x", MASK, chance.randbytes(20)))
    else:
        data = chance.randbytes(chance.randint(1, 2_000))
    return _mutated(chance, data) if chance.random() < 0.5 else data


def pieces(chance: random.Random, data: bytes) -> Sequence[bytes]:
    """Return `data` whole, or cut at every byte if it is short, or anywhere."""
    kind = chance.random()
    if kind < 0.4:
        return [data]
    if kind < 0.6 and len(data) <= 400:
        return [data[index : index + 1] for index in range(len(data))]
    cuts = [0, *sorted(chance.randrange(len(data)) for _ in range(chance.randint(1, 8))), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(cuts) if end > start]


def _request(chance: random.Random) -> bytes:
    version = chance.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""))
    fields = [b"Host: localhost", *chance.sample(FIELDS, chance.randint(0, 3))]
    line = b" ".join((chance.choice(METHODS), chance.choice(PATHS), version))
    return b"\r\n".join((line, *fields, b"", b"")) + chance.choice(BODIES)


def _frame(chance: random.Random) -> bytes:
    """Return an HTTP/2 frame (RFC 9113, section 4.1), true to its length or not."""
    payload = chance.randbytes(chance.choice((0, 4, 5, 8, 40)))
    length = len(payload) if chance.random() < 0.8 else chance.randrange(1 << 24)
    kind, flags, stream = chance.randrange(11), chance.randrange(64), chance.choice((0, 1, 3, 2**31 - 1))
    return length.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed))
        kind = chance.randrange(4)
        if kind == 0:
            changed[at] = chance.randrange(256)
        elif kind == 1:
            changed[at:at] = chance.randbytes(chance.randint(1, 8))
        elif kind == 2:
            del changed[at : at + chance.randint(1, 8)]
            changed = changed or bytearray(b"\r")
        else:
            changed[at:at] = changed[at : at + chance.randint(1, 64)]
    return bytes(changed)
