"""The socket's file: where it is, who may connect, and what an earlier daemon left there."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
import trio

from statusd.control.protocol import FILE
from statusd.socket_files import remove_stale

MODE: Final = 0o600
"""Its owner may connect, and root: connect(2) wants write permission (unix(7))."""
BACKLOG: Final = 16
_PEER: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))


@attrs.frozen
class Peer:
    """Who is at the other end, as the kernel knows (SO_PEERCRED, unix(7)).

    Attributes:
        pid: its process; 0 where that is in another PID namespace.
        uid: its effective user; the overflow one (65534) where this process's user namespace has no such user.
    """

    pid: int
    uid: int

    @classmethod
    def of(cls, sock: trio.socket.SocketType) -> Peer:
        """Return who connected `sock`."""
        pid, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        return cls(pid, uid)


def socket_path(environ: Mapping[str, str]) -> Path | None:
    """Return where the socket belongs: in ``$RUNTIME_DIRECTORY`` (systemd.exec(5)); None where there is none."""
    first = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(first, FILE) if first else None


def open_socket(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, in the place of one that nobody listens on any more.

    Raises:
        OSError: it cannot be made; EADDRINUSE where another daemon listens there, EEXIST where something else is.
    """
    remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # bind(2) gives the file the mode of the socket, less the umask, which is the process's and not to be changed
        # beside other threads. So at no moment may others connect.
        os.fchmod(sock.fileno(), MODE)
        sock.bind(os.fspath(path))
        path.chmod(MODE)  # whatever the umask took away
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
