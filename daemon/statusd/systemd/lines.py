"""Records as lines for people; with ``<N>`` before each where the journal reads them (sd-daemon(3))."""

from __future__ import annotations

from datetime import UTC, datetime

from statusd.systemd.escaping import escape
from statusd.systemd.records import Record, cut, priority


def for_terminal(record: Record) -> bytes:
    """Return `record` with the local time of day."""
    time = datetime.fromtimestamp(record.created)  # noqa: DTZ006  # people read the local time
    return _lines(record, f"{time:%H:%M:%S} {record.level_name:<8} ", "    ")


def for_file(record: Record) -> bytes:
    """Return `record` with the time in UTC."""
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return _lines(record, f"{time} {record.level_name} ", "    ")


def for_journal(record: Record) -> bytes:
    """Return `record` with its priority and no time, which the journal knows."""
    # Every line is an entry of its own, and wants its own priority.
    head = f"<{priority(record.level)}>"
    return _lines(record, head, head + "    ")


def one_line(text: str) -> str:
    """Return `text` escaped and cut."""
    return cut(escape(text))


def trace_lines(trace: str) -> list[str]:
    """Return the lines of a traceback, escaped and cut; none where there is no traceback."""
    # Only these line feeds stay; what an upstream put into an exception's text stands indented among them.
    return [cut(line) for line in escape(trace, keep_newlines=True).strip("\n").split("\n")] if trace else []


def _lines(record: Record, head: str, indent: str) -> bytes:
    text = head + one_line(record.message) + "\n"
    if record.trace:
        text += "".join(f"{indent}{line}\n" for line in trace_lines(record.trace))
    return text.encode(errors="backslashreplace")
