"""Every cap of the probe clients, in one place; the one thing missing here is the deadline, which is the caller's."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024

# HTTP answers

MAX_HEAD_BYTES: Final = 16 * KIB
"""Bytes of status lines and header fields of one answer, interim (1xx) ones included; as HAProxy and Node allow."""

MAX_HEADER_FIELDS: Final = 100
"""Header fields of one answer, trailers included; a health endpoint sends about ten."""

MAX_INFORMATIONAL: Final = 8
"""Interim (1xx) answers before the final one; real servers send one or two."""

CHUNK_ROOM: Final = 16 * KIB
"""Bytes that chunk sizes and trailers may take beyond what `max_wire_bytes` allows in proportion to the body."""

RECEIVE_BYTES: Final = 16 * KIB
"""Bytes taken from a socket at once: the longest the parser keeps the event loop is for these."""

MAX_KEPT_CONNECTIONS: Final = 8
"""Idle connections one source keeps, one an origin; a plugin that asks more servers than this reconnects."""

MAX_KEPT_AGE: Final = 60.0
"""Seconds after which a kept connection is replaced, so that a new address or an expired certificate is noticed."""

# connecting

CONNECT_STAGGER: Final = 0.25
"""Seconds one address may take before the next is tried beside it (RFC 8305, section 8)."""

MAX_ADDRESSES: Final = 8
"""Addresses of one name that are tried; a name server may list any number."""

MAX_UNIX_PATH_BYTES: Final = 107
"""Bytes of a Unix socket's path: 108 with the terminating zero (unix(7))."""

BACKLOG_PAUSE: Final = 0.02
"""Seconds between attempts at a Unix socket whose backlog is full, where the kernel does not let us wait."""

MAX_TLS_SILENCE: Final = 256 * KIB
"""Bytes of TLS records without a byte of data in them; OpenSSL takes certificate chains up to 100 KiB."""

# names

MAX_LOOKUPS: Final = 64
"""Name lookups at a time, each in a thread; those that hang hold their place until the C library gives up, in
about half a minute, so there are places for more hanging names than a host usually has."""

MAX_NAMES: Final = 4096
"""Names remembered; they come from the configuration, so this is reached by no ordinary one."""

NAME_FRESH: Final = 30.0
"""Seconds an address is used without asking again."""

NAME_STALE: Final = 600.0
"""Seconds an address is used while asking again hangs or fails for the moment."""

# WebSocket

CLOSE_WAIT: Final = 1.0
"""Seconds the peer of an opened WebSocket has for its half of the closing handshake."""

PIECE: Final = 2 * KIB
"""Bytes of a WebSocket that are understood at a time: a thousand frames take milliseconds."""

MAX_CLOSING_BYTES: Final = 64 * KIB
"""Bytes a WebSocket may still send before the close that answers ours; more, and we hang up."""


def max_wire_bytes(max_body: int) -> int:
    """Return the bytes one answer may have in all, for a body of `max_body` bytes.

    A body in chunks may take twice its size; one sent a byte a chunk takes six times, and is refused.
    """
    return MAX_HEAD_BYTES + 2 * max_body + CHUNK_ROOM
