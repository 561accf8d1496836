"""Log records at the end of a process, and in one that forks: the end is bounded, and little is lost."""

import os
import subprocess
import sys
import time

import pytest


def test_a_forked_process_writes_its_own_records_once():
    script = """
import logging, os, sys, warnings
from statusd.systemd.logs import configure_logging, flush
warnings.simplefilter("ignore", DeprecationWarning)  # that of forking with threads, which is what is tried
configure_logging(os.environ, redact=str, in_background=True)
logging.warning("in the parent, before")
child = os.fork()
logging.warning("in the child" if child == 0 else "in the parent")
if child == 0:
    assert flush(5)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert sorted(line.partition("WARNING ")[2] for line in done.stderr.splitlines()) == [
        "in the child",
        "in the parent",
        "in the parent, before",
    ]


def timed(script, **options):
    """Run a script whose standard error is a pipe that nobody reads; return how long it took and its exit code."""
    reading, writing = os.pipe()
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", script], stderr=writing, **options)
    os.close(writing)
    code = process.wait(30)
    took = time.monotonic() - began
    os.close(reading)
    return took, code


STUCK = """
import logging, os, sys, threading, time
from statusd.systemd.logs import configure_logging, flush
configure_logging(os.environ, redact=str, in_background=True)
for number in range(2000):
    logging.error("x" * 1000)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("assert not flush(); os._exit(4)", 4),
        ("sys.stderr = None; raise RuntimeError", 1),
    ],
)
def test_the_end_of_the_process_waits_about_a_second_for_a_stuck_pipe(end, code):
    took, found = timed(STUCK + end)
    assert found == code
    assert 1.0 < took < 6


def test_all_that_was_logged_is_there_after_a_normal_end_also_what_finalizers_said():
    script = """
import atexit, logging, os, sys, threading
from statusd.systemd.logs import configure_logging
from statusd.systemd.uncaught import log_uncaught_exceptions
configure_logging(os.environ, redact=str, in_background=True)
log_uncaught_exceptions()
class Late:
    def __del__(self):
        logging.error("in a finalizer")
late = Late()
atexit.register(logging.error, "at exit")
for number in range(3000):
    logging.error("%d", number)
threading.Thread(target=lambda: logging.error("in a thread")).start()
raise RuntimeError("uncaught")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    said = [line.partition(" ERROR ")[2] for line in done.stderr.splitlines() if " ERROR " in line]
    assert [text for text in said if text.isdigit()] == [str(number) for number in range(3000)]
    assert {"in a thread", "at exit", "in a finalizer"} <= set(said)
    assert "RuntimeError: uncaught" in done.stderr
    assert "CRITICAL statusd failed" in done.stderr


def test_threads_that_still_log_when_the_interpreter_ends_do_not_keep_it():
    script = """
import logging, os, threading
from statusd.systemd.logs import configure_logging
configure_logging(os.environ, redact=str, in_background=True)
def talk():
    while True:
        logging.error("still here")
for _ in range(4):
    threading.Thread(target=talk, daemon=True).start()
"""
    took, code = timed(script)
    assert code == 0
    assert took < 8
