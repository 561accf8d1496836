"""The way out for log records: whoever logs never waits, what is lost is counted, and the end is bounded."""

import contextlib
import io
import json
import logging
import os
import threading
import time

import pytest

from statusd.events import RECORDS_DROPPED
from statusd.systemd.logs import configure_logging, dropped, flush
from statusd.systemd.outlet import RECORDS, Outlet
from tests.systemd.journals import FakeJournal
from tests.systemd.test_journal import LOGGER, _logging_as_before, log_failure, mask  # noqa: F401  # a fixture

FAST = 0.5
"""Seconds within which what must not wait is done, on a busy machine."""


class Gate:
    """A writer that is stuck until it is opened, and may fail."""

    def __init__(self, *, is_open=False):
        self.written = []
        self.late = []
        self.is_failing = False
        self._open = threading.Event()
        self.entered = threading.Event()
        if is_open:
            self._open.set()

    def open(self):
        self._open.set()

    def send(self, data):
        self.entered.set()
        assert self._open.wait(30)
        if self.is_failing:
            raise BrokenPipeError
        self.written.append(data)

    def send_now(self, data):
        self.late.append(data)

    def close(self):
        self._open.set()


@contextlib.contextmanager
def outlet(gate, **bounds):
    made = Outlet(gate, lambda count: b"lost %d" % count, **bounds)
    yield made
    gate.open()
    made.close(5)
    made.release()


def test_records_come_out_in_order():
    gate = Gate(is_open=True)
    with outlet(gate) as out:
        for number in range(1000):
            out.put(b"%d" % number)
        assert out.flush(5)
        assert gate.written == [b"%d" % number for number in range(1000)]


def test_what_does_not_fit_is_dropped_counted_and_told_once_behind_what_came_before():
    gate = Gate()
    with outlet(gate, records=10) as out:
        out.put(b"stuck")
        assert gate.entered.wait(5)
        for number in range(25):
            out.put(b"%d" % number)
        assert out.dropped == 15
        assert not out.flush(0.01)
        gate.open()
        assert out.flush(5)
        assert out.flush(5)  # what tells of the loss came behind the first flush at the latest
        assert gate.written == [b"stuck", *(b"%d" % number for number in range(10)), b"lost 15"]
        out.put(b"after")
        assert out.flush(5)
        assert gate.written[-1] == b"after"
        assert out.dropped == 15


def test_bytes_are_bounded_too():
    gate = Gate()
    with outlet(gate, size=1000) as out:
        for _ in range(10):
            out.put(b"x" * 300)
        out.put(b"y" * 100)  # a small one fits still
        out.put(b"y" * 100)
        assert out.dropped == 8
        gate.open()
        assert out.flush(5)
        assert out.flush(5)
        assert [len(data) for data in gate.written] == [300, 300, 300, 100, 6]
        for _ in range(50):
            out.put(b"x" * 300)
            assert out.flush(5)
        assert out.dropped == 8


def test_records_that_cannot_be_written_count_as_dropped_and_are_told_once_one_can():
    gate = Gate(is_open=True)
    gate.is_failing = True
    with outlet(gate) as out:
        for _ in range(5):
            out.put(b"x")
        assert out.flush(5)
        assert (out.dropped, gate.written) == (5, [])
        gate.is_failing = False
        out.put(b"y")
        assert out.flush(5)
        assert out.flush(5)
        assert gate.written == [b"y", b"lost 5"]


def test_a_close_gives_up_in_time_and_what_comes_later_is_dropped():
    gate = Gate()
    with outlet(gate) as out:
        out.put(b"x")
        began = time.monotonic()
        out.close(0.2)
        assert 0.15 < time.monotonic() - began < 0.2 + FAST
        out.put(b"late")
        assert out.dropped == 1
        assert gate.late == []


def test_what_comes_after_a_good_close_is_written_at_once():
    gate = Gate(is_open=True)
    with outlet(gate) as out:
        out.put(b"x")
        out.close(5)
        out.put(b"late")
        assert (gate.written, gate.late) == ([b"x"], [b"late"])
        out.close(5)
        out.release()
        out.put(b"too late")
        assert gate.late == [b"late"]


def test_where_no_thread_can_be_started_a_record_is_written_at_once(monkeypatch):
    def fail(_thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", fail)
    gate = Gate(is_open=True)
    with outlet(gate) as out:
        out.put(b"x")
        assert gate.late == [b"x"]
        assert out.flush(5)


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_stuck_pipe_holds_up_nobody_and_what_was_lost_is_told(is_blocking):
    reading, writing = os.pipe()
    os.set_blocking(writing, is_blocking)
    with os.fdopen(writing, "w") as stream:
        configure_logging({}, stream, redact=mask, in_background=True)
        began = time.monotonic()
        slowest = 0.0
        total = RECORDS + 2000
        for number in range(total):
            before = time.perf_counter()
            LOGGER.warning("%d %s", number, "x" * 500)
            slowest = max(slowest, time.perf_counter() - before)
        assert slowest < FAST
        assert not flush(0.05)
        lost = dropped()
        assert 0 < lost <= 2000
        assert time.monotonic() - began < 60
        text = ""
        with os.fdopen(reading, "r") as reader:
            lines = []
            while "log records were dropped" not in text:
                text = reader.readline()
                lines.append(text)
            assert flush(5)
            LOGGER.warning("after")
            assert "WARNING after\n" in reader.readline()
            configure_logging({}, io.StringIO(), redact=mask)
        assert f"WARNING {lost} log records were dropped: " in text
        numbers = [int(line.split()[2]) for line in lines[:-1]]
        assert numbers == list(range(total - lost))


def test_a_frozen_journal_holds_up_nobody_and_what_was_lost_is_told(tmp_path):
    journal = FakeJournal(tmp_path / "socket")
    with (tmp_path / "stderr").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        configure_logging(environ, stream, redact=mask, in_background=True, journal=str(journal.path))
        slowest = 0.0
        total = RECORDS + 5000
        for number in range(total):
            before = time.perf_counter()
            LOGGER.warning("%d", number)
            slowest = max(slowest, time.perf_counter() - before)
        assert slowest < FAST
        lost = dropped()
        assert 0 < lost <= 5000
        for number in range(total - lost):
            assert journal.entry()["MESSAGE"] == str(number)
        entry = journal.entry()
        assert entry["MESSAGE_ID"] == RECORDS_DROPPED.id
        assert entry["STATUSD_DROPPED"] == str(lost)
        assert entry["MESSAGE"].startswith(f"{lost} log records were dropped")
        LOGGER.warning("after")
        assert journal.entry()["MESSAGE"] == "after"
        configure_logging({}, io.StringIO(), redact=mask)
    journal.close()


def test_a_finalizer_or_a_signal_that_logs_while_a_record_is_handed_in_does_no_harm():
    gate = Gate(is_open=True)

    class Reentrant(bytes):
        def __len__(self):
            if out.depth < 1:
                out.depth += 1
                out.put(b"inner")
            return super().__len__()

    with outlet(gate) as out:
        out.depth = 0
        out.put(Reentrant(b"outer"))
        assert out.flush(5)
        assert sorted(gate.written) == [b"inner", b"outer"]


def test_a_secret_waits_nowhere():
    configure_logging({}, io.StringIO(), redact=mask, in_background=True)
    [handler] = [one for one in logging.getLogger().handlers if hasattr(one, "way")]
    seen = []
    handler.way.put = seen.append
    log_failure("hunter2", "hunter2")
    assert seen
    assert not any(b"hunter2" in data for data in seen)


def test_a_record_costs_whoever_logs_it_little(tmp_path):
    """The bound is ten times what it takes, for busy machines."""
    with (tmp_path / "log").open("w") as stream:
        configure_logging({}, stream, redact=mask, in_background=True, log_format="json")
        began = time.process_time()
        for number in range(2000):
            LOGGER.warning("sources/queue: ok -> down (refused): %d", number)
        assert (time.process_time() - began) / 2000 < 0.0006
        assert flush(10)
    lines = (tmp_path / "log").read_text().splitlines()
    assert json.loads(lines[-1])["message"] == "sources/queue: ok -> down (refused): 1999"
