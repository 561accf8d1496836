import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Node, Snapshot, Status
from statusd.model.snapshot import Change
from statusd.runtime.revisions import GREATEST, RESERVED, RevisionFile


def change(revision):
    return Change(snapshot=Snapshot(root=Node(status=Status.OK), revision=revision, version=1, at=0.0))


def test_without_a_state_directory_the_clock_decides():
    assert RevisionFile.under_systemd({}).first(1.5) == 1_500_000
    assert RevisionFile.under_systemd({"STATE_DIRECTORY": ""}).first(1.5) == 1_500_000


def test_the_first_of_systemds_directories_is_used(tmp_path):
    RevisionFile.under_systemd({"STATE_DIRECTORY": f"{tmp_path}:/elsewhere"}).first(1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["revision"]


def test_revisions_grow_although_the_clock_was_set_back(tmp_path):
    environ = {"STATE_DIRECTORY": str(tmp_path)}
    first = RevisionFile.under_systemd(environ)
    reached = first.first(1_800_000_000.0) + RESERVED * 3
    for revision in range(reached - RESERVED * 3, reached, RESERVED // 4):
        first.take(change(revision))
    assert RevisionFile.under_systemd(environ).first(1_000_000_000.0) > reached


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
            kept.take(change(revision + step))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"-5", b"1.5", b"9" * 31, str(GREATEST + 1).encode(), b"\xff"]
)
def test_a_file_that_holds_no_revision_is_replaced_and_said(tmp_path, caplog, content):
    (tmp_path / "revision").write_bytes(content)
    kept = RevisionFile(tmp_path / "revision")
    assert kept.first(2.0) == 2_000_000
    assert "holds no revision" in caplog.text
    assert int((tmp_path / "revision").read_text()) > 2_000_000


def test_a_directory_that_cannot_be_written_is_said_once_and_the_clock_goes_on(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    kept = RevisionFile(tmp_path / "absent" / "revision")
    assert kept.first(2.0) == 2_000_000
    kept.take(change(2_000_000 + RESERVED * 5))
    assert len(caplog.records) == 1
    assert "No such file" in caplog.text
