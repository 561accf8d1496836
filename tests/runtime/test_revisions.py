import logging
import threading

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from statusd import Node, Snapshot, Status
from statusd.files import write_atomically
from statusd.model.snapshot import Change
from statusd.runtime.revisions import GREATEST, RESERVED, RevisionFile


def change(revision):
    return Change(snapshot=Snapshot(root=Node(status=Status.OK), revision=revision, version=1, at=0.0))


async def written(directory, revision):
    """Wait until what is in the file is far above `revision`."""
    with trio.fail_after(10):
        while int((directory / "revision").read_text()) <= revision + RESERVED // 2:
            await trio.sleep(0.005)


def test_without_a_state_directory_the_clock_decides():
    assert RevisionFile.under_systemd({}).first(1.5) == 1_500_000
    assert RevisionFile.under_systemd({"STATE_DIRECTORY": ""}).first(1.5) == 1_500_000


def test_the_first_of_systemds_directories_is_used(tmp_path):
    RevisionFile.under_systemd({"STATE_DIRECTORY": f"{tmp_path}:/elsewhere"}).first(1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["revision"]


async def test_revisions_grow_although_the_clock_was_set_back(tmp_path, nursery):
    environ = {"STATE_DIRECTORY": str(tmp_path)}
    first = RevisionFile.under_systemd(environ)
    reached = first.first(1_800_000_000.0) + RESERVED * 3
    await nursery.start(first.run)
    for revision in range(reached - RESERVED * 3, reached, RESERVED // 4):
        first.take(change(revision))
        await written(tmp_path, revision)
    assert RevisionFile.under_systemd(environ).first(1_000_000_000.0) > reached


@settings(max_examples=25)  # each writes some twenty files, and has the disk take them
@given(st.lists(st.tuples(st.floats(0, 4e9), st.integers(0, RESERVED * 2)), max_size=6))
def test_a_process_begins_above_all_that_were_before(tmp_path_factory, runs):
    environ = {"STATE_DIRECTORY": str(tmp_path_factory.mktemp("state"))}
    reached = -1
    for now, steps in runs:
        kept = RevisionFile.under_systemd(environ)
        revision = kept.first(now)
        assert revision > reached
        assert revision >= int(now * 1e6)
        reached = revision + steps
        for step in (steps // 2, steps):
            kept.reach(revision + step)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"-5", b"1.5", b"9" * 31, str(GREATEST + 1).encode(), b"\xff"]
)
def test_a_file_that_holds_no_revision_is_replaced_and_said(tmp_path, caplog, content):
    (tmp_path / "revision").write_bytes(content)
    kept = RevisionFile(tmp_path / "revision")
    assert kept.first(2.0) == 2_000_000
    assert "holds no revision" in caplog.text
    assert int((tmp_path / "revision").read_text()) > 2_000_000


async def test_a_disk_that_hangs_does_not_hold_up_the_hub(tmp_path, monkeypatch, nursery):
    kept = RevisionFile(tmp_path / "revision")
    first = kept.first(1_800_000_000.0)
    hangs, goes_on = threading.Event(), threading.Event()

    def write(path, data):
        hangs.set()
        goes_on.wait(10)
        write_atomically(path, data)

    monkeypatch.setattr("statusd.runtime.revisions.write_atomically", write)
    await nursery.start(kept.run)
    kept.take(change(first + 1))
    await wait_all_tasks_blocked()
    assert not hangs.is_set()
    for revision in range(first + RESERVED - 3, first + RESERVED + 3):
        kept.take(change(revision))
        await trio.lowlevel.checkpoint()
    while not hangs.is_set():
        await trio.sleep(0.005)
    assert not goes_on.is_set()
    goes_on.set()
    await written(tmp_path, first + RESERVED + 2)


async def test_a_disk_that_is_full_later_is_said_once(tmp_path, caplog, nursery):
    kept = RevisionFile(tmp_path / "state" / "revision")
    kept.path.parent.mkdir()
    first = kept.first(1_800_000_000.0)
    await nursery.start(kept.run)
    kept.path.unlink()
    kept.path.parent.rmdir()
    for step in range(3):
        kept.take(change(first + RESERVED + step))
        with trio.fail_after(10):
            while kept.path is not None:
                await trio.sleep(0.005)
    assert len(caplog.records) == 1


def test_a_directory_that_cannot_be_written_is_said_once_and_the_clock_goes_on(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    kept = RevisionFile(tmp_path / "absent" / "revision")
    assert kept.first(2.0) == 2_000_000
    kept.take(change(2_000_000 + RESERVED * 5))
    assert len(caplog.records) == 1
    assert "No such file" in caplog.text
