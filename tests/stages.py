"""Which stages the daemons of the tests answer with: all of them, or with ``--front-stage=off`` the application alone."""

from __future__ import annotations

OPTION = "--front-stage"
MARK = "front_stage"
"""Marks a test of the front stage itself, which has one in any case."""
HAS_FRONT = True
"""Whether there is a front stage; set once, before the first test."""

_TABLE = "[http]\n"
_KEY = "front_stage = false\n"


def add_option(parser):
    """Take the command line's option."""
    parser.addoption(
        OPTION,
        choices=("on", "off"),
        default="on",
        help="off: every daemon that the tests start answers with the application alone",
    )


def heed(config):
    """Do as the command line says."""
    global HAS_FRONT  # noqa: PLW0603  # one run of the tests, one answer
    HAS_FRONT = config.getoption(OPTION) == "on"
    config.addinivalue_line("markers", f"{MARK}: tests the front stage itself, and has one in any case")


def first():
    """Return the name of the stage that answers plain requests, as they are counted."""
    return "front" if HAS_FRONT else "app"


def configured(text):
    """Return `text`, the configuration of a daemon, as this run of the tests wants it."""
    if HAS_FRONT:
        return text
    head, table, rest = f"\n{text}".partition(f"\n{_TABLE}")
    return f"{head[1:]}\n{_TABLE}{_KEY}{rest}" if table else f"{text}\n{_TABLE}{_KEY}"
