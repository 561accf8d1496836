"""Commands as probes: without a shell, in a process group of their own that never outlives the probe."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import attrs
import trio

from statusd.errors import ProbeError
from statusd.net.trace import Trace

MAX_OUTPUT: Final = 64 * 1024
MAX_COMMANDS: Final = 256
"""Commands that may start at a time; one that cannot start (a file system that hangs) holds its place."""

PIPE_GRACE: Final = 0.25
"""Seconds for output to end after the command itself has; then whoever still holds the pipes is killed."""

REAP_GRACE: Final = 1.0
"""Seconds to wait for a killed command to be gone; only one stuck in the kernel takes longer."""

_EXCESS_PAUSE: Final = 0.001
"""Seconds a piece, so that a command that never stops writing takes little of the loop."""

_WITHHELD: Final = ("NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "CREDENTIALS_DIRECTORY")

_threads: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("statusd commands")

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Completed:
    """A finished command; a `statusd.Completed`.

    Attributes:
        returncode: the exit code; negative: ended by that signal.
        stdout: standard output, cut at `MAX_OUTPUT` bytes.
        stderr: standard error, likewise.
    """

    returncode: int
    stdout: bytes
    stderr: bytes


async def run_command(command: Sequence[str], trace: Trace) -> Completed:
    """Run `command` to its end and return what it wrote.

    It gets no standard input, and the daemon's environment without what systemd meant for the daemon alone. When it
    ends, or when the caller is cancelled, every process of its group is killed: a probe leaves nothing running.

    Args:
        command: the program and its arguments; no shell sees them.
        trace: where to note what happens.

    Raises:
        ProbeError: ``not_found``, ``permission_denied`` or ``failed`` when it cannot be started.
    """
    if not command:
        raise ValueError("the command is empty")
    trace.enter(f"starting {command[0]}")
    trace.sent(_shown(command))
    process = await _start(list(command))
    trace.enter(f"waiting for {command[0]} to end")
    try:
        stdout, stderr = await _outputs(process)
    finally:
        await _finish(process)
    trace.received(stdout + stderr or b"(no output)")
    assert process.returncode is not None  # its end was awaited
    return Completed(returncode=process.returncode, stdout=stdout, stderr=stderr)


def _shown(command: Sequence[str]) -> bytes:
    """Return `command` on one line; of an argument with several lines, a script say, the first with text in it."""
    words = [
        shlex.quote(word)
        if word.isprintable()
        else shlex.quote(next(filter(str.strip, word.splitlines()), "")) + "..."
        for word in command
    ]
    return " ".join(words).encode("utf-8", "backslashreplace")


async def _start(command: list[str]) -> subprocess.Popen[bytes]:
    started = _Start(command)
    try:
        process = await _in_thread(started.run)
    except BaseException:
        if (process := started.abandon()) is not None:
            await _finish(process)
        raise
    assert process is not None  # only an abandoned start has none
    return process


class _Start:
    """The start of a command in a thread, which an early end of the probe does not wait for."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_abandoned = False

    def run(self) -> subprocess.Popen[bytes] | None:
        """Start the command; return None, and nothing runs, when the probe has ended meanwhile."""
        process = _spawn(self._command)
        with self._lock:
            if not self._is_abandoned:
                self._process = process
                return process
        _kill_group(process)
        with process:  # closes the pipes and reaps
            return None

    def abandon(self) -> subprocess.Popen[bytes] | None:
        """Give up; return the process for the caller to finish, if it runs already."""
        with self._lock:
            self._is_abandoned = True
            return self._process


def _spawn(command: list[str]) -> subprocess.Popen[bytes]:
    program = command[0]
    try:
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=_environment(),
        )
    except (FileNotFoundError, NotADirectoryError):
        raise ProbeError(
            "not_found", f"{program} does not exist, or the interpreter that its first line names does not."
        ) from None
    except PermissionError:
        raise ProbeError(
            "permission_denied", f"{program} is not executable for the user that statusd runs as."
        ) from None
    except ValueError:
        raise ProbeError(
            "failed", f"{program!r} or an argument holds a zero byte, so it cannot be run."
        ) from None
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "an unnamed error")
        hint = " (has the script a first line with #!?)" if error.errno == errno.ENOEXEC else ""
        raise ProbeError(
            "failed", f"{program} could not be started: the system reports {name}{hint}."
        ) from None


def _environment() -> dict[str, str]:
    # With NOTIFY_SOCKET and WATCHDOG_* a command could speak to systemd in the daemon's name; LISTEN_* are about
    # descriptors that it does not inherit; CREDENTIALS_DIRECTORY is where the daemon's secrets are.
    return {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}


async def _outputs(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = bytearray(), bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_collect, process.stdout.fileno(), stdout)
        nursery.start_soon(_collect, process.stderr.fileno(), stderr)
        await _exited(process.pid)
        nursery.cancel_scope.deadline = trio.current_time() + PIPE_GRACE
    return bytes(stdout), bytes(stderr)


async def _collect(pipe: int, output: bytearray) -> None:
    """Read `pipe` to its end and keep the beginning; the rest is dropped, so that the command can go on."""
    async with trio.lowlevel.FdStream(os.dup(pipe)) as stream:
        async for data in stream:
            room = MAX_OUTPUT - len(output)
            output += data[:room]
            if len(data) > room:
                await trio.sleep(_EXCESS_PAUSE)


async def _exited(pid: int) -> None:
    """Wait until `pid` has ended, without reaping it: until then nobody else can get its id, or its group's."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, or no descriptors left
        await _in_thread(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT))
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)


async def _finish(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group and reap the command."""
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    _kill_group(process)
    with trio.move_on_after(REAP_GRACE) as scope:
        scope.shield = True
        await _exited(process.pid)
        process.wait()
    # Else it is stuck in the kernel; subprocess reaps what it has lost sight of when a later command starts.


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # It leads its session, so its id is the group's; it is not reaped yet, so the id is still its own.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _in_thread(function: Callable[[], T]) -> T:
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_COMMANDS)
        _threads.set(limiter)
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=limiter)
