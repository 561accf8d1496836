"""Sockets of each kind, bound and then listening, with every failure in words."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from statusd.errors import StartError
from statusd.socket_files import remove_stale
from statusd.values import Bind

BACKLOG: Final = 4096
"""Connections that the kernel completes while the daemon is busy; it caps this at net.core.somaxconn."""


def bound(bind: Bind, mode: int, yielding: Sequence[Any] = ()) -> socket.socket:
    """Return a socket that has its address, and does not listen yet unless it was handed over.

    Args:
        bind: the address.
        mode: file mode of a Unix socket.
        yielding: sockets of ours that listen at overlapping addresses, and will soon be closed.

    Raises:
        StartError: with the address, the cause and the remedy.
    """
    try:
        if bind.fd is not None:
            return _inherited(bind.fd)
        return _unix(bind.path, mode) if bind.path else _tcp(bind, yielding)
    except OSError as error:
        raise StartError(_in_words(bind, error)) from error


def listen(bind: Bind, sock: socket.socket, yielding: Sequence[Any] = ()) -> None:
    """Have `sock` listen.

    Args:
        bind: the address.
        sock: what `bound` returned for it.
        yielding: likewise.

    Raises:
        StartError: when somebody else listens there since.
    """
    if bind.fd is not None:
        return
    try:
        with _shared(sock, yielding):
            sock.listen(BACKLOG)
    except OSError as error:
        raise StartError(_in_words(bind, error)) from error


def give_back(bind: Bind, sock: socket.socket) -> None:
    """Undo `bound`."""
    if bind.fd is not None:
        sock.detach()  # not ours to close
        return
    sock.close()
    if bind.path:
        Path(bind.path).unlink(missing_ok=True)


def set_mode(path: Path, mode: int) -> None:
    """Give the Unix socket at `path` its file mode.

    Raises:
        StartError: when that cannot be done.
    """
    try:
        path.chmod(mode)
    except OSError as error:
        raise StartError(_in_words(Bind(path=str(path)), error)) from error


def _tcp(bind: Bind, yielding: Sequence[Any]) -> socket.socket:
    is_v6 = ":" in bind.host
    sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:  # only that, so that [::] and 0.0.0.0 go together
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with _shared(sock, yielding):
            sock.bind((bind.host, bind.port))
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _shared(sock: socket.socket, yielding: Sequence[Any]) -> Iterator[None]:
    """Let `sock` take an address that overlaps those of `yielding`, while they listen still.

    All of them have to allow it at that moment, and none but sockets of one user can be together so (socket(7)). Where
    both listen, the kernel prefers the more specific address.
    """
    together = (sock, *yielding) if yielding else ()
    try:
        for one in together:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield
    finally:
        for one in together:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def _unix(path: str, mode: int) -> socket.socket:
    try:
        remove_stale(Path(path))
    except FileExistsError:
        raise StartError(
            f"unix:{path} exists and is no socket; remove it or choose another path in [http] or with --bind"
        ) from None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        Path(path).chmod(mode)  # before it listens: until then nobody can connect
    except BaseException:
        sock.close()
        raise
    return sock


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
