"""A connection that listens to a Redis server, its thread, and the way from there into the event loop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

import attrs
import trio

from statusd.errors import ProbeError
from statusd.net.limits import MAX_KEPT_AGE
from statusd.net.redis_job import Address, Target
from statusd.net.redis_opening import Opening
from statusd.net.redis_push import Listener
from statusd.net.redis_wire import Wire
from statusd.net.tls import TlsTarget

_JOIN: Final = 1.0
"""Seconds for a thread to end whose socket was just shut down."""


@attrs.define(eq=False, kw_only=True)
class Watch:
    """One connection that listens, from when it is opened to its end; not the one for commands.

    Attributes:
        target: the server.
        addresses: where it listens; one at least.
        tls: whom to expect there, with TLS.
        keys: whose changes to hear of.
        changed: called in the event loop's thread.
        timeout: seconds for connecting and logging in, and for each answer to a PING.
    """

    target: Target
    addresses: Sequence[Address]
    tls: TlsTarget | None
    keys: Collection[bytes]
    changed: Callable[[], None]
    timeout: float
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)  # over the next two
    _wire: Wire | None = attrs.field(default=None, init=False)
    _is_closing: bool = attrs.field(default=False, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)  # the thread's, until it has ended
    _fault: Exception | None = attrs.field(default=None, init=False)  # what `changed` raised

    async def run(self) -> None:
        """Listen until the connection is so old that a new one should take its place; nothing is left afterwards.

        Raises:
            ProbeError: the server cannot be listened to, or not any more.
            trio.ClosedResourceError: `close` was called.
        """
        self._thread = threading.Thread(target=self._run, name=f"redis watch {self.target.peer}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            raise ProbeError(
                "failed", "The system gives no more threads: raise TasksMax or LimitNPROC."
            ) from None
        try:
            await self._ended.wait()
            is_closed = self._is_closing
        finally:
            self.close()
            with trio.move_on_after(_JOIN, shield=True):
                await self._ended.wait()
                self._thread.join(_JOIN)  # no wait to speak of: it has nothing left to do but to return
        if self._fault is not None:
            raise self._fault
        if is_closed:
            raise trio.ClosedResourceError("the Redis clients are closed")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close the connection and let the thread end; `changed` is not called any more."""
        with self._lock:
            self._is_closing = True
            if self._wire is not None:
                self._wire.kill()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the thread to end."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _announce(self) -> None:
        if self._is_closing:
            return
        try:
            self.changed()
        except Exception as error:  # noqa: BLE001  # raised here it would end the daemon; `run` raises it where it belongs
            self._fault = error
            self.close()

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            self._listen()
        except Exception as error:  # noqa: BLE001  # the task that waits gets it
            self._error = error
        self._tell(self._ended.set)

    def _tell(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # nobody is left to tell
            self._token.run_sync_soon(what, idempotent=True)

    def _listen(self) -> None:
        deadline = time.monotonic() + self.timeout
        wire = Opening(
            peer=self.target.peer,
            addresses=self.addresses,
            tls=self.tls,
            deadline=deadline,
            adopt=self._adopt,
        ).open()
        with contextlib.closing(wire):
            listener = Listener(wire, self.target.peer, self.keys, lambda: self._tell(self._announce))
            listener.begin(self.target.username_bytes, self.target.password_bytes, deadline)
            listener.listen(self.timeout, wire.opened_at + MAX_KEPT_AGE)

    def _adopt(self, wire: Wire) -> None:
        with self._lock:
            self._wire = wire
            if self._is_closing:
                wire.kill()
