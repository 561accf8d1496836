"""Log records as JSON lines."""

import json
import os
import subprocess
import sys
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.events import TRANSITION, event
from statusd.systemd.jsonlines import as_json
from statusd.systemd.logs import configure_logging
from statusd.systemd.records import LINE_LIMIT, Record
from tests.systemd.test_journal import HOSTILE, LOGGER, _logging_as_before, lines, log_failure, mask  # noqa: F401  # a fixture


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "log").open("w+", encoding="utf-8") as stream:
        configure_logging({}, stream, redact=mask, log_format="json")
        yield stream


def test_a_record_is_an_object_with_its_event(file):
    told = event(TRANSITION, path="sources/queue", before="ok", after="down", reason="hunter2", revision=7)
    LOGGER.error("it is %s", "hunter2", extra=told)
    [line] = lines(file)
    record = json.loads(line)
    assert datetime.fromisoformat(record.pop("time")).utcoffset().total_seconds() == 0
    assert record == {
        "level": "error",
        "logger": "statusd.test",
        "message": "it is ***",
        "event": "transition",
        "message_id": TRANSITION.id,
        "path": "sources/queue",
        "from": "ok",
        "to": "down",
        "reason": "***",
        "revision": "7",
    }


def test_a_traceback_is_a_member_and_the_record_still_one_line(file):
    log_failure(f"hunter2 {HOSTILE}", HOSTILE)
    [line] = lines(file)
    record = json.loads(line)
    assert record["message"] == HOSTILE
    assert record["traceback"].startswith("Traceback (most recent call last):\n")
    assert record["traceback"].endswith(f"ValueError: *** {HOSTILE}")
    assert line.isascii()
    assert line.isprintable()


def test_a_field_never_takes_the_place_of_what_every_record_has(file):
    LOGGER.info(
        "hello", extra=event(TRANSITION, message="forged", level="forged", time="forged", event="forged")
    )
    record = json.loads(lines(file)[0])
    assert (record["message"], record["level"], record["event"]) == ("hello", "info", "transition")
    assert record["time"] != "forged"


def test_under_the_journal_there_is_a_priority_and_neither_time_nor_level(tmp_path):
    with (tmp_path / "log").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        configure_logging(environ, stream, redact=mask, log_format="json")
        LOGGER.warning("hello")
        assert lines(stream) == ['<4>{"logger": "statusd.test", "message": "hello"}']


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_whatever_a_record_holds_it_is_one_line_that_gives_it_back(message, trace, fields):
    data = as_json(Record(level=30, message=message, trace=trace, fields=fields))
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    record = json.loads(data)
    assert record["message"] == message
    assert record.get("traceback", "") == trace


def test_long_messages_are_cut(file):
    LOGGER.warning("x" * 1_000_000)
    assert json.loads(lines(file)[0])["message"] == "x" * LINE_LIMIT + " [cut]"


def test_the_command_line_asks_for_it_and_what_was_said_last_is_there_at_the_end(tmp_path):
    (tmp_path / "statusd.toml").write_text("[http]\nbnid = 1\n")
    command = [
        sys.executable,
        "-m",
        "statusd",
        "run",
        "--log-format",
        "json",
        "--config",
        tmp_path / "statusd.toml",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == os.EX_CONFIG
    [record] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (record["event"], record["level"]) == ("config_mistake", "error")
    assert "http.bnid" in record["message"]
