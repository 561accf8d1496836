"""The command's side of the control socket: blocking, with every failure in words."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from statusd.control.protocol import (
    FILE,
    LONGEST_ANSWER,
    LONGEST_REQUEST,
    VERSION,
    RefusedError,
    Request,
    answer,
    line,
)
from statusd.errors import StatusdError

DEFAULT: Final = Path("/run/statusd")
"""``RuntimeDirectory=`` of the unit."""
PATIENCE: Final = 30.0
"""Seconds for the whole exchange; the daemon takes up to five for each half, and its disk may be slow."""
_PAUSE: Final = 0.05
_CHUNK: Final = 64 * 1024


class ControlError(StatusdError):
    """Raised when the daemon did not do what was asked for.

    Args:
        error: a lower_snake_case word: ``not_running``, ``permission_denied``, ``timeout``, or the daemon's own.
        message: for people: what, where, the remedy.
    """

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


def socket_of(runtime_directory: str | None, environ: Mapping[str, str]) -> Path:
    """Return the socket of the daemon that is meant: in the directory given, in ``$RUNTIME_DIRECTORY``, in `DEFAULT`."""
    first = runtime_directory or environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(first or DEFAULT, FILE)


def ask(path: Path, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """Have the daemon that listens at `path` carry out `command`; return the result.

    Raises:
        ControlError: there is none, it may not be asked, or it refuses.
    """
    asked = line(Request(version=VERSION, command=command, arguments=dict(arguments or {})))
    if len(asked) > LONGEST_REQUEST:
        raise ControlError("too_large", "The request is too long for the daemon.")
    try:
        given = answer(_exchange(path, asked))
    except TimeoutError:
        raise ControlError(
            "timeout",
            f"The daemon at {path} has not answered within {PATIENCE:g} s, so whether it did what was asked for is not "
            "known: `statusd drains` tells, once it answers again; its log may tell why it does not.",
        ) from None
    except OSError as error:
        raise _unreachable(path, error) from None
    except RefusedError as error:
        raise ControlError(error.error, error.message) from None
    if not given.ok:
        raise ControlError(given.error, given.message)
    return given.result


def _exchange(path: Path, asked: bytes) -> bytes:
    deadline = time.monotonic() + PATIENCE
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _connect(sock, path, deadline)
        with contextlib.suppress(BrokenPipeError):  # it may have answered before it had read all
            sock.sendall(asked)
        while b"\n" not in received[-_CHUNK:]:
            sock.settimeout(_left(deadline))
            chunk = sock.recv(_CHUNK)
            if not chunk:
                break
            received += chunk
            if len(received) > LONGEST_ANSWER:
                raise RefusedError("bad_answer", f"The answer has more than {LONGEST_ANSWER} bytes.")
    if not received:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return bytes(received)


def _connect(sock: socket.socket, path: Path, deadline: float) -> None:
    """Connect; again for a while where the daemon's queue is full, since the kernel does not wait there (unix(7))."""
    while True:
        sock.settimeout(_left(deadline))
        try:
            sock.connect(os.fspath(path))
        except BlockingIOError:
            time.sleep(_PAUSE)  # between two tries, with a deadline
        else:
            return


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _unreachable(path: Path, error: OSError) -> ControlError:
    if error.errno in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR}:
        return ControlError(
            "not_running",
            f"No daemon listens at {path}: statusd is not running, or its runtime directory is another one "
            "(--runtime-directory, or $RUNTIME_DIRECTORY). A daemon has this socket only where $RUNTIME_DIRECTORY is "
            "set, as the shipped unit sees to.",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ControlError(
            "permission_denied", f"{path} may not be used: run it as root or as the service's user."
        )
    if error.errno in {errno.ECONNRESET, errno.EPIPE}:
        return ControlError(
            "connection_lost",
            f"The daemon at {path} ended the connection without an answer: it stops, maybe. Ask again once it runs.",
        )
    return ControlError("unreachable", f"{path} cannot be used: {error.strerror or 'it is no usable name'}.")
