"""The journal's native protocol: a record is one datagram of fields, or a sealed memfd where it is too large for that.

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import re
import socket
import threading
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from statusd.systemd.lines import one_line, trace_lines
from statusd.systemd.records import Record, priority

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "statusd"
SEND_BUFFER: Final = 8 * 1024 * 1024
"""Bytes to ask for, as sd-journal does; the kernel grants ``net.core.wmem_max`` at most."""
RETRY: Final = 0.2
"""Seconds between two tries while nobody has the journal's socket open."""

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE: Final = (errno.EMSGSIZE, errno.ENOBUFS)
_AWAY: Final = (errno.ECONNREFUSED, errno.ENOTCONN, errno.ENOENT, errno.ECONNRESET)
_NAME: Final = re.compile(r"[a-z0-9_]{1,56}")  # journald takes 64 characters, and "STATUSD_" is 8 of them


def is_journal(environ: Mapping[str, str], descriptor: int) -> bool:
    """Whether `descriptor` is the stream to the journal that ``$JOURNAL_STREAM`` names (systemd.exec(5))."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def is_usable(path: str) -> bool:
    """Whether somebody listens at the journal's socket, and this process may talk to it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tried:
            tried.connect(path)
    except OSError:
        return False
    return True


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return `fields` as the protocol wants them: a value with a line feed goes by its length.

    Args:
        fields: names of ``A-Z``, ``0-9`` and ``_`` that do not begin with ``_``, and their values.
    """
    parts = []
    for name, value in fields:
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            parts += [name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
        else:
            parts += [name.encode(), b"=", data, b"\n"]
    return b"".join(parts)


def as_entry(record: Record) -> bytes:
    """Return `record` as one entry; a traceback stands below its message."""
    fields = [
        ("MESSAGE", _message(record)),
        ("PRIORITY", str(priority(record.level))),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
        ("STATUSD_LOGGER", one_line(record.logger)),
    ]
    if record.file:
        fields += [
            ("CODE_FILE", one_line(record.file)),
            ("CODE_LINE", str(record.line)),
            ("CODE_FUNC", one_line(record.function)),
        ]
    if record.errno is not None:
        fields.append(("ERRNO", str(record.errno)))
    if record.kind is not None:
        fields.append(("MESSAGE_ID", record.kind.id))
    for name, value in record.fields.items():
        if field := _field(name):
            fields.append((field, one_line(value)))
    return encode(fields)


def _message(record: Record) -> str:
    message = one_line(record.message)
    return "\n    ".join([message, *trace_lines(record.trace)]) if record.trace else message


@lru_cache(maxsize=256)
def _field(name: str) -> str:
    """Return the journal's name for an event's field; ``""`` when it can have none."""
    return f"STATUSD_{name.upper()}" if _NAME.fullmatch(name) else ""


class JournalSocket:
    """Sends entries to journald.

    Args:
        path: the journal's socket.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._closed = threading.Event()
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def send(self, entry: bytes) -> None:
        """Send one entry; waits while journald takes none, and while it is away.

        Raises:
            OSError: when the entry is lost.
        """
        while True:
            try:
                self._send(entry, 0)
            except OSError as error:
                if error.errno not in _AWAY or self._closed.wait(RETRY):
                    raise
            else:
                return

    def send_now(self, entry: bytes) -> None:
        """Send one entry without waiting.

        Raises:
            OSError: when the entry is lost.
        """
        self._send(entry, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Wait for nothing any more, and send nothing."""
        self._closed.set()
        self._socket.close()

    def _send(self, entry: bytes, flags: int) -> None:
        # Not connected: a restarted journald that made its socket anew is found without further ado.
        try:
            self._socket.sendmsg([entry], [], flags | socket.MSG_NOSIGNAL, self._path)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_as_file(entry, flags)

    def _send_as_file(self, entry: bytes, flags: int) -> None:
        file = os.memfd_create("statusd-journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            rest = memoryview(entry)
            while rest:
                rest = rest[os.write(file, rest) :]
            # journald takes a file only when nobody can change it any more.
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))
            self._socket.sendmsg([b""], [rights], flags | socket.MSG_NOSIGNAL, self._path)
        finally:
            os.close(file)
