"""The way out of the process for log records: a bounded queue and a thread that writes, so that nobody waits for it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Protocol

RECORDS: Final = 10_000
"""Records that wait to be written; further ones are dropped."""
BYTES: Final = 16 * 1024 * 1024
"""Bytes of records that wait; beyond it they are dropped."""
CONTENTION: Final = 0.05
"""Seconds to wait for another thread that hands in a record; it would have to be dead to take so long."""


class Writer(Protocol):
    """Where records go."""

    def send(self, data: bytes) -> None:
        """Write one record, however long it takes; raises OSError or ValueError when it is lost."""
        ...

    def send_now(self, data: bytes) -> None:
        """Write one record without waiting; raises as `send` does."""
        ...

    def close(self) -> None:
        """End a `send` that waits as soon as it can be ended."""
        ...


class Outlet:
    """Takes formatted records from any thread, in signal handlers and finalizers too, and never makes them wait.

    Args:
        writer: where to; the outlet's own thread alone uses it until the outlet is closed.
        lost: makes the record that says how many were dropped.
        records: how many may wait.
        size: how many bytes may wait.
    """

    # A total has one writer each: `_put`, `_put_bytes` and `_refused` belong to whoever holds the lock, the others
    # to the thread. So the thread takes no lock, and one that ends in the middle of it holds none.

    def __init__(
        self, writer: Writer, lost: Callable[[int], bytes], *, records: int = RECORDS, size: int = BYTES
    ) -> None:
        self._writer = writer
        self._lost_record = lost
        self._records = records
        self._size = size
        self._refused = 0
        self._failed = 0
        self._told = 0
        self._is_closed = False
        self._takes_late = True
        self._begin()

    @property
    def dropped(self) -> int:
        """Records that nobody will ever read, since the process began."""
        return self._refused + self._failed

    def put(self, data: bytes) -> None:
        """Hand in one record; it is dropped when too much waits already."""
        if self._pid != os.getpid():
            self._begin()  # a forked process has neither the thread nor a claim on what waited for it
        if not self._lock.acquire(timeout=CONTENTION):
            self._refused += 1
            return
        try:
            if self._is_closed or not self._has_thread():
                self._put_late(data)
            elif self._queue.qsize() >= self._records or self._waiting + len(data) > self._size:
                self._refused += 1
            else:
                self._put_bytes += len(data)
                self._queue.put(data)
        finally:
            self._lock.release()

    def flush(self, seconds: float) -> bool:
        """Wait until all that was handed in before is written; False when that takes longer."""
        thread = self._thread
        if thread is None or self._pid != os.getpid():
            return True
        if thread is threading.current_thread() or not thread.is_alive():
            return False
        done = threading.Event()
        self._queue.put(done.set)
        return done.wait(seconds)

    def close(self, seconds: float) -> None:
        """End the thread once all is written; what it cannot write within `seconds` is dropped.

        A record that comes later, at the end of the interpreter say, is written if that takes no waiting.
        """
        if self._is_closed:
            return
        end = time.monotonic() + seconds
        self._takes_late = self.flush(seconds)
        self._is_closed = True
        self._queue.put(None)
        if not self._takes_late:
            self._writer.close()
        elif self._thread is not None and self._pid == os.getpid():
            self._thread.join(max(0.0, end - time.monotonic()))

    def release(self) -> None:
        """Close the writer, after `close`: nothing is written any more."""
        self._takes_late = False
        self._writer.close()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a finalizer may log while its thread is in here
        self._queue: SimpleQueue[bytes | Callable[[], None] | None] = SimpleQueue()
        self._put_bytes = 0
        self._written_bytes = 0
        self._thread: threading.Thread | None = None
        self._will_tell = False

    @property
    def _waiting(self) -> int:
        return self._put_bytes - self._written_bytes

    def _has_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, args=(self._queue,), name="statusd log", daemon=True)
            try:
                thread.start()
            except (
                RuntimeError
            ):  # no thread can be started any more, at the interpreter's end or for want of memory
                return False
            self._thread = thread
        return True

    def _put_late(self, data: bytes) -> None:
        try:
            if self._takes_late:
                self._writer.send_now(data)
                return
        except (OSError, ValueError):
            pass
        self._refused += 1

    def _run(self, queue: SimpleQueue[bytes | Callable[[], None] | None]) -> None:
        while (item := queue.get()) is not None:
            if callable(item):
                with contextlib.suppress(Exception):  # the log's only thread must not end
                    item()
                continue
            is_written = self._write(item)
            self._failed += not is_written
            self._written_bytes += len(item)
            if is_written and not self._will_tell and self.dropped > self._told and self._has_room():
                self._will_tell = True
                queue.put(self._tell)  # behind all that came before the first one that was dropped

    def _has_room(self) -> bool:
        return self._queue.qsize() <= self._records // 2 and self._waiting <= self._size // 2

    def _tell(self) -> None:
        dropped = self.dropped
        if self._write(self._lost_record(dropped - self._told)):
            self._told = dropped
        self._will_tell = False

    def _write(self, data: bytes) -> bool:
        try:
            self._writer.send(data)
        except Exception:  # noqa: BLE001  # the log's only thread; there is nobody left to tell
            return False
        return True
