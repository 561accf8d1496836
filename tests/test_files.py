import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import files
from statusd.files import read_at_most, set_aside, write_atomically


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


def names(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def leave(path, content=b"half"):
    """Leave what a writer that was killed leaves."""
    leftover = path.with_name(f".{path.name}.0123456789abcdef.new")
    leftover.write_bytes(content)
    return leftover


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_what_is_written_is_read_and_nothing_else_is_there(tmp_path_factory, old, new):
    path = tmp_path_factory.mktemp("files") / "state.json"
    for data in (old, new):
        write_atomically(path, data, durable=False)
        assert path.read_bytes() == data
        assert names(path) == ["state.json"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_mode_is_as_told_whatever_the_umask_and_the_old_file_are(path, mode):
    path.write_bytes(b"old")
    path.chmod(0o666)
    before = os.umask(0o027)
    try:
        write_atomically(path, b"new", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_killed_writers_left_is_removed_and_what_belongs_to_others_stays(path):
    leave(path)
    other = path.with_name(".other.json.0123456789abcdef.new")
    other.write_bytes(b"other")
    path.with_name("state.json.new").write_bytes(b"somebody's")
    write_atomically(path, b"new")
    assert names(path) == [other.name, "state.json", "state.json.new"]


def test_a_symbolic_link_at_the_temporary_name_is_not_followed(path, tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0123456789abcdef")
    monkeypatch.setattr(files, "_remove_leftovers", lambda _: None)
    link = path.with_name(f".{path.name}.0123456789abcdef.new")
    link.symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert link.is_symlink()


def test_links_and_pipes_among_the_leftovers_are_removed_and_harm_nothing(path, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path.with_name(f".{path.name}.{'0' * 16}.new").symlink_to(victim)
    os.mkfifo(path.with_name(f".{path.name}.{'1' * 16}.new"))
    path.with_name(f".{path.name}.{'2' * 16}.new").mkdir()
    write_atomically(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert names(path) == [f".state.json.{'2' * 16}.new", "state.json", "victim"]


def test_a_symbolic_link_in_the_place_of_the_file_is_replaced(path, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    write_atomically(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"


def test_a_directory_that_is_absent_or_may_not_be_written_is_said(path):
    with pytest.raises(FileNotFoundError):
        write_atomically(path.parent / "absent" / "state.json", b"new")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        own = os.geteuid()
        if own == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                write_atomically(Path(folder, "state.json"), b"new")
        finally:
            os.seteuid(own)
        assert not list(Path(folder).iterdir())


@pytest.mark.parametrize("call", ["write", "fsync", "fchmod", "replace"])
def test_a_failure_leaves_the_old_content_and_no_temporary_file(path, monkeypatch, call):
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(path) == ["state.json"]


def test_short_writes_go_on_to_the_end(path, monkeypatch):
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
        write_atomically(path, b"0123456789")
    assert path.read_bytes() == b"0123456789"


@pytest.mark.parametrize("durable", [True, False])
def test_durable_means_that_the_file_is_synced_before_it_has_its_name_and_the_directory_after(
    path, monkeypatch, durable
):
    fsync, replace, calls = os.fsync, os.replace, []

    def sync(descriptor):
        calls.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def rename(source, target):
        calls.append("replace")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        patch.setattr(os, "replace", rename)
        write_atomically(path, b"new", durable=durable)
    assert calls == (["file", "replace", "directory"] if durable else ["replace"])


def test_concurrent_writers_leave_one_whole_content_and_fail_nobody(path):
    contents = [bytes([65 + number]) * 50_000 for number in range(6)]
    failures, odd = [], []
    write_atomically(path, contents[0])
    is_over = threading.Event()

    def write(data):
        try:
            for _ in range(60):
                write_atomically(path, data, durable=False)
        except OSError as error:
            failures.append(error)

    def read():
        while not is_over.is_set():
            if (found := path.read_bytes()) not in contents:
                odd.append(found)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(data,)) for data in contents]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    is_over.set()
    reader.join()
    assert not failures
    assert not odd
    assert names(path) == ["state.json"]


KILLED = """
import sys
from pathlib import Path
from statusd.files import write_atomically
path, round = Path(sys.argv[1]), 0
while True:
    write_atomically(path, b"%d" % (round % 10) * 200_000, durable=False)
    if round == 0:
        print("writing", flush=True)
    round += 1
"""


def test_writers_killed_at_any_moment_leave_a_whole_file_and_the_next_write_cleans_up(path):
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"writing\n"
            writer.kill()
        content = path.read_bytes()
        assert len(content) == 200_000
        assert len(set(content)) == 1
    write_atomically(path, b"new")
    assert names(path) == ["state.json"]


def test_reading_is_bounded_and_never_waits_for_a_pipe(path, tmp_path):
    path.write_bytes(b"12345")
    assert read_at_most(path, 5) == b"12345"
    with pytest.raises(OSError, match="too large"):
        read_at_most(path, 4)
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError):
            read_at_most(odd, 5)


def test_a_file_that_is_set_aside_replaces_an_earlier_one(path):
    for content in (b"first", b"second"):
        path.write_bytes(content)
        assert set_aside(path) == path.with_name("state.json.damaged")
    assert names(path) == ["state.json.damaged"]
    assert path.with_name("state.json.damaged").read_bytes() == b"second"
    with pytest.raises(FileNotFoundError):
        set_aside(path)
