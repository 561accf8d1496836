"""Commands as probes."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from statusd.errors import ProbeError
from statusd.net import process
from statusd.net.process import MAX_OUTPUT, run_command
from statusd.net.trace import Trace


@pytest.fixture(autouse=True)
def nothing_left():
    """Every test leaves no descriptor and no child, not even a zombie."""
    gc.collect()
    before = descriptors(), children()
    yield
    gc.collect()
    poll(lambda: descriptors() <= before[0] and children() <= before[1])


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}


def children() -> set[str]:
    """Return the pids of this process's children, whichever thread started them."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found.update((task / "children").read_text().split())
    return found


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def poll(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll a condition about other processes."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"  # init, or whoever stands in for it, reaps orphans in its own time


async def sh(script: str, trace: Trace | None = None) -> process.Completed:
    return await run_command(["/bin/sh", "-c", script], trace or Trace())


async def pid_in(path: Path) -> int:
    with trio.fail_after(5):
        while not (text := _text(path)).endswith("\n"):
            await trio.sleep(0.005)
    return int(text)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_output_error_and_code_come_back():
    completed = await sh("echo out; echo err >&2; exit 3")
    assert (completed.returncode, completed.stdout, completed.stderr) == (3, b"out\n", b"err\n")


async def test_no_shell_sees_the_arguments():
    completed = await run_command(["/bin/echo", "$HOME; exit 1", "*"], Trace())
    assert completed.stdout == b"$HOME; exit 1 *\n"


async def test_a_command_ended_by_a_signal_has_its_negative_number():
    assert (await sh("kill -9 $$")).returncode == -signal.SIGKILL


async def test_standard_input_is_empty():
    assert (await run_command(["/bin/cat"], Trace())).stdout == b""


async def test_it_leads_a_session_of_its_own():
    completed = await run_command(
        [sys.executable, "-IS", "-c", "import os; print(os.getpid() == os.getpgrp() == os.getsid(0))"],
        Trace(),
    )
    assert completed.stdout == b"True\n"


async def test_what_systemd_meant_for_the_daemon_is_withheld_and_the_rest_inherited(monkeypatch):
    for name in (
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "CREDENTIALS_DIRECTORY",
    ):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("OPENTALKING_HOME", "/srv")
    names = {
        line.split(b"=")[0].decode() for line in (await run_command(["env"], Trace())).stdout.splitlines()
    }
    assert "OPENTALKING_HOME" in names
    assert not [name for name in names if name.startswith(("NOTIFY", "WATCHDOG", "LISTEN", "CREDENTIALS"))]


async def test_output_is_cut_and_the_command_goes_on_to_its_end():
    completed = await sh("head -c 3000000 /dev/zero; head -c 100000 /dev/zero >&2; exit 7")
    assert (len(completed.stdout), len(completed.stderr), completed.returncode) == (MAX_OUTPUT, MAX_OUTPUT, 7)


async def test_a_command_that_never_stops_writing_ends_with_the_probe_and_leaves_the_loop_alone():
    ticks = 0
    with trio.move_on_after(0.3) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_command, ["yes"], Trace())
            while True:
                await trio.sleep(0.01)
                ticks += 1
    assert scope.cancelled_caught
    assert ticks > 10


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "absent", "not_found"),
        (lambda folder: folder / "file" / "below", "not_found"),
        (lambda folder: folder / "file", "permission_denied"),
        (lambda folder: folder, "permission_denied"),
        (lambda folder: folder / "lost_interpreter", "not_found"),
        (lambda folder: folder / "no_program", "failed"),
        (lambda folder: f"{folder}\0", "failed"),
    ],
)
async def test_what_cannot_be_started_says_so(tmp_path, make, reason):
    (tmp_path / "file").write_text("")
    for name, text in (("lost_interpreter", "#!/nowhere/sh\n"), ("no_program", "hello\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    program = str(make(tmp_path))
    with pytest.raises(ProbeError) as caught:
        await run_command([program], Trace())
    assert caught.value.reason == reason
    assert str(tmp_path) in caught.value.message


async def test_an_empty_command_is_the_callers_mistake():
    with pytest.raises(ValueError, match="empty"):
        await run_command([], Trace())


async def test_cancelling_kills_the_command_and_its_grandchildren_at_once(tmp_path):
    script = f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/leader; wait"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sh, script)
        leader, child = await pid_in(tmp_path / "leader"), await pid_in(tmp_path / "child")
        began = time.monotonic()
        nursery.cancel_scope.cancel()
    assert time.monotonic() - began < 0.5
    poll(lambda: not exists(leader))  # under load its start may not have been told yet
    poll(lambda: is_gone(child))


async def test_a_grandchild_that_holds_the_pipes_delays_only_a_little_and_is_killed(tmp_path):
    began = time.monotonic()
    completed = await sh(f"sleep 60 & echo $! > {tmp_path}/child; echo done")
    assert time.monotonic() - began < 2
    assert (completed.stdout, completed.returncode) == (b"done\n", 0)
    child = await pid_in(tmp_path / "child")
    poll(lambda: is_gone(child))


async def test_a_grandchild_that_left_the_session_delays_only_a_little(tmp_path):
    began = time.monotonic()
    completed = await sh(f"setsid sh -c 'echo $$ > {tmp_path}/child; exec sleep 60' & echo done")
    assert time.monotonic() - began < 2
    assert completed.stdout == b"done\n"
    child = await pid_in(tmp_path / "child")
    assert not is_gone(child)  # out of reach by its own will, so it is for the test to end
    os.kill(child, signal.SIGKILL)


async def test_what_a_grandchild_writes_soon_after_the_end_is_kept():
    completed = await sh("(sleep 0.05; echo late) & echo early")
    assert completed.stdout == b"early\nlate\n"


async def test_a_command_that_closes_its_output_is_awaited():
    completed = await sh("exec >&- 2>&-; sleep 0.1; exit 5")
    assert completed.returncode == 5


async def test_without_pidfd_everything_is_the_same(monkeypatch, tmp_path):
    def missing(_pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    assert (await sh("echo out; exit 4")).returncode == 4
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sh, f"echo $$ > {tmp_path}/leader; sleep 60")
        leader = await pid_in(tmp_path / "leader")
        nursery.cancel_scope.cancel()
    poll(lambda: not exists(leader))  # under load its start may not have been told yet


async def test_a_start_that_hangs_is_not_waited_for_and_leaves_nothing_running(monkeypatch, tmp_path):
    """As with a program on a file system that hangs; it starts long after the probe has ended."""
    spawn = process._spawn
    pids = []

    def slow(command: list[str]) -> subprocess.Popen[bytes]:
        poll((tmp_path / "go").exists)
        pids.append((started := spawn(command)).pid)
        return started

    monkeypatch.setattr(process, "_spawn", slow)
    trace = Trace()
    with trio.move_on_after(0.05) as scope:
        await run_command(["sleep", "60"], trace)
    assert scope.cancelled_caught
    assert trace.phase == "starting sleep"
    (tmp_path / "go").touch()
    poll(lambda: bool(pids) and not exists(pids[0]))


async def test_a_start_that_is_cancelled_in_its_last_moment_leaves_nothing_running(monkeypatch):
    started = process._Start(["sleep", "60"])
    running = started.run()
    assert running is not None
    monkeypatch.setattr(process, "_Start", lambda _command: started)
    monkeypatch.setattr(process, "_in_thread", _cancelled_or(process._in_thread))
    with trio.CancelScope() as scope:
        scope.cancel()
        await run_command(["sleep", "60"], Trace())
    assert running.returncode == -signal.SIGKILL


def _cancelled_or(in_thread):
    async def instead(function):
        await trio.lowlevel.checkpoint()
        return await in_thread(function)

    return instead


async def test_many_short_commands_at_once_and_in_turn_all_end():
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(run_command, ["true"], Trace())
    for _ in range(50):
        assert (await run_command(["true"], Trace())).returncode == 0


async def test_what_ran_and_what_came_is_in_the_trace():
    trace = Trace(is_recording=True)
    await run_command(["/bin/echo", "a b"], trace)
    assert [(step.kind, step.text) for step in trace.steps] == [
        ("phase", "starting /bin/echo"),
        ("sent", "/bin/echo 'a b'"),
        ("phase", "waiting for /bin/echo to end"),
        ("received", "a b\n"),
    ]


async def test_the_trace_shows_a_script_by_its_first_line_and_silence_in_words():
    trace = Trace(is_recording=True)
    await run_command(["/bin/sh", "-c", "\ntrue  # first\nfalse\ntrue\n"], trace)
    assert [step.text for step in trace.steps if step.kind == "sent"] == ["/bin/sh -c 'true  # first'..."]
    assert [step.text for step in trace.steps if step.kind == "received"] == ["(no output)"]
