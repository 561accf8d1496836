"""The files of Unix sockets: which one is ours, and what a process that is gone left behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import attrs


@attrs.define(eq=False)
class SocketFile:
    """The file of a socket that listens, which may have been replaced by another process's since.

    Attributes:
        path: where it is.
    """

    path: Path
    _identity: tuple[int, int] | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._identity = _identity(self.path)

    @property
    def is_ours(self) -> bool:
        """Whether it is still the one that was there at first."""
        return self._identity is not None and self._identity == _identity(self.path)

    def remove(self) -> None:
        """Remove it, unless another process has put its own there since."""
        if self.is_ours:
            self.path.unlink(missing_ok=True)
        self._identity = None


def remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more.

    Raises:
        OSError: EADDRINUSE where somebody listens there, EEXIST where something else than a socket is.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "something else than a socket is there", os.fspath(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:  # its backlog is full, so somebody has one
            pass
        except ConnectionRefusedError:  # left behind by a process that is gone
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "another daemon listens there", os.fspath(path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
