"""A socket with one deadline for everything, a limit on what it takes in, and a way to end it from another thread."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import threading
import time
from typing import Any

from statusd.errors import ProbeError
from statusd.net.limits import BACKLOG_PAUSE, RECEIVE_BYTES
from statusd.net.oserrors import hung_up, os_error
from statusd.net.resp import ReplyGuard
from statusd.net.tls import TlsTarget, tls_error


def _failure(error: OSError, peer: str) -> ProbeError:
    if isinstance(error, ssl.SSLError):
        return tls_error(error, peer)
    if isinstance(error, TimeoutError) and not error.errno:  # ours, not the kernel's
        return ProbeError("timeout", f"{peer} gave no complete answer in time.")
    return os_error(error, peer)


class Wire:
    """What redis-py takes for its socket. One thread uses it; `kill` may come from any other.

    Args:
        family: of the address to connect to.
        peer: the server's name, for messages.
        deadline: on the clock of ``time.monotonic``; set it anew for each command.

    Attributes:
        guard: holds what comes in within its limits.
        refused: what came in and broke them.

    Raises:
        ProbeError: from every method that waits; the connection is of no use after it.
    """

    def __init__(self, family: int, peer: str, deadline: float) -> None:
        self.deadline = deadline
        self.guard = ReplyGuard(peer)
        self.refused = b""
        self.opened_at = time.monotonic()
        self._peer = peer
        self._lock = threading.Lock()  # so that no descriptor is shut down that has become another's
        self._is_killed = False
        self._is_closed = False
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise _failure(error, peer) from error
        self._socket.setblocking(False)
        if family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connect(self, address: Any, deadline: float) -> None:
        """Connect to `address`, by `deadline` at the latest."""
        deadline = min(deadline, self.deadline)
        is_unix = self._socket.family == socket.AF_UNIX
        while (code := self._begin_connect(address)) == errno.EAGAIN and is_unix:  # its backlog is full
            if time.monotonic() + BACKLOG_PAUSE > deadline:
                raise _failure(TimeoutError(), self._peer)
            time.sleep(
                BACKLOG_PAUSE
            )  # in the Redis thread, bounded by the deadline; a backlog cannot be polled
        if code == errno.EINPROGRESS:
            poller = select.poll()
            poller.register(self._socket, select.POLLOUT)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _failure(TimeoutError(), self._peer)
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise _failure(OSError(code, ""), self._peer)

    def _begin_connect(self, address: Any) -> int:
        # Under the lock, and without waiting: `kill` either comes before, or finds a socket that it can wake.
        with self._lock:
            if self._is_killed:
                return errno.ECONNABORTED
            try:
                return self._socket.connect_ex(address)
            except OSError as error:  # a Unix socket's path that is too long has no errno
                raise ProbeError("not_found", f"{self._peer} is not an address to connect to.") from error

    def start_tls(self, target: TlsTarget) -> None:
        """Do the TLS handshake and check that the certificate is the target's."""
        try:
            # With a name that it cannot use, wrap_socket would lose the descriptor; wrap_bio has none to lose.
            target.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=target.server_name)
        except ValueError as error:
            raise ProbeError(
                "tls_failed", f"The host name of {self._peer} cannot be used with TLS: correct it."
            ) from error
        try:
            with self._lock:
                self._socket = target.context.wrap_socket(
                    self._socket, server_hostname=target.server_name, do_handshake_on_connect=False
                )
            self._socket.settimeout(self._remaining())
            self._socket.do_handshake()
        except OSError as error:
            raise _failure(error, self._peer) from error

    def _remaining(self) -> float:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise _failure(TimeoutError(), self._peer)
        return remaining

    @property
    def is_reusable(self) -> bool:
        """Whether the connection is open and silent, so that what comes next answers what is sent next."""
        if self._is_closed or self._is_killed or not self.guard.is_idle:
            return False
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return False
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return not poller.poll(0)  # readable: either closed by the server, or something nobody asked for

    def sendall(self, data: bytes) -> None:
        """Send `data` (redis-py calls it)."""
        view = memoryview(data)
        while view:
            self._socket.settimeout(self._remaining())
            try:
                view = view[self._socket.send(view) :]
            except OSError as error:
                raise _failure(error, self._peer) from error

    def recv_into(self, buffer: bytearray) -> int:
        """Receive into `buffer` and return how many bytes (redis-py's parser calls it)."""
        self._socket.settimeout(self._remaining())
        try:
            count = self._socket.recv_into(buffer)
        except OSError as error:
            raise _failure(error, self._peer) from error
        if not count:
            raise hung_up(self._peer)
        data = bytes(memoryview(buffer)[:count])
        try:
            self.guard.feed(data)
        except ProbeError:
            self.refused = data
            raise
        return count

    def receive(self, until: float) -> bytes:
        """Return what comes next, or nothing when nothing has by `until`, which may be before the deadline or after.

        It goes past the guard: whoever calls it holds what comes within limits.
        """
        remaining = until - time.monotonic()
        if remaining <= 0:
            return b""
        self._socket.settimeout(remaining)
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except OSError as error:
            if isinstance(error, TimeoutError) and not error.errno:  # ours, not the kernel's
                return b""
            raise _failure(error, self._peer) from error
        if not data:
            raise hung_up(self._peer)
        return data

    def settimeout(self, _timeout: float | None) -> None:
        """Do nothing: the deadline rules (redis-py may call it)."""

    def shutdown(self, _how: int) -> None:
        """Shut down both directions (redis-py calls it before `close`)."""
        self.kill()

    def kill(self) -> None:
        """Wake the thread that waits on this wire, which then gets an error; call it from any thread."""
        with self._lock:
            self._is_killed = True
            if self._is_closed:
                return
            with contextlib.suppress(OSError):  # not connected: nothing waits
                # Not SSLSocket.shutdown, which would let the other thread go on in plain text.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket (redis-py calls it)."""
        with self._lock:
            self._is_closed = True
            self._socket.close()
