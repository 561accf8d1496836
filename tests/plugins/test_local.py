"""The `local` source: what it requires, how it sums up, and what it says when a probe does not finish."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from statusd import ProbeError, Report, Status
from statusd.plugin.validation import checked_reports
from statusd.testing.fakes import FakeCompleted, FakeContext
from statusd_plugins.local import LocalSource, sum_up
from statusd_plugins.local_files import look_at_files, look_at_process


@attrs.define(kw_only=True)
class RunningContext(FakeContext):
    """Runs commands for real."""

    async def run(self, command: Sequence[str]) -> FakeCompleted:
        self.ran.append(tuple(command))
        done = await trio.run_process(list(command), capture_stdout=True, capture_stderr=True, check=False)
        return FakeCompleted(done.returncode, done.stdout, done.stderr)


async def probed(source: LocalSource) -> dict[str, Report]:
    """Probe, hold the reports against the contract, and return them by path, models as ``model:<id>``."""
    reports = checked_reports(await source.probe(), models=source.context.models)
    return {f"model:{report.model}" if report.model else report.path: report for report in reports}


async def test_nothing_required_is_the_host_itself():
    reports = await probed(LocalSource(context=FakeContext(models=("quicktalk",))))
    assert reports[""].status is Status.OK
    assert (reports["model:quicktalk"].status, reports["model:quicktalk"].label) == (
        Status.OK,
        "local_runtime",
    )


async def test_all_requirements_are_looked_at_and_the_worst_decides(tmp_path):
    (tmp_path / "weights").write_bytes(b"x")
    context = FakeContext(
        models=("a", "b"),
        commands={
            "true": FakeCompleted(0),
            "systemctl": FakeCompleted(0, b"LoadState=loaded\nActiveState=activating\nSubState=start\n"),
        },
    )
    source = LocalSource(
        context=context,
        files=[str(tmp_path / "weights"), str(tmp_path / "gone")],
        command=["true"],
        unit="quicktalk.service",
        pid_file=str(tmp_path / "pid"),
    )
    reports = await probed(source)
    assert {path: report.status.value for path, report in reports.items() if "model" not in path} == {
        "": "down",
        f"files/{str(tmp_path / 'weights').replace('/', '%2F')}": "ok",
        f"files/{str(tmp_path / 'gone').replace('/', '%2F')}": "down",
        "pid": "down",
        "unit/quicktalk.service": "degraded",
        "command": "ok",
    }
    assert reports[""].reason == "missing"
    assert reports[""].message == (
        f"3 of 5 requirements not met: {tmp_path}/gone does not exist. "
        f"The pid file {tmp_path}/pid does not exist. quicktalk.service is starting."
    )
    for model in ("a", "b"):
        report = reports[f"model:{model}"]
        assert (report.status, report.reason, report.label) == (
            Status.DOWN,
            "missing",
            "local_adapter_missing",
        )


async def test_a_starting_unit_alone_leaves_the_model_connected():
    context = FakeContext(
        models=("a",),
        commands={
            "systemctl": FakeCompleted(0, b"LoadState=loaded\nActiveState=activating\nSubState=start\n")
        },
    )
    reports = await probed(LocalSource(context=context, unit="a.service"))
    assert (reports[""].status, reports[""].reason) == (Status.DEGRADED, "loading")
    assert reports["model:a"].label == "local_runtime"


def test_the_message_names_five_and_counts_the_rest():
    parts = [Report.down("missing", f"No {number}.", path=f"files/{number}") for number in range(7)]
    assert sum_up(parts).message == ("7 of 7 requirements not met: No 0. No 1. No 2. No 3. No 4. And 2 more.")


@given(st.lists(st.sampled_from([Status.OK, Status.DEGRADED, Status.UNKNOWN, Status.DOWN]), max_size=8))
def test_the_sum_is_as_bad_as_the_worst_part_and_no_worse(statuses):
    parts = [Report(status=status, reason=f"r{status}", path=f"p/{n}") for n, status in enumerate(statuses)]
    own = sum_up(parts)
    assert own.status.severity == max((status.severity for status in statuses), default=0)
    if own.status is not Status.OK:
        assert own.reason == f"r{own.status}"


async def test_a_failed_probe_keeps_parts_and_the_models_own_word():
    source = LocalSource(
        context=FakeContext(models=("a",)),
        python="/usr/bin/python3",
        modules=["x.y"],
        files=["/models/x", "/models/x"],
        unit=["a.service"],
        pid_file="/run/a.pid",
        command=["true"],
    )
    reports = checked_reports(source.on_failure(Report.down("timeout", "No answer.")), models=("a",))
    assert [(report.path, report.status.value, report.reason) for report in reports if not report.model] == [
        ("", "down", "timeout"),
        ("modules/x.y", "unknown", "timeout"),
        ("files/%2Fmodels%2Fx", "unknown", "timeout"),
        ("pid", "unknown", "timeout"),
        ("unit/a.service", "unknown", "timeout"),
        ("command", "unknown", "timeout"),
    ]
    assert [(report.model, report.label, report.status) for report in reports if report.model] == [
        ("a", "local_adapter_missing", Status.DOWN)
    ]


async def test_a_failed_probe_and_a_good_one_report_the_same_parts(tmp_path):
    context = RunningContext(models=("a",))
    source = LocalSource(
        context=context,
        python=sys.executable,
        modules=["json", "json"],
        files=[str(tmp_path)],
        unit=["a.service", "b.service"],
        pid_file=str(tmp_path / "pid"),
        command=["true"],
    )
    good = [report.path for report in await source.probe()]
    failed = [report.path for report in source.on_failure(Report.down("timeout"))]
    assert good == failed


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (3, "nvidia-smi ended with exit code 3: `statusd probe gpu` shows what it wrote."),
        (-9, "nvidia-smi was ended by SIGKILL: `statusd probe gpu` shows what it wrote."),
        (-99, "nvidia-smi was ended by signal 99: `statusd probe gpu` shows what it wrote."),
    ],
)
async def test_a_command_that_fails_is_down_with_how_it_ended(code, message):
    context = FakeContext(name="gpu", commands={"nvidia-smi": FakeCompleted(code, b"secret", b"secret")})
    reports = await probed(LocalSource(context=context, command=["nvidia-smi", "-L"]))
    assert context.ran == [("nvidia-smi", "-L")]
    report = reports["command"]
    assert (report.status, report.reason, report.message) == (Status.DOWN, "failed", message)
    assert "secret" not in repr(reports)


async def test_a_command_that_cannot_be_started_says_why():
    reports = await probed(LocalSource(context=FakeContext(), command=["nope"]))
    assert (reports["command"].status, reports["command"].reason) == (Status.DOWN, "not_found")


async def test_an_error_of_the_thread_is_left_to_the_supervisor():
    """A source whose files hang is cut off by its deadline; nothing here may swallow that."""

    @attrs.define(kw_only=True)
    class Hanging(FakeContext):
        async def in_thread(self, function, *args):
            raise ProbeError("timeout", "The thread was given up.")

    with pytest.raises(ProbeError):
        await LocalSource(context=Hanging(), files=["/mnt/nfs/model"]).probe()


def test_files_are_present_and_hold_something(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    names = ["file", "empty", "dir", "full", "dangling", "loop", "fifo", "socket", "gone", "file/below"]
    reports = look_at_files([str(tmp_path / name) for name in names])
    assert {
        name: (report.status.value, report.reason) for name, report in zip(names, reports, strict=True)
    } == {
        "file": ("ok", "ok"),
        "empty": ("down", "missing"),
        "dir": ("down", "missing"),
        "full": ("ok", "ok"),
        "dangling": ("down", "missing"),
        "loop": ("unknown", "failed"),
        "fifo": ("ok", "ok"),
        "socket": ("ok", "ok"),
        "gone": ("down", "missing"),
        "file/below": ("down", "missing"),
    }
    assert reports[1].message == f"{tmp_path}/empty is empty."


def test_a_device_need_only_be_there():
    assert look_at_files(["/dev/null"])[0].status is Status.OK


def test_a_place_that_may_not_be_looked_at_is_unknown(monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("statusd_plugins.local_files.os.stat", refuse)
    report = look_at_files(["/root/x"])[0]
    assert (report.status, report.reason) == (Status.UNKNOWN, "permission_denied")


class TestPidFile:
    def look(self, tmp_path: Path, content: bytes) -> Report:
        (tmp_path / "pid").write_bytes(content)
        return look_at_process(str(tmp_path / "pid"))

    def test_a_living_process_is_ok(self, tmp_path):
        report = self.look(tmp_path, f"{os.getpid()}\n".encode())
        assert (report.status, report.facts) == (Status.OK, {"pid": os.getpid()})

    def test_further_lines_are_ignored(self, tmp_path):
        """postgres and others write more than the id."""
        assert self.look(tmp_path, f" {os.getpid()} \n/var/lib\n5432\n".encode()).status is Status.OK

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\n",
            b"x",
            b"-1",
            b"0",
            b"1.5",
            b"0x10",
            b"\xff",
            "\N{SUPERSCRIPT TWO}".encode(),
            b"4194305",
            b"9" * 4000,
        ],
    )
    def test_garbage_is_no_process(self, tmp_path, content):
        report = self.look(tmp_path, content)
        assert (report.status, report.reason) == (Status.DOWN, "unexpected_answer")

    @given(content=st.binary(max_size=80))
    def test_no_content_raises_or_signals_a_group(self, tmp_path_factory, content):
        """Whatever is in the file, kill(2) is only ever given one process's id, with signal 0."""
        path = tmp_path_factory.mktemp("pid") / "pid"
        path.write_bytes(content)
        asked = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "statusd_plugins.local_processes.os.kill", lambda pid, number: asked.append((pid, number))
            )
            look_at_process(str(path))
        assert all(pid > 0 and number == 0 for pid, number in asked)

    def test_a_process_that_ended_is_down(self, tmp_path):
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        report = self.look(tmp_path, str(child.pid).encode())
        assert (report.status, report.reason) == (Status.DOWN, "not_found")

    def test_a_process_nobody_waited_for_is_down(self, tmp_path):
        child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
        child.stdout.read()  # end of file: the child has closed its end, that is, it is exiting
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        try:
            assert self.look(tmp_path, str(child.pid).encode()).status is Status.DOWN
        finally:
            child.stdout.close()
            child.wait()

    def test_somebody_elses_process_is_alive(self, tmp_path, monkeypatch):
        def refuse(_pid, _number=0):
            raise PermissionError(1, "Operation not permitted")

        def absent(_pid):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr("statusd_plugins.local_processes.os.kill", refuse)
        assert self.look(tmp_path, b"1\n").status is Status.OK
        monkeypatch.setattr("statusd_plugins.local_processes.os.pidfd_open", absent)
        assert self.look(tmp_path, b"1\n").status is Status.OK

    def test_a_hidden_proc_does_not_make_it_dead(self, tmp_path, monkeypatch):
        def refuse(_path):
            raise FileNotFoundError(2, "No such file or directory")

        def absent(_pid):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(Path, "read_bytes", refuse)
        (tmp_path / "pid").write_text(str(os.getpid()))
        for pidfd_open in (os.pidfd_open, absent):
            monkeypatch.setattr("statusd_plugins.local_processes.os.pidfd_open", pidfd_open)
            assert look_at_process(str(tmp_path / "pid")).status is Status.OK

    def test_no_file_a_directory_and_a_fifo(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        assert look_at_process(str(tmp_path / "gone")).reason == "not_found"
        assert look_at_process(str(tmp_path)).reason == "unexpected_answer"
        assert look_at_process(str(tmp_path / "fifo")).reason == "unexpected_answer"

    def test_one_that_may_not_be_read_is_unknown(self, monkeypatch):
        for error, reason in (
            (PermissionError(13, "Permission denied"), "permission_denied"),
            (OSError(5, "Input/output error"), "failed"),
        ):

            def fail(*_args, error=error):
                raise error

            monkeypatch.setattr("statusd_plugins.local_files.os.open", fail)
            report = look_at_process("/run/x.pid")
            assert (report.status, report.reason) == (Status.UNKNOWN, reason)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"modules": ["x"]}, "needs python = "),
        ({"modules": ["x"], "python": "python3"}, "not an absolute path"),
        ({"modules": ["a b"], "python": "/p"}, "no module name"),
        ({"modules": ["a..b"], "python": "/p"}, "no module name"),
        ({"modules": ["-c"], "python": "/p"}, "no module name"),
        ({"modules": ["a\n"], "python": "/p"}, "no module name"),
        ({"files": ["models/x"]}, "not an absolute path"),
        ({"files": ["/a\0b"]}, "not an absolute path"),
        ({"files": ["/" + "x" * 500]}, "too long"),
        ({"files": ["/x"] * 201}, "at most 200"),
        ({"command": []}, "names no program"),
        ({"command": [""]}, "names no program"),
        ({"command": ["a\0"]}, "NUL"),
        ({"unit": "a b"}, "no unit name"),
        ({"unit": ["--help"]}, "no unit name"),
        ({"unit": [""]}, "no unit name"),
        ({"unit": "*.service"}, "no unit name"),
        ({"pid_file": "run/x"}, "not an absolute path"),
    ],
)
def test_mistakes_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        LocalSource(context=FakeContext(), **keys)
