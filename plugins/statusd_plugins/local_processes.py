"""Whether a process is alive, asked of the kernel without ``/proc``, which a sandbox may hide."""

from __future__ import annotations

import errno
import os
import select
from pathlib import Path

from statusd import Report
from statusd_plugins.sandbox import Hiding

_PRIVATE_PIDS = Hiding("PrivatePIDs=", "PrivatePIDs=no")
_FILTER = Hiding("SystemCallFilter=", '"SystemCallFilter=@process"')


def look_at_pid(pid: int, pid_file: str) -> Report:
    """Want the process `pid` of `pid_file` alive; the report is at ``pid``."""
    thing = f"The process {pid} of {pid_file}"
    if has_own_processes():
        return _PRIVATE_PIDS.report(thing, "pid")
    try:
        alive = is_alive(pid)
    except PermissionError:
        return _FILTER.report(thing, "pid")
    if not alive:
        return Report.down("not_found", f"{thing} is not running.", path="pid")
    return Report.ok(path="pid", facts={"pid": pid})


def has_own_processes() -> bool:
    """Whether systemd gave the service process ids of its own (``PrivatePIDs=``), by which no other process is known."""
    return os.getpid() == 1 and "INVOCATION_ID" in os.environ


def is_alive(pid: int) -> bool:
    """Return whether `pid` runs; one that has ended and only waits for its parent to notice does not.

    Raises:
        PermissionError: a filter of system calls forbids to ask.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError as error:
        # A kernel before 5.3, no descriptors left, a thread's id, or a filter: no kernel refuses it by itself.
        return _answers_signals(pid, is_filtered=error.errno == errno.EPERM)
    try:
        watch = select.poll()
        watch.register(descriptor, select.POLLIN)
        return not watch.poll(0)  # readable once it has ended, pidfd_open(2)
    finally:
        os.close(descriptor)


def _answers_signals(pid: int, *, is_filtered: bool) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks, kill(2)
    except ProcessLookupError:
        return False
    except PermissionError:
        if is_filtered:
            raise
        # Else it is somebody else's process: alive.
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether the process has ended and nobody has waited for it, proc_pid_stat(5); False if that is hidden."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return line.rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"])
