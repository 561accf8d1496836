"""Many idle clients of the event stream, held open while something else is measured."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import attrs

from processes import HOST

REQUEST: Final = f"GET /events HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
BEGIN: Final = 30.0
"""Seconds in which all streams must have begun."""


@attrs.define(eq=False)
class Reader:
    """Reads all streams in a thread of its own, and keeps nothing."""

    begun: int = 0
    lost: int = 0
    bytes: int = 0
    selector: selectors.BaseSelector = attrs.field(factory=selectors.DefaultSelector)
    is_done: bool = False

    def run(self) -> None:
        """Read until told to stop."""
        while not self.is_done:
            for key, _events in self.selector.select(0.2):
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj, is_first=key.data is None)

    def _read(self, stream: socket.socket, *, is_first: bool) -> None:
        try:
            data = stream.recv(65536)
        except ConnectionError:
            data = b""
        self.bytes += len(data)
        if is_first and data.startswith(b"HTTP/1.1 200"):
            self.begun += 1
            self.selector.modify(stream, selectors.EVENT_READ, "begun")
        elif is_first or not data:
            self.lost += 1
            self.selector.unregister(stream)


@contextmanager
def idle_streams(port: int, count: int) -> Iterator[None]:
    """Hold `count` event streams open until the block ends.

    Raises:
        SystemExit: when one was refused, or was ended by the server.
    """
    reader = Reader()
    thread = threading.Thread(target=reader.run)
    with ExitStack() as exits:
        for _ in range(count):
            stream = exits.enter_context(socket.create_connection((HOST, port), timeout=BEGIN))
            stream.sendall(REQUEST)
            stream.setblocking(False)
            reader.selector.register(stream, selectors.EVENT_READ)
        thread.start()
        try:
            deadline = time.monotonic() + BEGIN
            while reader.begun + reader.lost < count and time.monotonic() < deadline:
                time.sleep(0.05)  # between two looks, with a deadline
            refused = count - reader.begun
            if not refused:
                yield
        finally:
            reader.is_done = True
            thread.join()
            reader.selector.close()
    if refused or reader.lost:
        raise SystemExit(f"Of {count} event streams, {refused} did not begin, and {reader.lost} were ended.")
