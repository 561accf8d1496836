"""The file of outcomes, and the command that waits for one."""

import json
import os
import signal
import subprocess
import sys

import pytest

from statusd.commands.reload import is_in_log, reload
from statusd.errors import StartError
from statusd.outcome import Outcome, file_in, monotonic, read, start_of, write


def outcome(**given):
    usual = {
        "pid": os.getpid(), "start": start_of(os.getpid()), "began": 1.0, "ended": 2.0, "ok": True,
        "generation": 1, "code": 0, "messages": (),
    }  # fmt: skip
    return Outcome(**(usual | given))


@pytest.fixture
def daemon(tmp_path):
    """A process that answers SIGHUP by writing an outcome, as `daemon.says` has it."""
    script = """
import os, signal, sys
from pathlib import Path
import msgspec
from statusd.outcome import Outcome, monotonic, start_of, write
path, said = Path(sys.argv[1]), msgspec.json.decode(sys.argv[2])
def outcome(**given):
    usual = dict(pid=os.getpid(), start=start_of(os.getpid()), began=monotonic(), ended=monotonic(), ok=True,
                 generation=1, code=0, messages=())
    write(path, Outcome(**(usual | given)))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
outcome()
print("ready", flush=True)
signal.sigwait({signal.SIGHUP})
if said is None:
    sys.exit(3)
outcome(**said)
signal.sigwait({signal.SIGTERM})
"""
    running = []

    def start(said):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "reload.json"), json.dumps(said)],
            stdout=subprocess.PIPE,
        )
        running.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def test_an_outcome_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "reload.json"
    write(path, outcome(messages=("a: b",)))
    assert read(path) == outcome(messages=("a: b",))
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_file_is_in_the_first_runtime_directory():
    assert str(file_in({"RUNTIME_DIRECTORY": "/run/a:/run/b"})) == "/run/a/reload.json"
    assert file_in({}) is None


def test_a_process_has_a_start_and_none_has_none():
    assert start_of(os.getpid()) > 0
    assert start_of(1 << 30) is None


def test_it_returns_what_the_daemon_says_of_this_reload(tmp_path, daemon):
    process = daemon({"generation": 2, "messages": ["started: x"]})
    done = reload({"RUNTIME_DIRECTORY": str(tmp_path)})
    assert (done.exit_code, done.outcome.pid) == (0, process.pid)
    assert done.as_text() == "reloaded: generation 2; started: x"
    assert done.as_json()["generation"] == 2


def test_what_is_missing_around_the_configuration_stands_below_what_changed(tmp_path, daemon):
    daemon({"generation": 2, "messages": ["started: x", "f.toml: sources.x: The plugin is missing."]})
    done = reload({}, directory=str(tmp_path))
    assert done.exit_code == 0
    assert done.as_text().splitlines() == [
        "reloaded: generation 2; started: x", "f.toml: sources.x: The plugin is missing.",
    ]  # fmt: skip


def test_mistakes_are_told_with_the_exit_code_of_a_configuration(tmp_path, daemon):
    daemon({"ok": False, "code": 78, "messages": ["f.toml: a: unknown key", "f.toml: b: unknown key"]})
    done = reload({}, directory=str(tmp_path))
    assert done.exit_code == 78
    assert done.as_text().splitlines() == [
        "f.toml: a: unknown key", "f.toml: b: unknown key", "not reloaded: generation 1 goes on",
    ]  # fmt: skip


def test_mistakes_that_the_daemon_has_told_the_journal_are_not_told_it_again(tmp_path, daemon):
    mistake = "x.toml: sources.b.plugin: missing"
    process = daemon({"ok": False, "code": 78, "messages": [mistake]})
    found = reload({}, pid=process.pid, directory=str(tmp_path))
    assert found.as_text() == f"{mistake}\nnot reloaded: generation 1 goes on"
    assert found.as_text(is_in_log=True).splitlines() == [
        "not reloaded: generation 1 goes on; what is wrong stands before this in the log"
    ]


def test_a_command_of_the_unit_prints_to_the_journal_and_one_of_a_shell_does_not(tmp_path):
    with (tmp_path / "stream").open("wb") as stream:
        found = os.fstat(stream.fileno())
        journal = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert is_in_log(journal | {"MAINPID": "1"}, stream.fileno())
        assert not is_in_log(journal, stream.fileno())
        assert not is_in_log({"MAINPID": "1"}, stream.fileno())
        assert not is_in_log(journal | {"MAINPID": "1"}, 1)


def test_a_daemon_that_ends_meanwhile_is_told(tmp_path, daemon):
    process = daemon(None)
    with pytest.raises(StartError, match=r"ended meanwhile|did not say"):
        # It stays as a zombie of this process, so the reload waits for its time.
        reload({}, directory=str(tmp_path), timeout=0.5)
    assert process.wait() == 3


def test_no_answer_in_time_is_told(tmp_path, daemon):
    daemon({"pid": 1})
    with pytest.raises(StartError, match=r"did not say within 0\.3 s"):
        reload({}, directory=str(tmp_path), timeout=0.3)


def test_systemds_word_for_the_process_must_fit_the_file(tmp_path, daemon):
    process = daemon({})
    environ = {"RUNTIME_DIRECTORY": str(tmp_path), "MAINPID": str(process.pid)}
    assert reload(environ).exit_code == 0
    with pytest.raises(StartError, match="is of another process"):
        reload({**environ, "MAINPID": str(os.getpid())})


def test_a_process_that_only_has_the_number_is_sent_nothing(tmp_path):
    received = []
    before = signal.signal(signal.SIGHUP, lambda *_: received.append(1))
    try:
        write(tmp_path / "reload.json", outcome(start=1))
        with pytest.raises(StartError, match="has ended: statusd does not run"):
            reload({}, directory=str(tmp_path))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert received == []


@pytest.mark.parametrize("pid", [-1, 0, -os.getpgid(0), (1 << 22) + 1, 1 << 40])
def test_a_file_that_names_many_processes_or_none_has_nobody_sent_a_signal(tmp_path, monkeypatch, pid):
    sent = []
    monkeypatch.setattr(os, "kill", lambda *given: sent.append(given))
    write(tmp_path / "reload.json", outcome(pid=pid, start=0))
    with pytest.raises(StartError, match="is not what this version of statusd writes"):
        reload({}, directory=str(tmp_path))
    with pytest.raises(StartError, match=r"is no process|is not what"):
        reload({}, directory=str(tmp_path / "none"), pid=pid or -1)
    assert sent == []


@pytest.fixture
def stranger():
    """A process of another user, and that user."""
    if os.getuid() != 0:
        pytest.skip("another user's process can be had by root alone")
    process = subprocess.Popen(["sleep", "60"], user=65533)
    yield process
    process.kill()
    process.wait()


def test_a_file_makes_no_operator_signal_a_process_of_another_than_who_wrote_it(tmp_path, stranger):
    path = tmp_path / "reload.json"
    write(path, outcome(pid=stranger.pid, start=start_of(stranger.pid)))
    with pytest.raises(StartError, match="is sent no signal"):
        reload({}, directory=str(tmp_path))
    assert stranger.poll() is None
    os.chown(path, 65533, 65533)  # his word is good for his own
    with pytest.raises(StartError, match=r"ended meanwhile|did not say"):
        reload({}, directory=str(tmp_path), timeout=0.3)
    assert stranger.wait(timeout=10) == -signal.SIGHUP


def test_a_link_to_the_file_of_another_daemon_is_not_followed(tmp_path, daemon):
    process = daemon({})
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "reload.json").symlink_to(tmp_path / "reload.json")
    with pytest.raises(StartError, match="is not what this version of statusd writes"):
        reload({}, directory=str(tmp_path / "own"))
    assert reload({}, directory=str(tmp_path)).outcome.pid == process.pid


def test_what_the_file_says_cannot_steer_a_terminal(tmp_path, daemon):
    daemon({"ok": False, "code": 1, "messages": ["\x1b[2Jgone\rx"]})
    assert "\\x1b[2Jgone\\rx" in reload({}, directory=str(tmp_path)).as_text()


@pytest.mark.parametrize("content", [b'{"x": ' + b"[" * 100_000, b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_file_of_another_version_is_told(tmp_path, content):
    (tmp_path / "reload.json").write_bytes(content)
    with pytest.raises(StartError, match="is not what this version of statusd writes"):
        reload({}, directory=str(tmp_path))


def test_no_daemon_is_told_with_where_it_was_looked_for(tmp_path):
    with pytest.raises(StartError, match=f"no daemon has written {tmp_path}/reload.json"):
        reload({}, directory=str(tmp_path))


def test_the_time_is_that_of_all_processes():
    other = subprocess.run(
        [sys.executable, "-c", "from statusd.outcome import monotonic; print(monotonic())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 0 <= monotonic() - float(other.stdout) < 60
