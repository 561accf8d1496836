"""Plain sockets: reading and writing with fewer system calls and passes than trio's streams take, and the end.

And with nothing left behind: an error of trio's socket streams refers to itself (from Python 3.12 on, through the frame of
a context manager), and so keeps all that the task had until a full garbage collection, which comes once a minute.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

import trio

READ: Final = 8 * 1024
"""Bytes asked of the socket at once; a header can exceed its limit by no more."""
LINGER: Final = 1 << 20
"""Bytes of unread input that are drained at most after the last answer."""
PIECE: Final = 64 * 1024
"""Bytes of it that are drained at once."""


async def read(file: int, size: int) -> bytes:
    """Return what comes next; ``b""``: no more will.

    Args:
        file: descriptor of a socket that does not block.
        size: bytes at most.

    Raises:
        OSError: the client is gone.
    """
    while True:
        await trio.lowlevel.wait_readable(file)
        try:
            return os.read(file, size)
        except BlockingIOError:  # select(2): it may be reported as readable although it is not
            continue


def write(file: int, data: bytes | memoryview) -> int:
    """Send what the socket takes at once, which nearly always is all; return how many bytes that was.

    Args:
        file: descriptor of a socket that does not block.
        data: what is to be sent.

    Raises:
        OSError: the client is gone.
    """
    try:
        return os.write(file, data)
    except BlockingIOError:
        return 0


async def write_all(file: int, data: memoryview) -> None:
    """Send `data`.

    Args:
        file: descriptor of a socket that does not block.
        data: what is to be sent.

    Raises:
        OSError: the client is gone.
    """
    while data:
        await trio.lowlevel.wait_writable(file)
        data = data[write(file, data) :]


async def drain(stream: trio.abc.HalfCloseableStream) -> None:
    """Send the end of the stream, and throw away what the client is still sending, up to `LINGER` bytes.

    Args:
        stream: the one.

    Raises:
        OSError: the client is gone.
        trio.BrokenResourceError: likewise, of what is no socket.
    """
    drained = 0
    if isinstance(stream, trio.SocketStream):
        with suppress(OSError):
            stream.socket.shutdown(socket.SHUT_WR)
        while drained < LINGER and (size := len(await read(stream.socket.fileno(), PIECE))):
            drained += size
    else:
        await stream.send_eof()
        while drained < LINGER and (size := len(await stream.receive_some(PIECE))):
            drained += size
