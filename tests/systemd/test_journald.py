"""Records in the real journald: what it makes of them, and what it cannot do to the daemon when it freezes or restarts."""

import json
import os
import time
from pathlib import Path

import pytest

from statusd.events import CONFIG_MISTAKE, RECORDS_DROPPED, TRANSITION
from tests.systemd.journald import Journald, missing, wait

PRELUDE = """
import json, logging, os, sys, time
from statusd.events import TRANSITION, event
from statusd.systemd.logs import configure_logging, dropped, flush
log = logging.getLogger("statusd.test")
configure_logging(os.environ, redact=str, in_background=True)
"""


@pytest.fixture(scope="module")
def journald():
    if reason := missing():
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"the test with the real journald must run here, and {reason}")
        pytest.skip(f"runs a real journald: {reason}")
    running = Journald.boot()
    try:
        yield running
    finally:
        running.halt()


def run(journald, code, *arguments):
    """Run a script to its end; return what it printed."""
    with journald.script(PRELUDE + code, *arguments) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def entry(journald, *matches):
    """Return the one entry that matches."""
    [found] = wait(lambda: journald.entries(*matches))
    return found


def test_a_record_has_its_fields_and_those_that_journald_adds(journald):
    told = 'event(TRANSITION, source="queue", path="sources/queue", before="ok", after="down", reason="refused", revision=7)'
    run(journald, f'log.error("queue is down: ä€", extra={told})')
    found = entry(journald, f"MESSAGE_ID={TRANSITION.id}", "STATUSD_PATH=sources/queue")
    expected = {
        "MESSAGE": "queue is down: ä€",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "statusd",
        "CODE_FILE": "<string>",
        "CODE_FUNC": "<module>",
        "STATUSD_SOURCE": "queue",
        "STATUSD_FROM": "ok",
        "STATUSD_TO": "down",
        "STATUSD_REASON": "refused",
        "STATUSD_REVISION": "7",
        "STATUSD_LOGGER": "statusd.test",
        "_TRANSPORT": "journal",
        "_UID": str(os.getuid()),
    }
    assert {name: found.get(name) for name in expected} == expected


def test_an_exception_is_one_entry_with_its_errno(journald):
    code = """
try:
    raise ConnectionRefusedError(111, "first line\\n<0>PRIORITY=0\\nMESSAGE=forged")
except OSError:
    log.exception("an exception", extra=event(None, test="exception"))
"""
    run(journald, code)
    found = entry(journald, "STATUSD_TEST=exception")
    first, *rest = found["MESSAGE"].split("\n")
    assert first == "an exception"
    assert rest[0] == "    Traceback (most recent call last):"
    assert rest[-3:] == [
        "    ConnectionRefusedError: [Errno 111] first line",
        "    <0>PRIORITY=0",
        "    MESSAGE=forged",
    ]
    assert (found["ERRNO"], found["PRIORITY"]) == ("111", "3")


def test_levels_have_the_priorities_of_syslog(journald):
    run(
        journald,
        'for level in (50, 40, 30, 25, 20): log.log(level, "%d", level, extra=event(None, test="levels"))',
    )
    found = wait(lambda: (all_ := journald.entries("STATUSD_TEST=levels")) and len(all_) == 5 and all_)
    assert [(one["MESSAGE"], one["PRIORITY"]) for one in found] == [
        ("50", "2"), ("40", "3"), ("30", "4"), ("25", "5"), ("20", "6"),
    ]  # fmt: skip


def test_an_entry_of_four_megabytes_arrives_whole(journald):
    code = """
from statusd.systemd.journal import JournalSocket, encode
sender = JournalSocket()
sender.send(encode([("MESSAGE", "line ä\\n" * 524288), ("PRIORITY", "6"), ("STATUSD_TEST", "large")]))
"""
    run(journald, code)
    assert entry(journald, "STATUSD_TEST=large")["MESSAGE"] == "line ä\n" * 524288


def test_lines_with_priorities_are_entries_too_where_the_format_is_text(journald):
    code = """
configure_logging(os.environ, redact=str, in_background=True, log_format="text")
try:
    raise ValueError("x")
except ValueError:
    log.critical("as text", exc_info=True)
"""
    run(journald, code)
    found = wait(lambda: (all_ := journald.entries("SYSLOG_IDENTIFIER=service")) and len(all_) > 2 and all_)
    assert {one["PRIORITY"] for one in found} == {"2"}
    assert found[0]["MESSAGE"] == "as text"
    assert found[-1]["MESSAGE"] == "    ValueError: x"


def test_the_catalogue_explains_a_record(journald):
    told = 'event(TRANSITION, path="models/m", before="ok", after="degraded", reason="slow", revision=8)'
    run(journald, f'log.warning("it is slow", extra={told})')
    entry(journald, "STATUSD_PATH=models/m")
    catalog = Path(__file__).parents[2] / "systemd/statusd.catalog"
    root = journald.inside("/run/catalog-root")
    (root / "usr/lib/systemd/catalog").mkdir(parents=True)
    (root / "var/lib/systemd/catalog").mkdir(parents=True)
    (root / "usr/lib/systemd/catalog/statusd.catalog").write_text(catalog.read_text())
    journald.run("journalctl", "--update-catalog", "--root=/run/catalog-root")
    script = (
        "mount -t tmpfs tmpfs /var/lib && mkdir -p /var/lib/systemd/catalog && "
        "cp /run/catalog-root/var/lib/systemd/catalog/database /var/lib/systemd/catalog && "
        'journalctl --directory=/run/log/journal -x "$@"'
    )
    shown = journald.run("unshare", "--mount", "sh", "-c", script, "sh", "STATUSD_PATH=models/m")
    assert "Subject: models/m: ok -> degraded" in shown
    assert "journalctl -t statusd STATUSD_PATH=models/m" in shown


STORM = """
log.info("ready", extra=event(None, test="storm"))
assert flush(10)
print("ready")
sys.stdin.readline()
slowest = 0.0
for number in range(30000):
    before = time.perf_counter()
    log.warning("sources/queue: ok -> down: %d", number, extra=event(TRANSITION, path="sources/storm"))
    slowest = max(slowest, time.perf_counter() - before)
lost = dropped()
stuck = not flush(0.2)
print(json.dumps({"slowest": slowest, "lost": lost, "stuck": stuck}))
sys.stdin.readline()
flush(30)
assert flush(30)
print(dropped())
"""


def test_a_frozen_journald_holds_up_nobody_and_what_was_lost_is_told(journald):
    with journald.script(PRELUDE + STORM) as process:
        assert process.stdout.readline() == "ready\n"
        journald.freeze()
        try:
            process.stdin.write("storm\n")
            process.stdin.flush()
            found = json.loads(process.stdout.readline())
        finally:
            journald.thaw()
        assert found["stuck"]
        assert found["slowest"] < 0.5
        assert 10_000 < found["lost"] < 20_001
        process.stdin.write("calm\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{found['lost']}\n"
    assert process.returncode == 0
    told = entry(journald, f"MESSAGE_ID={RECORDS_DROPPED.id}")
    assert told["STATUSD_DROPPED"] == str(found["lost"])
    assert len(journald.entries("STATUSD_PATH=sources/storm")) == 30_000 - found["lost"]


def test_a_restarted_journald_gets_what_was_logged_meanwhile(journald):
    code = """
def say(text):
    log.info(text, extra=event(None, test="restart"))
say("before")
assert flush(10)
print("ready")
sys.stdin.readline()
for number in range(100):
    say(f"while it was away {number}")
assert not flush(0.3)
print("said")
sys.stdin.readline()
say("after")
assert flush(20)
print(dropped())
"""
    with journald.script(PRELUDE + code) as process:
        assert process.stdout.readline() == "ready\n"
        entry(journald, "STATUSD_TEST=restart")  # what only waits in its socket goes with it
        journald.kill()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "said\n"
        journald.start()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "0\n"
    assert process.returncode == 0
    found = wait(lambda: (all_ := journald.entries("STATUSD_TEST=restart")) and len(all_) == 102 and all_)
    assert [one["MESSAGE"] for one in found] == [
        "before", *(f"while it was away {number}" for number in range(100)), "after",
    ]  # fmt: skip


def test_a_process_ends_in_time_while_journald_is_frozen(journald):
    code = """
print("ready")
sys.stdin.readline()
for number in range(20000):
    log.warning("%d", number)
print("logged")
"""
    with journald.script(PRELUDE + code) as process:
        assert process.stdout.readline() == "ready\n"
        journald.freeze()
        try:
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "logged\n"
            began = time.monotonic()
            assert process.wait(20) == 0
            assert time.monotonic() - began < 5
        finally:
            journald.thaw()


def test_what_a_daemon_says_as_it_fails_to_start_is_in_the_journal(journald, tmp_path):
    (tmp_path / "statusd.toml").write_text("[http]\nbnid = 1\n")
    code = "import sys; from statusd.cli import main; sys.exit(main(['run', '--config', sys.argv[1]]))"
    with journald.script(code, tmp_path / "statusd.toml") as process:
        assert process.wait(60) == os.EX_CONFIG
    found = entry(journald, f"MESSAGE_ID={CONFIG_MISTAKE.id}")
    assert "http.bnid" in found["MESSAGE"]
    assert (found["PRIORITY"], found["SYSLOG_IDENTIFIER"]) == ("3", "statusd")
