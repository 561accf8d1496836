"""Steps performed on blocking sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Final

import attrs

from statusd.client.address import Address
from statusd.client.faults import ClientError, system_error, timed_out, unresolved
from statusd.client.steps import Close, Connect, Pause, Receive, Send, Step
from statusd.client.trust import tls_context

READ_SIZE: Final = 64 * 1024


@attrs.define(eq=False)
class SocketConnection:
    """Performs the steps of one script, one connection at a time."""

    address: Address
    ca_file: str
    _socket: socket.socket | None = None

    def perform(self, step: Step) -> bytes:
        """Do what `step` says; return the bytes it brought.

        Raises:
            ClientError: when it could not be done.
        """
        try:
            match step:
                case Connect():
                    self.close()
                    self._socket = self._connect(step.until)
                case Send():
                    self._within(step.until).sendall(step.data)
                case Receive():
                    return self._within(step.until).recv(READ_SIZE)
                case Pause():
                    time.sleep(max(step.until - time.monotonic(), 0))
                case Close():
                    self.close()
        except TimeoutError:
            raise timed_out(str(self.address)) from None
        except OSError as error:
            raise system_error(error, str(self.address)) from error
        return b""

    def close(self) -> None:
        """Close the connection, if there is one."""
        sock, self._socket = self._socket, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it
            sock.close()

    def _within(self, until: float) -> socket.socket:
        if self._socket is None:
            raise ClientError("closed", "The client was closed: make a new one.")
        self._socket.settimeout(_left(until))
        return self._socket

    def _connect(self, until: float) -> socket.socket:
        address = self.address
        if address.socket:
            return _open(socket.AF_UNIX, address.socket, until)
        context = tls_context(self.ca_file) if address.is_tls else None
        sock = _open_one(self._resolve(until), until)
        if context is None:
            return sock
        try:
            sock.settimeout(_left(until))
            return context.wrap_socket(sock, server_hostname=address.server_name)
        except BaseException:
            sock.close()
            raise

    def _resolve(self, until: float) -> list[tuple[Any, ...]]:
        """Look the host up in a thread: the system's resolver knows no deadline of ours."""
        found: list[list[tuple[Any, ...]]] = []

        def look_up() -> None:
            with contextlib.suppress(OSError, UnicodeError):
                host, port = self.address.host, self.address.port
                found.append(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))

        thread = threading.Thread(target=look_up, name="statusd client name look-up", daemon=True)
        thread.start()
        thread.join(_left(until))
        if thread.is_alive():
            raise TimeoutError
        if not found:
            raise unresolved(self.address.host, str(self.address))
        return found[0]


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _open(family: int, where: Any, until: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(_left(until))
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_one(candidates: list[tuple[Any, ...]], until: float) -> socket.socket:
    """Connect to the first address that answers; the last one has all the time that is left."""
    for index, (family, _type, _protocol, _name, where) in enumerate(candidates):
        is_last = index == len(candidates) - 1
        share = until if is_last else time.monotonic() + _left(until) / (len(candidates) - index)
        try:
            return _open(family, where, share)
        except OSError:
            if is_last:
                raise
    raise TimeoutError
