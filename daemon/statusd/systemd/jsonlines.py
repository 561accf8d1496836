"""Records as lines of JSON (RFC 8259), for programs that collect the output of containers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from statusd.systemd.records import Record, cut, priority


def as_json(record: Record) -> bytes:
    """Return `record` as one line of ASCII; whatever it holds cannot end the line."""
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return _encoded(record, {"time": time, "level": record.level_name.lower()})


def as_json_for_journal(record: Record) -> bytes:
    """Return `record` as `as_json` does, its priority before it, without what the journal knows: time and level."""
    return f"<{priority(record.level)}>".encode() + _encoded(record, {})


def _encoded(record: Record, members: dict[str, str | int]) -> bytes:
    members["logger"], members["message"] = record.logger, cut(record.message)
    if record.trace:
        members["traceback"] = record.trace
    if record.errno is not None:
        members["errno"] = record.errno
    if record.kind is not None:
        members["event"], members["message_id"] = record.kind.name, record.kind.id
    for name, value in record.fields.items():
        members.setdefault(name, cut(value))  # a field never takes the place of what every record has
    return json.dumps(members).encode() + b"\n"
