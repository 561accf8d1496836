"""Connections of blocking sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs

from statusd.client.address import Address
from statusd.client.connection import READ_SIZE
from statusd.client.faults import ClientError, timed_out, unresolved
from statusd.client.tls import failure, tls_context


@attrs.define(eq=False)
class SocketConnection:
    """A `Connection` whose every wait blocks its thread."""

    address: Address
    ca_file: str
    until: float = 0.0
    _socket: socket.socket | None = None
    _closed: threading.Event = attrs.field(factory=threading.Event)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def now(self) -> float:
        return time.monotonic()

    async def connect(self) -> None:
        self.drop()
        with self._told():
            self._socket = self._connected()

    async def send(self, data: bytes) -> None:
        with self._told():
            self._open().sendall(data)

    async def receive(self) -> bytes:
        with self._told():
            return self._open().recv(READ_SIZE)

    async def sleep(self, until: float) -> None:
        self._closed.wait(until - time.monotonic())

    def drop(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it
            sock.close()

    def close(self) -> None:
        self._closed.set()
        self.drop()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise timed_out(str(self.address)) from None
        except OSError as error:
            raise failure(error, self.address, self.ca_file) from error

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise ClientError("closed", "The client was closed: make a new one.")
        self._socket.settimeout(_left(self.until))
        return self._socket

    def _connected(self) -> socket.socket:
        address = self.address
        context = tls_context(self.ca_file, address) if address.is_tls else None
        if address.socket:
            sock = _opened(socket.AF_UNIX, address.socket, self.until)
        else:
            sock = _first_opened(self._resolved(), self.until)
        if context is None:
            return sock
        try:
            sock.settimeout(_left(self.until))
            return context.wrap_socket(sock, server_hostname=address.server_name or None)
        except BaseException:
            sock.close()
            raise

    def _resolved(self) -> list[tuple[Any, ...]]:
        """Look the host up in a thread: the system's resolver knows no deadline of ours."""
        found: list[tuple[Any, ...]] = []

        def look_up() -> None:
            with contextlib.suppress(OSError, UnicodeError):
                found.extend(
                    socket.getaddrinfo(self.address.host, self.address.port, type=socket.SOCK_STREAM)
                )

        thread = threading.Thread(target=look_up, name="statusd client name look-up", daemon=True)
        thread.start()
        thread.join(_left(self.until))
        if thread.is_alive():
            raise TimeoutError
        if not found:
            raise unresolved(self.address.host, str(self.address))
        return found


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _opened(family: int, where: Any, until: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(_left(until))
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


def _first_opened(candidates: list[tuple[Any, ...]], until: float) -> socket.socket:
    """Connect to the first address that answers; each has its share of the time that is left."""
    for index, (family, _type, _protocol, _name, where) in enumerate(candidates):
        others = len(candidates) - index
        try:
            return _opened(family, where, time.monotonic() + _left(until) / others)
        except OSError:
            if others == 1:
                raise
    raise TimeoutError
