"""Requirements of the `local` plugin on the file system: files that hold something, and a pid file's process.

Everything here blocks, for ever on a hung network file system, so the source calls it in its thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from statusd import Report, segment
from statusd_plugins.local_processes import look_at_pid
from statusd_plugins.sandbox import judged

MAX_PID: Final = 1 << 22
"""The largest process id Linux can be told to use, proc(5) on ``pid_max``."""
MAX_PID_FILE: Final = 64
"""Bytes of a pid file that are read; a process id and a newline are at most 8."""


def look_at_files(paths: Sequence[str]) -> list[Report]:
    """Want each path present, a regular file not empty, a directory with an entry; one report each, below ``files/``.

    Sockets and devices need only be there. What the sandbox hides is `unknown`, whatever is seen in its place.
    """
    return judged([(_file(path), path) for path in paths])


def _file(path: str) -> Report:
    place = f"files/{segment(path)}"
    try:
        is_empty = _is_empty(path)
    except FileNotFoundError:
        return Report.down("missing", f"{path} does not exist.", path=place)
    except NotADirectoryError:
        return Report.down("missing", f"{path} does not exist: a part of it is a file.", path=place)
    except PermissionError:
        return Report.unknown("permission_denied", f"statusd may not look at {path}.", path=place)
    except OSError as error:
        return Report.unknown(
            "failed", f"{path} cannot be read: {os.strerror(error.errno or 0)}.", path=place
        )
    if is_empty:
        return Report.down("missing", f"{path} is empty.", path=place)
    return Report.ok(path=place)


def _is_empty(path: str) -> bool:
    found = os.stat(path)  # noqa: PTH116  # Path normalises, and the path is to be asked for as it was written
    if stat.S_ISREG(found.st_mode):
        return found.st_size == 0
    if stat.S_ISDIR(found.st_mode):
        with os.scandir(path) as entries:
            return next(entries, None) is None
    return False


def look_at_process(pid_file: str) -> Report:
    """Want the process whose id is in `pid_file` alive; the report is at ``pid``."""
    try:
        pid = _pid(pid_file)
    except FileNotFoundError:
        report = Report.down("not_found", f"The pid file {pid_file} does not exist.", path="pid")
    except PermissionError:
        report = Report.unknown(
            "permission_denied", f"statusd may not read the pid file {pid_file}.", path="pid"
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        report = Report.unknown("failed", f"The pid file {pid_file} cannot be read: {reason}.", path="pid")
    else:
        if pid is not None:
            return look_at_pid(pid, pid_file)
        report = Report.down(
            "unexpected_answer",
            f"The pid file {pid_file} holds no process id: a number from 1 to {MAX_PID}.",
            path="pid",
        )
    return judged([(report, pid_file)])[0]


def _pid(pid_file: str) -> int | None:
    # Without O_NONBLOCK, opening a FIFO that nobody writes to would keep the thread for ever.
    descriptor = os.open(pid_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = os.read(descriptor, MAX_PID_FILE)
    finally:
        os.close(descriptor)
    first = content.partition(b"\n")[0].strip()
    if not first.isdigit() or len(content) == MAX_PID_FILE:
        return None
    pid = int(first)
    return pid if 0 < pid <= MAX_PID else None
