"""Connections to upstreams: TCP by name or address, Unix sockets, TLS on either; closed without waiting."""

from __future__ import annotations

import os
import socket
import ssl

import attrs
import trio

from statusd.errors import ProbeError
from statusd.net.limits import BACKLOG_PAUSE, CONNECT_STAGGER, MAX_UNIX_PATH_BYTES, RECEIVE_BYTES
from statusd.net.names import Address, Resolver
from statusd.net.oserrors import most_telling, os_error
from statusd.net.tls import TlsTarget, is_unexpected_end, tls_error
from statusd.net.tls_session import TlsSession, send_all
from statusd.net.trace import Trace


@attrs.define(eq=False)
class Connection:
    """A connection to an upstream, for one task at a time.

    Attributes:
        where: the address, for messages.
        opened_at: on trio's clock.
    """

    where: str
    _sock: trio.socket.SocketType
    opened_at: float = attrs.field(factory=trio.current_time)
    _tls: TlsSession | None = None

    async def send(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            ProbeError: ``connection_lost``, ``timeout`` or ``tls_failed``.
        """
        try:
            if self._tls is None:
                await send_all(self._sock, data)
            else:
                await self._tls.send(data)
        except ssl.SSLError as error:
            raise tls_error(error, self.where) from error
        except OSError as error:
            raise os_error(error, self.where) from error

    async def receive(self) -> bytes:
        """Return some bytes, or none when the upstream has finished sending.

        Raises:
            ProbeError: ``connection_lost``, ``timeout`` or ``tls_failed``.
        """
        try:
            if self._tls is None:
                return await self._sock.recv(RECEIVE_BYTES)
            return await self._tls.receive()
        except ssl.SSLError as error:
            if not is_unexpected_end(error):
                raise tls_error(error, self.where) from error
            raise ProbeError(
                "connection_lost", f"{self.where} hung up without ending TLS, so the answer may be cut short."
            ) from error
        except OSError as error:
            raise os_error(error, self.where) from error

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits to be read, neither bytes nor the end: only then it may be used again."""
        return not self._sock.is_readable() and (self._tls is None or self._tls.is_drained)

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self._sock.close()

    async def start_tls(self, target: TlsTarget) -> None:
        """Put TLS on the connection.

        Raises:
            ProbeError: ``tls_failed``, ``timeout`` or ``too_large``.
        """
        try:
            session = TlsSession(self._sock, target, self.where)
            await session.handshake()
        except ssl.SSLError as error:
            raise tls_error(error, self.where) from error
        except ValueError as error:  # the IDNA encoding's UnicodeError, or no name at all
            raise ProbeError(
                "tls_failed", f"{self.where} has no name that a certificate can be for: correct the URL."
            ) from error
        except ConnectionError as error:
            raise ProbeError(
                "tls_failed", f"{self.where} hung up during the TLS handshake: it may not speak TLS."
            ) from error
        except OSError as error:
            raise os_error(error, self.where) from error
        self._tls = session


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where to connect to.

    Attributes:
        host: name or IP address; for a Unix socket only the name that a certificate must be for.
        port: 1 to 65535.
        unix_socket: path of the Unix socket to use instead, or ``""``.
    """

    host: str
    port: int
    unix_socket: str = ""

    def __str__(self) -> str:
        if self.unix_socket:
            return f"unix:{self.unix_socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def open_connection(
    endpoint: Endpoint, resolver: Resolver, trace: Trace, *, tls: TlsTarget | None = None
) -> Connection:
    """Connect, to whichever address of the name answers first (RFC 8305).

    Raises:
        ProbeError: as `statusd.HttpClient.get`.
    """
    where = str(endpoint)
    if endpoint.unix_socket:
        trace.enter(f"connecting to {where}")
        sock = await _connect_unix(endpoint.unix_socket, where)
    else:
        if not 1 <= endpoint.port <= 65535:
            raise ProbeError("unreachable", f"{where} has a port that is not a number from 1 to 65535.")
        trace.enter(f"resolving {endpoint.host}")
        addresses = await resolver.resolve(endpoint.host, endpoint.port)
        trace.enter(f"connecting to {where}")
        sock = await _connect_any(addresses, where)
    connection = Connection(where, sock)
    try:
        if tls is not None:
            trace.enter(f"TLS handshake with {where}")
            await connection.start_tls(tls)
    except BaseException:
        connection.close()
        raise
    return connection


async def _connect_unix(path: str, where: str) -> trio.socket.SocketType:
    if "\0" in path or len(os.fsencode(path)) > MAX_UNIX_PATH_BYTES:
        raise ProbeError(
            "not_found", f"{where} cannot be a socket's path: at most {MAX_UNIX_PATH_BYTES} bytes."
        )
    while True:
        sock = await _connect(socket.AF_UNIX, path, where)
        try:
            sock.getpeername()
        except OSError:
            # connect(2): a full backlog is EAGAIN for a Unix socket, which trio takes for a connection under way
            sock.close()
            await trio.sleep(BACKLOG_PAUSE)
        else:
            return sock


async def _connect_any(addresses: list[Address], where: str) -> trio.socket.SocketType:
    if len(addresses) == 1:
        return await _connect(*addresses[0], where)
    failures: list[ProbeError] = []
    winners: list[trio.socket.SocketType] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            winners.append(await _connect(*address, where))
            nursery.cancel_scope.cancel()
        except ProbeError as error:
            failures.append(error)
            failed.set()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(CONNECT_STAGGER):
                    await failed.wait()
    except BaseException:
        _close(winners)
        raise
    _close(winners[1:])  # two may have won in the same instant
    if not winners:
        raise most_telling(failures)
    return winners[0]


async def _connect(family: int, address: object, where: str) -> trio.socket.SocketType:
    try:
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise os_error(error, where) from error
    try:
        await sock.connect(address)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise os_error(error, where) from error
        raise
    return sock


def _close(sockets: list[trio.socket.SocketType]) -> None:
    for sock in sockets:
        sock.close()
