"""Keeping the tree in a file: when it is written, what is in the way, and what an earlier run left."""

import errno
import itertools
import os
import stat
import threading

import attrs
import pytest
import trio
import trio.testing

from statusd import Report, Status
from statusd.events import ATTRIBUTE, STATE_NOT_KEPT, STATE_SET_ASIDE
from statusd.model.kept import decode
from statusd.runtime import keeping
from statusd.runtime.keeping import LAST, PATIENCE, REFRESH, RETRY, Keeper
from tests.runtime.clocks import TrioClock
from tests.runtime.hubs import start, tracked


@attrs.define(eq=False)
class Disk:
    """Stands in for the disk: a write takes no time and touches no thread, so that the mock clock tells all."""

    times: list = attrs.field(factory=list)
    data: bytes = b""
    fault: int = 0
    is_hanging: bool = False

    async def run_sync(self, write, *, limiter, abandon_on_cancel):
        assert abandon_on_cancel
        async with limiter:
            if self.is_hanging:
                await trio.sleep_forever()
            self.times.append(trio.current_time())
            return write()

    def write(self, path, data):
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault), os.fspath(path))
        self.data = data

    @property
    def kept(self):
        return decode(self.data)


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(keeping, "write_atomically", disk.write)
    monkeypatch.setattr(trio.to_thread, "run_sync", disk.run_sync)
    return disk


def keeper(directory, clock=None):
    return Keeper.under_systemd({"STATE_DIRECTORY": f"{directory}:/elsewhere"}, clock or TrioClock())


async def at_work(nursery, directory):
    """Return a running hub with one source, and the keeper that keeps it."""
    one = keeper(directory)
    source = attrs.evolve(tracked("a"), made_of="f")
    running = await start(nursery, [source], statements=(one.statement(),))
    await nursery.start(one.run, running.hub)
    await trio.testing.wait_all_tasks_blocked()
    return running


def stands(running):
    node = running.hub.snapshot.find("daemon/state")
    return node.status, node.reason


async def test_each_change_is_written_once_a_second_at_most(nursery, autojump_clock, disk, tmp_path):
    running = await at_work(nursery, tmp_path)
    began = trio.current_time()
    assert disk.times == [began]  # what stands at the start
    for number in range(35):
        await trio.sleep(0.1)
        await running.observe("a", Report.ok(facts={"n": number}))
    await trio.sleep(2)
    assert [time - began for time in disk.times] == pytest.approx([0, 1, 2, 3, 4])
    assert disk.kept.sources["a"].reports[0].facts == {"n": 34}
    assert disk.kept.revision == running.hub.snapshot.revision


async def test_a_change_after_a_while_of_rest_is_written_at_once(nursery, autojump_clock, disk, tmp_path):
    running = await at_work(nursery, tmp_path)
    await trio.sleep(30)
    await running.observe("a", Report.ok())
    await trio.testing.wait_all_tasks_blocked()
    assert disk.times[-1] == trio.current_time()


async def test_newer_readings_alone_are_written_each_minute(nursery, autojump_clock, disk, tmp_path):
    running = await at_work(nursery, tmp_path)
    await running.observe("a", Report.ok())
    await trio.sleep(2)
    disk.times.clear()
    for _ in range(150):
        await trio.sleep(1)
        await running.observe("a", Report.ok())
    assert len(disk.times) == 2
    assert disk.times[1] - disk.times[0] == pytest.approx(REFRESH, abs=1)
    assert (
        disk.kept.sources["a"].observed_at > running.hub.snapshot.find("sources/a").observed_at - REFRESH - 1
    )


async def test_nothing_is_written_while_nothing_is_new(nursery, autojump_clock, disk, tmp_path):
    await at_work(nursery, tmp_path)
    await trio.sleep(10 * REFRESH)
    assert len(disk.times) == 1


async def test_the_end_is_written_too(autojump_clock, disk, tmp_path):
    async with trio.open_nursery() as nursery:
        running = await at_work(nursery, tmp_path)
        await running.observe("a", Report.down("refused"))
        nursery.cancel_scope.cancel()
    assert disk.kept.sources["a"].reports[0].status is Status.DOWN


async def test_a_disk_that_hangs_keeps_the_end_for_a_second(autojump_clock, disk, tmp_path):
    async with trio.open_nursery() as nursery:
        running = await at_work(nursery, tmp_path)
        disk.is_hanging = True
        await running.observe("a", Report.ok())
        await trio.sleep(5)
        ended = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - ended == pytest.approx(LAST)


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (errno.ENOSPC, "free some space there"),
        (errno.EROFS, "StateDirectory=statusd"),
        (errno.EACCES, "it must belong to the user that statusd runs as"),
        (errno.EIO, "look at the disk"),
    ],
)
async def test_a_disk_that_does_not_take_it_is_told_once_and_tried_again(
    nursery, autojump_clock, disk, tmp_path, caplog, fault, remedy
):
    running = await at_work(nursery, tmp_path)
    assert stands(running) == (Status.OK, "ok")
    disk.fault = fault
    await running.observe("a", Report.ok(), lifetime=1000.0)
    await trio.sleep(3 * RETRY)
    node = running.hub.snapshot.find("daemon/state")
    assert (node.status, node.reason) == (Status.DEGRADED, "state_not_kept")
    assert remedy in node.message
    assert str(tmp_path) in node.message
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert getattr(record, ATTRIBUTE).kind is STATE_NOT_KEPT
    tried = disk.times[-3:]
    assert [after - before for before, after in itertools.pairwise(tried)] == pytest.approx([RETRY] * 2)
    disk.fault = 0
    await trio.sleep(RETRY + 1)
    assert stands(running) == (Status.OK, "ok")
    assert disk.kept.sources["a"].reports[0].status is Status.OK


async def test_a_disk_that_hangs_is_told(nursery, autojump_clock, disk, tmp_path):
    running = await at_work(nursery, tmp_path)
    disk.is_hanging = True
    await running.observe("a", Report.ok())
    await trio.sleep(PATIENCE + 2)
    node = running.hub.snapshot.find("daemon/state")
    assert (node.reason, "does not answer" in node.message) == ("state_not_kept", True)
    disk.is_hanging = False
    await trio.sleep(PATIENCE + RETRY + 2)
    assert stands(running) == (Status.OK, "ok")


async def test_a_tree_that_is_too_large_is_told_and_what_was_written_stays(
    nursery, autojump_clock, disk, tmp_path, monkeypatch
):
    running = await at_work(nursery, tmp_path)
    before = disk.data
    monkeypatch.setattr(keeping, "MOST_BYTES", 1000)
    await running.observe("a", Report.ok(facts={"text": "x" * 1000}))
    await trio.sleep(2)
    node = running.hub.snapshot.find("daemon/state")
    assert (node.reason, "too large" in node.message) == ("state_not_kept", True)
    assert disk.data == before


async def test_without_a_state_directory_nothing_is_kept_and_that_is_said(nursery, autojump_clock, disk):
    one = Keeper.under_systemd({}, TrioClock())
    assert one.read().kept is None
    running = await start(nursery, [tracked("a")], statements=(one.statement(),))
    await nursery.start(one.run, running.hub)
    await running.observe("a", Report.ok())
    await trio.sleep(100)
    assert stands(running) == (Status.OFF, "not_configured")
    assert disk.times == []


# With real files


async def test_what_was_written_is_read_by_the_next_one(tmp_path):
    async with trio.open_nursery() as nursery:
        running = await at_work(nursery, tmp_path)
        await running.observe("a", Report.ok(facts={"n": 3}))
        nursery.cancel_scope.cancel()
    assert stat.S_IMODE((tmp_path / "snapshot").stat().st_mode) == 0o600
    past = keeper(tmp_path).read()
    assert past.kept.sources["a"].reports[0].facts == {"n": 3}
    assert past.revision == running.hub.snapshot.revision


async def test_it_is_written_in_a_thread_and_the_loop_goes_on(tmp_path, monkeypatch):
    threads, gate = [], threading.Event()

    def write(path, data):
        threads.append(threading.get_ident())
        gate.wait(5)

    monkeypatch.setattr(keeping, "write_atomically", write)
    async with trio.open_nursery() as nursery:
        running = await at_work(nursery, tmp_path)
        with trio.fail_after(4):
            await running.observe("a", Report.ok())  # while the write hangs
        gate.set()
        nursery.cancel_scope.cancel()
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "It is empty."),
        (b"\x7fELF\0\0", "It is no file of statusd's"),
        (b"statusd-state 9 x\n", "It has the format 9"),
        (b"statusd-state 1 " + b"0" * 64 + b" 2\n{}", "its checksum does not match"),
        (b"statusd-state 1 " + b"0" * 64 + b" 20\n{}", "It is cut off"),
    ],
)
async def test_a_file_that_cannot_be_used_is_set_aside_and_told(tmp_path, caplog, content, why):
    (tmp_path / "snapshot").write_bytes(content)
    one = keeper(tmp_path)
    assert one.read().kept is None
    report = one.statement().report
    assert (report.status, report.reason) == (Status.DEGRADED, "state_set_aside")
    assert why in report.message
    assert str(tmp_path / "snapshot.damaged") in report.message
    assert (tmp_path / "snapshot.damaged").read_bytes() == content
    assert not (tmp_path / "snapshot").exists()
    (record,) = caplog.records
    assert getattr(record, ATTRIBUTE).kind is STATE_SET_ASIDE


async def test_what_is_too_large_no_file_or_not_readable_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "MOST_BYTES", 10)
    path = tmp_path / "snapshot"
    path.write_bytes(b"x" * 11)
    one = keeper(tmp_path)
    assert one.read().kept is None
    assert "It is too large." in one.statement().report.message
    os.mkfifo(path)
    one = keeper(tmp_path)
    assert one.read().kept is None
    assert "It is no regular file." in one.statement().report.message


async def test_it_is_no_fault_any_more_once_somebody_has_removed_what_was_set_aside(
    nursery, autojump_clock, disk, tmp_path
):
    (tmp_path / "snapshot").write_bytes(b"?")
    one = keeper(tmp_path)
    one.read()
    running = await start(nursery, [tracked("a")], statements=(one.statement(),))
    await nursery.start(one.run, running.hub)
    await trio.sleep(2 * REFRESH)
    assert stands(running) == (Status.DEGRADED, "state_set_aside")
    (tmp_path / "snapshot.damaged").unlink()
    await trio.sleep(REFRESH + 1)
    assert stands(running) == (Status.OK, "ok")


async def test_what_cannot_even_be_set_aside_is_no_reason_not_to_start(tmp_path, monkeypatch, caplog):
    (tmp_path / "snapshot").write_bytes(b"?")

    def refuse(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))

    monkeypatch.setattr(keeping, "set_aside", refuse)
    one = keeper(tmp_path)
    assert one.read().kept is None
    assert "Nor can it be set aside" in caplog.text
    assert one.statement().report.status is Status.OK


async def test_a_large_tree_is_written_less_often(nursery, autojump_clock, disk, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "RATE", 1000.0)
    running = await at_work(nursery, tmp_path)
    disk.times.clear()
    for number in range(100):
        await trio.sleep(1)
        await running.observe("a", Report.ok(facts={"n": number, "large": "x" * 20_000}))
    gaps = [after - before for before, after in itertools.pairwise(disk.times)]
    assert gaps[1:] == pytest.approx([len(disk.data) / 1000] * len(gaps[1:]), abs=1.1)
    assert len(gaps) > 2
    monkeypatch.setattr(keeping, "RATE", 1.0)
    disk.times.clear()
    for number in range(200):
        await trio.sleep(1)
        await running.observe("a", Report.ok(facts={"n": number, "large": "x" * 20_000}))
    assert disk.times[-1] - disk.times[-2] == pytest.approx(REFRESH, abs=1.1)
