"""The thread of one Redis server: it owns the connection, and does nothing but one command after another.

Everything of redis-py that is not public, and that this file relies on, is in `_Connection`; a test pins it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from statusd.errors import ProbeError
from statusd.net.limits import MAX_KEPT_AGE
from statusd.net.redis_job import Job, NotConnectedError, Target
from statusd.net.redis_opening import Opening
from statusd.net.redis_replies import callbacks, may_hold_secret, preview, refusal, shown
from statusd.net.redis_wire import Wire
from statusd.net.trace import Trace

GARBAGE: Final = 200
"""Bytes of an answer in another protocol to show."""


class _Connection(redis.Connection):
    """A redis-py connection over a `Wire`.

    Relied on, not public: ``_connect`` returns the socket; of it only ``sendall``, ``recv_into``, ``settimeout``,
    ``shutdown`` and ``close`` are used; what they raise passes through when it is no OSError and no RedisError;
    ``send_command`` is called once for each reply that will be read.
    """

    def __init__(self, open_wire: Callable[[], Wire], sending: Callable[..., None], **rest: Any) -> None:
        super().__init__(**rest)  # type: ignore[no-untyped-call]  # redis-py annotates in part
        self._open_wire = open_wire
        self._sending = sending

    def _connect(self) -> Wire:
        return self._open_wire()

    def send_command(self, *args: Any, **rest: Any) -> None:
        self._sending(*args)
        super().send_command(*args, **rest)  # type: ignore[no-untyped-call]  # redis-py annotates in part


class Server:
    """A Redis server: its thread, its one connection, and the queue of commands between them and the loop."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # over the next three, and over what a job notes
        self._current: Job | None = None
        self._wire: Wire | None = None
        self._is_closing = False
        self._is_logging_in = False  # the thread's own
        self._has_sent_secret = False  # the thread's own
        self._connection: _Connection | None = None  # the thread's own

    async def ask(self, job: Job) -> Any:
        """Let the thread send `job` and return the reply; give the connection up when cancelled."""
        if self._is_closing:
            raise trio.ClosedResourceError("the Redis clients are closed")
        self._start_thread()
        if self._current is not None:
            job.trace.enter(f"waiting for an earlier command to {self._target.peer}")
        self._jobs.put(job)
        try:
            await job.done.wait()
        finally:
            if not job.done.is_set():
                self._abandon(job)
        if job.error is not None:
            raise job.error
        return job.reply

    def _start_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        name = f"redis {self._target.peer}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            raise ProbeError(
                "failed", "The system gives no more threads: raise TasksMax or LimitNPROC."
            ) from None

    def _abandon(self, job: Job) -> None:
        with self._lock:
            job.is_abandoned = True
            if self._current is job and self._wire is not None:
                self._wire.kill()

    def close(self) -> None:
        """End the command in progress and let the thread end."""
        with self._lock:
            self._is_closing = True
            if self._wire is not None:
                self._wire.kill()
        self._jobs.put(None)

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the thread to end."""
        if self._thread is not None:
            self._thread.join(timeout)

    # What follows runs in the thread.

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._begin(job):
                try:
                    job.reply = self._serve(job)
                except Exception as error:  # noqa: BLE001  # the thread must outlive it; the task that waits gets it
                    job.error = error
                self._end()
            job.deliver()
            del job  # its reply is the caller's to keep, not this loop's until the next command
        self._drop()

    def _begin(self, job: Job) -> bool:
        with self._lock:
            if self._is_closing:
                job.error = trio.ClosedResourceError("the Redis clients are closed")
            elif not job.is_abandoned:
                self._current = job
            return self._current is not None

    def _end(self) -> None:
        with self._lock:
            self._current = None

    def _note(self, note: Callable[[Trace], None]) -> None:
        # An abandoned job's trace belongs to the next probe already.
        with self._lock:
            if self._current is not None and not self._current.is_abandoned:
                note(self._current.trace)

    def _serve(self, job: Job) -> Any:
        try:
            connection = self._connected(job)
            self._is_logging_in = False
            connection.send_command(*job.command)
            reply = connection.read_response()
        except redis.ResponseError as error:
            if self._is_logging_in:
                self._drop()
            raise self._refused(error) from None  # the error may quote what was sent, a password even
        except redis.RedisError as error:
            self._drop()
            raise self._refused(error) from None
        except BaseException:
            if self._wire is not None and self._wire.refused:
                self._received(self._wire.refused[:GARBAGE])
            self._drop()
            raise
        self._note(lambda trace: trace.received(preview(reply, trace)))
        return self._converted(job.command[0], reply)

    def _refused(self, error: redis.RedisError) -> ProbeError:
        text = "-(not shown: it may quote the password)" if self._has_sent_secret else f"-{error}"
        self._received(text.encode("utf-8", "replace"))
        return refusal(error, self._target.peer)

    def _received(self, data: bytes) -> None:
        password = self._target.password.reveal().encode("utf-8", "surrogateescape")
        text = data.replace(password, b"***") if password else data
        self._note(lambda trace: trace.received(text))

    def _converted(self, name: str | bytes | int, reply: Any) -> Any:
        callback = callbacks().get(name.decode("latin-1") if isinstance(name, bytes) else str(name))
        if callback is None:
            return reply
        try:
            return callback(reply)
        except Exception:  # noqa: BLE001  # redis-py's conversions raise whatever a reply of another shape makes them
            raise ProbeError(
                "unexpected_answer", f"{self._target.peer} sent a reply that does not fit the command."
            ) from None

    def _connected(self, job: Job) -> _Connection:
        wire = self._wire
        is_fresh = wire is not None and time.monotonic() - wire.opened_at < MAX_KEPT_AGE
        if self._connection is not None and wire is not None and is_fresh and wire.is_reusable:
            wire.deadline = job.deadline
            return self._connection
        self._drop()
        if not job.addresses:
            raise NotConnectedError
        self._is_logging_in = True
        target = self._target
        self._connection = _Connection(
            self._open,
            self._sending,
            host=target.host,
            port=target.port,
            db=target.database,
            username=target.username_bytes or None,
            password=target.password_bytes or None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py annotates in part
        return self._connection

    def _open(self) -> Wire:
        job = self._current
        assert job is not None
        return Opening(
            peer=self._target.peer,
            addresses=job.addresses,
            tls=job.tls,
            deadline=job.deadline,
            adopt=self._adopt,
            note=lambda phase: self._note(lambda trace: trace.enter(phase)),
        ).open()

    def _adopt(self, wire: Wire) -> None:
        with self._lock:
            self._wire = wire
            if self._is_closing or self._current is None or self._current.is_abandoned:
                wire.kill()

    def _sending(self, *command: str | bytes | int) -> None:
        assert self._wire is not None
        self._wire.guard.expect()
        self._has_sent_secret = may_hold_secret(command)
        name = shown(command[:1]).decode("utf-8", "replace")
        self._note(lambda trace: trace.enter(f"waiting for {self._target.peer} to reply to {name}"))
        self._note(lambda trace: trace.sent(shown(command)))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        with self._lock:
            self._wire = None
        if connection is not None:
            connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py annotates in part
