"""Files that are whole or not there: what a kill at any moment, or a full disk, leaves behind is never half a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

_TRIES: Final = 16
"""Names to try before giving up; one is lost only to a writer that cleans up at that very moment."""


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Put `data` in the place of `path`, whole: a reader finds the old content or the new one, nothing between.

    A symbolic link at `path` is replaced, not followed. Several may write one path at once, from threads and
    processes: the last to finish wins. What killed writers left behind is removed.

    Args:
        path: of a file, in a directory that is there.
        data: the whole content.
        mode: permission bits of the file, whatever the process's umask is.
        durable: whether it is on the disk on return (fsync(2) of the file and of its directory), so that it
            outlives a loss of power, too.

    Raises:
        OSError: nothing was replaced, and no temporary file is left.
    """
    _remove_leftovers(path)
    temporary, descriptor = _create(path)
    is_done = False
    try:
        try:
            _write_all(descriptor, data)
            os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
            os.replace(temporary, path)  # noqa: PTH105  # atomic; Path.replace says the same less plainly
            is_done = True
        finally:
            # Closed after the file has its name: until then the lock says that somebody works on it.
            os.close(descriptor)
    finally:
        if not is_done:
            with contextlib.suppress(OSError):
                temporary.unlink()
    if durable:
        _sync_directory(path.parent)


def read_at_most(path: Path, limit: int) -> bytes:
    """Return the content of a regular file that is no larger than `limit` bytes.

    Raises:
        OSError: it cannot be read; EFBIG where it is larger, EINVAL where it is no regular file: one that is a
            pipe would be waited for for ever.
    """
    return _read(path, limit, 0)[0]


def read_signed(path: Path, limit: int) -> tuple[bytes, int]:
    """Return the content as `read_at_most` does, and the user id of the file's owner, whose word it is.

    Raises:
        OSError: as `read_at_most`; ELOOP where it is a symbolic link, which may lead to somebody else's word.
    """
    return _read(path, limit, os.O_NOFOLLOW)


def _read(path: Path, limit: int, flags: int) -> tuple[bytes, int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return data, status.st_uid


def set_aside(path: Path) -> Path:
    """Rename a file to ``<name>.damaged`` for somebody to look at, in the place of an earlier one; return its name.

    Raises:
        OSError: it stays where it is.
    """
    aside = path.with_name(f"{path.name}.damaged")
    os.replace(path, aside)  # noqa: PTH105  # atomic; Path.replace says the same less plainly
    return aside


def _create(path: Path) -> tuple[Path, int]:
    """Return a new, empty, locked file beside `path`."""
    for _ in range(_TRIES):
        # Unpredictable, and never an existing one or where a link leads: what others put there is not written to.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        if _locks(descriptor, if_unsupported=True) and os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # another writer took it for a leftover before it was locked, and removes it
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fspath(path))


def _locks(descriptor: int, *, if_unsupported: bool) -> bool:
    """Tell whether the file could be locked; the lock ends with the descriptor, and so with the process (flock(2))."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return if_unsupported
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of writers that are no more: nobody holds the lock of theirs."""
    leftover = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.new")
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if leftover.fullmatch(entry.name)]
    for name in names:
        # A leftover that cannot be removed does no harm to what is written now.
        with contextlib.suppress(OSError):
            _remove_unlocked(path.with_name(name))


def _remove_unlocked(temporary: Path) -> None:
    if not stat.S_ISREG(temporary.lstat().st_mode):
        temporary.unlink()  # a link or a pipe is nobody's unfinished file
        return
    descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if _locks(descriptor, if_unsupported=False):
            temporary.unlink()
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has nothing to sync there
            raise
    finally:
        os.close(descriptor)
