"""Log lines: their form for the journal, a terminal and a file, and what hostile text cannot do to them."""

import io
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.systemd.escaping import escape
from statusd.systemd.journal import is_journal
from statusd.systemd.logs import configure_logging
from statusd.systemd.records import LINE_LIMIT, NOTICE, TRACEBACK_LIMIT, priority
from statusd.systemd.uncaught import log_uncaught_exceptions

LOGGER = logging.getLogger("statusd.test")
HOSTILE = "evil\n<0>forged\r\x1b[2J\x9b31m\u2028next\u202etxet\0end"


def keep(text):
    return text


@pytest.fixture(autouse=True)
def _logging_as_before():
    root = logging.getLogger()
    handlers, level, noise = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = hooks
    root.handlers[:], logging.raiseExceptions = handlers, noise
    root.setLevel(level)


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "log").open("w+", encoding="utf-8") as stream:
        yield stream


@pytest.fixture
def journal(file):
    """A file that JOURNAL_STREAM names."""
    found = os.fstat(file.fileno())
    configure_logging({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, file, redact=mask)
    return file


def mask(text):
    return text.replace("hunter2", "***")


def lines(stream):
    stream.seek(0)
    return stream.read().splitlines()


def fail(text):
    raise ValueError(text)


def log_failure(text, message="failed"):
    try:
        fail(text)
    except ValueError:
        LOGGER.exception(message)


def test_under_the_journal_each_level_has_its_priority_and_nothing_else(journal):
    LOGGER.setLevel(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    for level in (60, logging.CRITICAL, logging.ERROR, 35, logging.WARNING, NOTICE, 21, logging.INFO, 15, 10):
        LOGGER.log(level, "line %d", level)
    LOGGER.setLevel(logging.NOTSET)
    assert lines(journal) == [
        "<2>line 60",
        "<2>line 50",
        "<3>line 40",
        "<4>line 35",
        "<4>line 30",
        "<5>line 25",
        "<6>line 21",
        "<6>line 20",
        "<7>line 15",
        "<7>line 10",
    ]


def test_every_line_of_a_traceback_has_the_prefix_and_is_indented(journal):
    log_failure("first\n<0>second\n")
    first, *rest = lines(journal)
    assert first == "<3>failed"
    assert rest[0] == "<3>    Traceback (most recent call last):"
    assert "<3>    ValueError: first" in rest
    assert "<3>    <0>second" in rest
    assert all(line.startswith("<3>    ") for line in rest)


def test_hostile_text_stays_on_its_line_and_shows_its_control_characters(journal):
    LOGGER.warning("%s", HOSTILE)
    log_failure(HOSTILE, HOSTILE)
    text = "\n".join(lines(journal))
    assert lines(journal)[0] == (r"<4>evil\n<0>forged\r\x1b[2J\x9b31m\u2028next\u202etxet\x00end")
    assert re.fullmatch(r"(<[34]>[^\x00-\x1f\x7f-\x9f\u2028\u202e]+\n?)+", text)


def test_secrets_are_masked_in_messages_arguments_and_tracebacks(journal):
    log_failure("the password is hunter2", "hunter2 said hunter2")
    LOGGER.info("key=%s", "hunter2", stack_info=True)
    text = "\n".join(lines(journal))
    assert "hunter2" not in text
    assert "<3>*** said ***" in text
    assert "ValueError: the password is ***" in text
    assert "<6>    Stack (most recent call last):" in text


def test_a_secret_with_a_line_feed_is_masked_before_anything_is_escaped(file):
    configure_logging({}, file, redact=lambda text: text.replace("a\nb", "***"))
    log_failure("x a\nb", "y a\nb")
    assert "ERROR y ***" in lines(file)[0]
    assert "a\nb" not in "\n".join(lines(file))
    assert lines(file)[-1] == "    ValueError: x ***"


def test_a_secret_is_masked_also_where_the_text_is_cut(file):
    secret = "s3cret" * 10
    configure_logging({}, file, redact=lambda text: text.replace(secret, "***"))
    LOGGER.warning("%s", "x" * (LINE_LIMIT - 10) + secret)
    log_failure("x" * (TRACEBACK_LIMIT // 2) + secret + "y" * (TRACEBACK_LIMIT // 2))
    assert "s3c" not in "\n".join(lines(file))


def test_long_lines_and_tracebacks_are_cut(journal):
    LOGGER.warning("\x01" * 1_000_000)
    log_failure("y\n" * 1_000_000)
    text = lines(journal)
    assert all(len(line.encode()) < 48 * 1024 for line in text)
    assert text[0].endswith("[cut]")
    assert "<3>    [cut]" in text
    assert sum(map(len, text)) < 16 * TRACEBACK_LIMIT


def test_a_record_that_cannot_be_formatted_is_told_without_its_arguments(journal):
    class Bad:
        def __str__(self):
            raise RuntimeError("hunter2")

    LOGGER.warning("%s", Bad())
    LOGGER.warning("%d and %d", "hunter3")  # noqa: PLE1206  # the mistake that is tested
    assert [re.sub(r"\d+", "N", line[3:]) for line in lines(journal)] == [
        "A log record could not be formatted; test_journal, line N, wrote it."
    ] * 2


def test_a_redactor_that_fails_lets_nothing_through(file):
    configure_logging({}, file, redact=lambda _text: fail("no"))
    LOGGER.warning("secret")
    [line] = lines(file)
    assert "secret" not in line
    assert "could not be formatted" in line


def test_a_file_gets_the_time_in_utc_and_the_level(file):
    configure_logging({"JOURNAL_STREAM": "1:2"}, file, redact=keep)
    LOGGER.log(NOTICE, "hello")
    LOGGER.debug("not shown")
    [line] = lines(file)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 NOTICE hello", line)


def test_a_terminal_gets_the_time_of_day():
    main, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as stream:
        configure_logging({}, stream, redact=keep)
        LOGGER.warning("hello")
        assert re.fullmatch(rb"\d\d:\d\d:\d\d WARNING  hello\r\n", os.read(main, 1000))
    os.close(main)


def test_a_stream_without_descriptor_works():
    stream = io.StringIO()
    configure_logging({}, stream, redact=keep)
    LOGGER.warning("hello")
    assert stream.getvalue().endswith("WARNING hello\n")


def test_logging_is_configured_once_and_loggers_of_libraries_come_along(file):
    configure_logging({}, file, redact=keep)
    configure_logging({}, file, redact=keep)
    logging.getLogger("hypercorn.error.x").error("from a library")
    assert len(lines(file)) == 1


def test_no_standard_error_at_all_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    configure_logging({}, redact=keep)
    LOGGER.error("nobody reads this")
    assert isinstance(logging.getLogger().handlers[0], logging.NullHandler)


def test_a_closed_stream_never_raises(file):
    configure_logging({}, file, redact=keep)
    stream = io.StringIO()
    file.close()
    LOGGER.error("to a closed descriptor")
    configure_logging({}, stream, redact=keep)
    stream.close()
    LOGGER.error("to a closed stream")


def test_a_full_pipe_drops_lines_and_the_next_one_begins_on_its_own():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(writing, "w") as stream:
        configure_logging({}, stream, redact=keep)
        for number in range(400):
            LOGGER.warning("%d %s", number, "x" * 5000)
        drained = os.read(reading, 1 << 20)
        LOGGER.warning("after")
        rest = os.read(reading, 1 << 20)
    os.close(reading)
    assert not drained.endswith(b"\n")
    assert re.fullmatch(rb"\n\S+ WARNING after\n", rest)


@pytest.mark.parametrize("ready", ["broken", "closed"])
def test_a_broken_standard_error_does_not_change_the_exit_code(ready):
    script = """
import logging, os, sys
from statusd.systemd.logs import configure_logging
configure_logging(os.environ, redact=str)
sys.stdin.readline()
logging.error("nobody reads this")
logging.error("nor this")
"""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stderr=writing, text=True
    ) as process:
        os.close(writing)
        if ready == "broken":
            os.close(reading)
        process.communicate("go\n", timeout=30)
        if ready == "closed":
            assert b"nor this" in os.read(reading, 1000)
            os.close(reading)
    assert process.returncode == 0


@pytest.mark.parametrize("value", ["", "x", "1:2", "1", ":"])
def test_another_stream_is_not_the_journal(value, file):
    assert not is_journal({"JOURNAL_STREAM": value}, file.fileno())


def test_a_closed_descriptor_is_not_the_journal(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.close(descriptor)
    assert not is_journal({"JOURNAL_STREAM": "1:2"}, descriptor)


def test_what_nobody_caught_is_logged_and_masked(journal):
    log_uncaught_exceptions()

    class Bad:
        def __del__(self):
            raise ValueError("hunter2 in a finalizer")

    thread = threading.Thread(target=fail, args=("hunter2 in a thread",))
    thread.start()
    thread.join()
    Bad()
    error = RuntimeError("hunter2 in main")
    sys.excepthook(RuntimeError, error, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    leaving = threading.Thread(target=sys.exit)
    leaving.start()
    leaving.join()
    text = lines(journal)
    assert [line for line in text if not line[3:].startswith(" ")] == [
        "<3>A thread failed.",
        "<3>An error was ignored.",
        "<2>statusd failed; this is a fault in statusd.",
    ]
    for place in ("thread", "finalizer", "main"):
        assert any(f"*** in a {place}" in line or f"*** in {place}" in line for line in text)


def test_warnings_are_logged_and_masked_unless_somebody_wants_them_elsewhere(journal):
    elsewhere, shown = io.StringIO(), []
    with warnings.catch_warnings():
        warnings.showwarning = lambda *given: shown.append(given)
        log_uncaught_exceptions()
        warnings.simplefilter("always")
        warnings.warn("hunter2 is\nno good", RuntimeWarning, stacklevel=1)
        warnings.showwarning("for somebody", UserWarning, "x.py", 1, elsewhere)
    [line] = lines(journal)
    assert line.startswith("<4>")
    assert line.endswith(r": RuntimeWarning: *** is\nno good")
    assert shown == [("for somebody", UserWarning, "x.py", 1, elsewhere, None)]


@given(st.text(st.characters()))
def test_escaped_text_is_one_printable_line(text):
    assert all(char.isprintable() or char.isspace() for char in escape(text))
    assert len(escape(text).splitlines()) <= 1
    assert "\x1b" not in escape(text)


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"])))
def test_ordinary_text_of_any_language_stays(text):
    assert escape(text) == text


@given(st.integers(min_value=-10, max_value=100), st.integers(min_value=0, max_value=50))
def test_a_higher_level_never_has_a_lower_urgency(level, more):
    assert priority(level + more) <= priority(level)
    assert 2 <= priority(level) <= 7
