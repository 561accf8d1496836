"""The journal's native protocol: what an entry holds, how it is encoded, and how it gets there."""

import logging
import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.events import TRANSITION, event
from statusd.systemd import journal as native
from statusd.systemd.journal import JournalSocket, as_entry, encode, is_usable
from statusd.systemd.logs import RecordHandler, configure_logging, dropped, flush
from statusd.systemd.records import LINE_LIMIT, Record
from tests.systemd.journals import FakeJournal, parsed
from tests.systemd.test_journal import HOSTILE, LOGGER, _logging_as_before, fail, mask  # noqa: F401  # a fixture


@pytest.fixture
def journal(tmp_path):
    fake = FakeJournal(tmp_path / "socket")
    yield fake
    fake.close()


@pytest.fixture
def entries(journal, tmp_path):
    """Logging that goes to the fake journal."""
    with (tmp_path / "stderr").open("w+") as stream:
        found = os.fstat(stream.fileno())
        configure_logging(
            {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
            stream,
            redact=mask,
            in_background=True,
            journal=str(journal.path),
        )
        yield journal.entry
        configure_logging({}, redact=mask)
        assert stream.tell() == 0  # nothing goes to the stream as well


NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,63}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(NAMES, TEXT)))
def test_whatever_the_values_hold_the_same_fields_come_out(fields):
    assert [(name, value.decode()) for name, value in parsed(encode(fields))] == fields


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_no_text_of_a_record_makes_a_field_of_its_own_or_fails(message, trace, fields):
    record = Record(
        level=20, message=message, trace=trace, fields=fields, file="f.py", line=1, function=message
    )
    found = parsed(as_entry(record))
    names = [name for name, _ in found]
    assert names[:7] == [
        "MESSAGE",
        "PRIORITY",
        "SYSLOG_IDENTIFIER",
        "STATUSD_LOGGER",
        "CODE_FILE",
        "CODE_LINE",
        "CODE_FUNC",
    ]
    assert all(re.fullmatch("STATUSD_[A-Z0-9_]{1,56}", name) for name in names[7:])
    assert not any(b"\n" in value for name, value in found if name != "MESSAGE")


def test_an_entry_has_the_fields_that_the_journal_knows_and_no_time_of_its_own(entries):
    LOGGER.warning("the %s is %d", "answer", 42)
    line = (
        test_an_entry_has_the_fields_that_the_journal_knows_and_no_time_of_its_own.__code__.co_firstlineno + 1
    )
    assert entries() == {
        "MESSAGE": "the answer is 42",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "statusd",
        "STATUSD_LOGGER": "statusd.test",
        "CODE_FILE": __file__,
        "CODE_LINE": str(line),
        "CODE_FUNC": "test_an_entry_has_the_fields_that_the_journal_knows_and_no_time_of_its_own",
    }


def test_an_event_has_its_message_id_and_fields(entries):
    told = event(
        TRANSITION,
        source="queue",
        path="sources/queue",
        before="ok",
        after="down",
        reason="hunter2",
        revision=7,
        more="a\nb",
    )
    LOGGER.error("down", extra=told)
    entry = entries()
    assert entry["MESSAGE_ID"] == TRANSITION.id
    assert {
        name: value for name, value in entry.items() if name.startswith("STATUSD_") and "LOGGER" not in name
    } == {
        "STATUSD_SOURCE": "queue",
        "STATUSD_PATH": "sources/queue",
        "STATUSD_FROM": "ok",
        "STATUSD_TO": "down",
        "STATUSD_REASON": "***",
        "STATUSD_REVISION": "7",
        "STATUSD_MORE": r"a\nb",
    }


@pytest.mark.parametrize("strange", ["text", 5, None, {"kind": "x"}])
def test_what_a_library_calls_event_is_not_one_of_ours(strange, entries):
    LOGGER.info("hello", extra={"event": strange})
    assert "MESSAGE_ID" not in entries()


def test_an_exception_is_one_entry_with_its_traceback_below_the_message_and_its_errno(entries):
    try:
        raise ConnectionRefusedError(111, "hunter2\nPRIORITY=0\nforged")
    except OSError:
        LOGGER.exception("it failed")
    entry = entries()
    message = entry["MESSAGE"].split("\n")
    assert message[:2] == ["it failed", "    Traceback (most recent call last):"]
    assert message[-3:] == ["    ConnectionRefusedError: [Errno 111] ***", "    PRIORITY=0", "    forged"]
    assert (entry["ERRNO"], entry["PRIORITY"]) == ("111", "3")


def test_hostile_text_shows_its_control_characters_and_is_one_line(entries):
    LOGGER.info("%s", HOSTILE, extra=event(None, reason=HOSTILE))
    entry = entries()
    assert entry["MESSAGE"] == entry["STATUSD_REASON"]
    assert entry["MESSAGE"] == r"evil\n<0>forged\r\x1b[2J\x9b31m\u2028next\u202etxet\x00end"


def test_long_values_are_cut(entries):
    LOGGER.info("x" * 1_000_000, extra=event(None, reason="y" * 1_000_000))
    entry = entries()
    assert entry["MESSAGE"] == "x" * LINE_LIMIT + " [cut]"
    assert entry["STATUSD_REASON"] == "y" * LINE_LIMIT + " [cut]"


def test_a_record_that_cannot_be_formatted_is_told_without_its_arguments(entries):
    LOGGER.warning("%d", "hunter3", extra=event(TRANSITION, path="hunter3"))  # noqa: PLE1206, RUF100  # the mistake that is tested
    entry = entries()
    assert "could not be formatted" in entry["MESSAGE"]
    assert "hunter3" not in str(entry)


def test_an_entry_too_large_for_a_datagram_goes_as_a_sealed_file(journal, monkeypatch):
    monkeypatch.setattr(native, "SEND_BUFFER", 4096)
    sender = JournalSocket(str(journal.path))
    value = "ä\n" * 2_000_000
    sender.send(encode([("MESSAGE", "small")]))
    sender.send(encode([("MESSAGE", value), ("PRIORITY", "3")]))
    sender.send_now(encode([("MESSAGE", value)]))
    assert journal.entry() == {"MESSAGE": "small"}
    assert journal.files == 0
    assert journal.entry() == {"MESSAGE": value, "PRIORITY": "3"}
    assert journal.entry() == {"MESSAGE": value}
    assert journal.files == 2
    sender.close()


def test_no_descriptor_stays_open_when_a_large_entry_is_lost(tmp_path):
    gone = FakeJournal(tmp_path / "socket")
    sender = JournalSocket(str(gone.path))
    gone.crash()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="refused"):
        sender.send_now(b"x" * 10_000_000)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    sender.close()


@pytest.mark.parametrize("leave", [FakeJournal.close, FakeJournal.crash])
def test_what_is_sent_while_the_journal_is_away_arrives_when_it_is_back(journal, entries, leave, monkeypatch):
    monkeypatch.setattr(native, "RETRY", 0.01)
    LOGGER.info("before")
    assert entries()["MESSAGE"] == "before"
    leave(journal)
    LOGGER.info("meanwhile")
    assert not flush(0.1)
    journal.path.unlink(missing_ok=True)
    journal.open()
    LOGGER.info("after")
    assert [entries()["MESSAGE"], entries()["MESSAGE"]] == ["meanwhile", "after"]
    assert dropped() == 0


def test_without_its_socket_lines_with_priorities_go_to_the_stream(tmp_path):
    with (tmp_path / "stderr").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        absent = str(tmp_path / "absent")
        assert not is_usable(absent)
        configure_logging(environ, stream, redact=mask, in_background=True, journal=absent)
        try:
            fail("x")
        except ValueError:
            LOGGER.exception("hello\nhunter2")
        assert flush(5)
        stream.seek(0)
        first, *rest = stream.read().splitlines()
        assert first == r"<3>hello\n***"
        assert rest
        assert all(line.startswith("<3>    ") for line in rest)


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize("log_format", ["auto", "text", "json"])
@pytest.mark.parametrize("is_under", [False, True])
def test_a_time_stands_where_the_journal_gives_none_and_only_there(
    journal, tmp_path, in_background, log_format, is_under
):
    with (tmp_path / "stderr").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"} if is_under else {}
        configure_logging(
            environ,
            stream,
            redact=mask,
            log_format=log_format,
            in_background=in_background,
            journal=str(journal.path),
        )
        LOGGER.warning("hello")
        assert flush(5)
        stream.seek(0)
        text = stream.read()
    is_native = is_under and in_background and log_format == "auto"
    assert (text == "") == is_native
    if is_native:
        text = journal.raw().decode()
    assert len(re.findall(r"\d\d:\d\d:\d\d", text)) == (0 if is_under else 1)
    assert len(re.findall("(?i)warning", text)) == (0 if is_under else 1)
    assert text.startswith("<4>") == (is_under and not is_native)
    assert str(os.getpid()) not in text.replace(str(tmp_path), "").replace(__file__, "")


def test_threads_log_at_once_and_every_record_is_whole(entries):
    def some(name):
        for number in range(50):
            LOGGER.info("%s %d", name, number)

    threads = [threading.Thread(target=some, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    found = [entries()["MESSAGE"] for _ in range(200)]
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"{name} {number}" for name in "abcd" for number in range(50))
    assert [text for text in found if text.startswith("a")] == [f"a {number}" for number in range(50)]


def test_a_filter_of_the_handler_counts(entries):
    [handler] = [one for one in logging.getLogger().handlers if isinstance(one, RecordHandler)]
    handler.addFilter(lambda record: "secret" not in record.msg)
    LOGGER.info("secret")
    LOGGER.info("open")
    assert entries()["MESSAGE"] == "open"
