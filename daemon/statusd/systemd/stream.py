"""Writes lines to standard error: a terminal, a pipe, a file, or the journal's stream."""

from __future__ import annotations

import os
import select
import threading
from typing import Final, TextIO

PATIENCE: Final = 0.5
"""Seconds between two looks whether the writer was closed, while the stream takes nothing."""


class StreamWriter:
    """Writes whole records, unbuffered: nothing stays behind that could turn the end into exit code 120.

    Args:
        stream: where to; one that has a descriptor is written to by it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor = descriptor_of(stream)
        self._closed = threading.Event()
        self._is_torn = False

    def send(self, data: bytes) -> None:
        """Write one record; waits as long as the stream takes nothing.

        Raises:
            OSError: when the record, or the rest of it, is lost.
            ValueError: when the stream is closed.
        """
        self._write(data, is_patient=True)

    def send_soon(self, data: bytes) -> None:
        """Write one record; waits only where writing to the stream does; raises as `send` does."""
        self._write(data)

    def send_now(self, data: bytes) -> None:
        """Write one record without waiting; raises as `send` does."""
        self._write(data, is_hasty=True)

    def close(self) -> None:
        """Wait for nothing any more; the stream itself stays as it is."""
        self._closed.set()

    def _write(self, data: bytes, *, is_patient: bool = False, is_hasty: bool = False) -> None:
        if self._descriptor is None:
            self._stream.write(data.decode())
            self._stream.flush()
            return
        # Half of a record may have been written before: begin on a line of our own.
        rest = memoryview((b"\n" if self._is_torn else b"") + data)
        while rest:
            if is_hasty and not _takes(self._descriptor, 0):
                raise BlockingIOError
            try:
                # A pipe that can be written to takes PIPE_BUF bytes at once, and may make the writer of more wait.
                written = os.write(self._descriptor, rest[: select.PIPE_BUF] if is_hasty else rest)
            except BlockingIOError:
                if not is_patient or not self._wait(self._descriptor):
                    raise
                continue
            rest = rest[written:]
            self._is_torn = bool(rest)

    def _wait(self, descriptor: int) -> bool:
        """Wait until `descriptor` takes something; False when the writer was closed."""
        while not self._closed.is_set():
            if _takes(descriptor, PATIENCE):
                return True
        return False


class Direct:
    """The way for commands that are no daemon: each record is written before the next statement runs.

    Args:
        writer: where to; what it does not take is dropped.
    """

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._lock = threading.RLock()
        self.dropped = 0

    def put(self, data: bytes) -> None:
        """Write one record; never raises."""
        with self._lock:
            try:
                self._writer.send_soon(data)
            except (OSError, ValueError):
                self.dropped += 1

    def flush(self, seconds: float) -> bool:  # noqa: ARG002  # the signature of an outlet's
        """Return True: nothing waits."""
        return True

    def close(self, seconds: float) -> None:
        """Do nothing: what is written later is written at once, too."""

    def release(self) -> None:
        """Do nothing: the stream is somebody else's."""


def descriptor_of(stream: TextIO) -> int | None:
    """Return the descriptor of `stream`, or None where it has none."""
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _takes(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
