"""Opening the sockets to listen on, with every failure in words."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from statusd.errors import StartError
from statusd.values import Bind

BACKLOG: Final = 4096
"""Connections that the kernel completes while the daemon is busy; it caps this at net.core.somaxconn."""

SOCKET_MODE: Final = 0o666
"""File mode of a Unix socket: everyone on this host may connect, as to a loopback port; its directory can narrow that."""


@attrs.define(eq=False, kw_only=True)
class Listener:
    """A socket that listens.

    Attributes:
        accepting: accepts connections.
        address: where, as people write it: ``http://127.0.0.1:8000``, ``https://...``, ``unix:/run/statusd/http.sock``
            or ``tls:unix:/...``.
        path: of a Unix socket that `close` removes, or None.
        is_tls: whether clients must speak TLS there.
        is_probes_only: whether only the probe endpoints are served there.
        is_exposed: whether other hosts may reach it.
    """

    accepting: trio.abc.Listener[trio.SocketStream]
    address: str
    path: Path | None = None
    is_tls: bool = False
    is_probes_only: bool = False
    is_exposed: bool = False
    _identity: tuple[int, int] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._identity = _identity(self.path)

    async def close(self) -> None:
        """Stop listening; remove the Unix socket, unless another process has put its own there since."""
        if self._identity is not None and self._identity == _identity(self.path):
            assert self.path is not None
            self.path.unlink(missing_ok=True)
            self._identity = None
        await trio.aclose_forcefully(self.accepting)


def open_listeners(
    binds: Sequence[Bind], probes: Sequence[Bind] = (), *, mode: int = SOCKET_MODE
) -> list[Listener]:
    """Open a listening socket for each of `binds`, then of `probes`; all of them or none.

    Args:
        binds: where everything is served.
        probes: where only the probe endpoints are.
        mode: file mode of Unix sockets that are made.

    Raises:
        StartError: with the address, the cause and the remedy.
    """
    opened: list[tuple[Bind, socket.socket]] = []
    try:
        for bind in (*binds, *probes):
            opened.append((bind, _open(bind, mode)))  # noqa: PERF401  # each is known before the next may fail
        return [
            _listener(bind, sock, is_probes_only=index >= len(binds))
            for index, (bind, sock) in enumerate(opened)
        ]
    except BaseException:
        for bind, sock in opened:
            sock.close()
            if bind.path:
                Path(bind.path).unlink(missing_ok=True)
        raise


def _listener(bind: Bind, sock: socket.socket, *, is_probes_only: bool) -> Listener:
    return Listener(
        accepting=trio.SocketListener(trio.socket.from_stdlib_socket(sock)),
        address=_address(sock, is_tls=bind.is_tls),
        path=Path(bind.path) if bind.path else None,
        is_tls=bind.is_tls,
        is_probes_only=is_probes_only,
        is_exposed=_is_exposed(sock),
    )


def _open(bind: Bind, mode: int) -> socket.socket:
    try:
        if bind.fd is not None:
            return _inherited(bind.fd)
        return _unix(bind.path, mode) if bind.path else _tcp(bind)
    except OSError as error:
        raise StartError(_in_words(bind, error)) from error


def _tcp(bind: Bind) -> socket.socket:
    is_v6 = ":" in bind.host
    sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:  # only that, so that [::] and 0.0.0.0 go together
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((bind.host, bind.port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _unix(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        Path(path).chmod(mode)  # before listen: until then nobody can connect
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(
            f"unix:{path} exists and is no socket; remove it or choose another path in [http] or with --bind"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except ConnectionRefusedError:  # left behind by a process that is gone
            Path(path).unlink(missing_ok=True)
            return
        except BlockingIOError:  # its backlog is full: very much alive
            pass
    raise OSError(errno.EADDRINUSE, "somebody listens")


def _inherited(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    try:
        is_stream = sock.type == socket.SOCK_STREAM
        is_listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        sock.detach()
        raise
    if not is_stream or not is_listening:
        sock.detach()  # not ours to close
        raise StartError(
            f"fd://{fd} is not a listening stream socket; pass one with ListenStream= in a systemd socket unit"
        )
    sock.set_inheritable(False)
    return sock


def _in_words(bind: Bind, error: OSError) -> str:
    other = "choose another address in [http] or with --bind"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{bind} is in use; stop the other program or {other}"
        case errno.EADDRNOTAVAIL:
            return f"{bind} is not an address of this host; {other}"
        case errno.EAFNOSUPPORT:
            return f"{bind} cannot be opened: this host has no such kind of address; {other}"
        case errno.EACCES | errno.EPERM if bind.path:
            return f"{bind} cannot be opened: no permission; make its directory writable for this user or {other}"
        case errno.EACCES | errno.EPERM:
            return (
                f"{bind} cannot be opened: no permission; ports below 1024 are privileged: {other}, "
                "give the process CAP_NET_BIND_SERVICE, or pass the socket by socket activation"
            )
        case errno.ENOENT | errno.ENOTDIR:
            return f"{bind} cannot be opened: its directory does not exist; create it or {other}"
        case errno.EBADF | errno.ENOTSOCK:
            return f"{bind} is not an open socket; pass one with ListenStream= in a systemd socket unit"
        case _:
            return f"{bind} cannot be opened: {error.strerror or error}; {other}"


def _address(sock: socket.socket, *, is_tls: bool) -> str:
    name = sock.getsockname()
    scheme = "https" if is_tls else "http"
    if sock.family == socket.AF_INET:
        return f"{scheme}://{name[0]}:{name[1]}"
    if sock.family == socket.AF_INET6:
        return f"{scheme}://[{name[0]}]:{name[1]}"
    prefix = "tls:unix:" if is_tls else "unix:"
    if isinstance(name, bytes):  # abstract: a name after a zero byte (man 7 unix)
        return f"{prefix}@{name[1:].decode(errors='replace')}"
    return f"{prefix}{name}"


def _is_exposed(sock: socket.socket) -> bool:
    """Whether other hosts may reach it; the wildcard address is each of this host's."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    address = ipaddress.ip_address(sock.getsockname()[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (mapped or address).is_loopback


def _identity(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
