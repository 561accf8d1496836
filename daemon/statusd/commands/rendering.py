"""The tree as text for people: columns, colours, ages, and nothing that could steer a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, TextIO

import attrs

from statusd.systemd.escaping import escape
from statusd.wording import span

_COLOURS: Final = {"ok": "32", "degraded": "33", "unknown": "35", "down": "31", "off": "2"}
"""ECMA-48, SGR: green, yellow, magenta, red, faint."""
_NAME_WIDTH: Final = 40
_REASON_WIDTH: Final = 24
"""Columns that a name or reason is given at most before the others move to the right."""
_LEAST_NAME_WIDTH: Final = 8
"""Columns that a name keeps on a narrow screen, where it is cut so that the status, reason and time are seen."""
_INDENT: Final = "  "
_STATUS_WIDTH: Final = 8
_DEPTH: Final = 20
"""Levels that are indented further; what lies deeper stays under them."""


@attrs.frozen
class Line:
    """A line of text, with a status in it to colour.

    Attributes:
        text: without any codes.
        status: the status, or ``""``.
        at: where in `text` it stands.
    """

    text: str
    status: str = ""
    at: int = 0

    def painted(self, *, columns: int | None = None, is_coloured: bool = False) -> str:
        """Return the text, cut to `columns`, with the status in its colour."""
        text = self.text if columns is None else cut(self.text, columns)
        end = self.at + len(self.status)
        colour = _COLOURS.get(self.status)
        if not is_coloured or colour is None or end > len(text):
            return text
        return f"{text[: self.at]}\x1b[{colour}m{self.status}\x1b[0m{text[end:]}"


@attrs.frozen(kw_only=True)
class _Row:
    name: str
    status: str
    reason: str
    time: str
    message: str


def tree_lines(
    node: Mapping[str, Any], path: str, now: float, *, time_of: str, columns: int | None = None
) -> list[Line]:
    """Return a branch as aligned lines: name, status, reason, time, message.

    Args:
        node: as in ``/state``.
        path: of `node`.
        now: seconds since 1970.
        time_of: the instant whose distance is shown: ``observed_at`` or ``since``.
        columns: of a narrow screen, for which long names are cut; None = as many as it takes.
    """
    rows = list(_rows(node, path or "/", 0, now, time_of))
    names = min(max(width(row.name) for row in rows), _NAME_WIDTH)
    reasons = min(max(width(row.reason) for row in rows), _REASON_WIDTH)
    times = max(len(row.time) for row in rows)
    if columns is not None:
        room = columns - (len(_INDENT) * 3 + _STATUS_WIDTH + reasons + times)
        names = max(min(names, room), min(names, _LEAST_NAME_WIDTH))
    lines = []
    for row in rows:
        start = _padded(row.name if columns is None else cut(row.name, names), names) + _INDENT
        status = _padded(row.status, _STATUS_WIDTH)
        rest = f"{_padded(row.reason, reasons)}  {row.time:>{times}}  {row.message}"
        lines.append(Line(f"{start}{status}  {rest}".rstrip(), row.status, len(start)))
    return lines


def _rows(node: Mapping[str, Any], name: str, depth: int, now: float, time_of: str) -> Iterator[_Row]:
    status, reason = word(node.get("status")), word(node.get("reason"))
    message = word(node.get("message"))
    if node.get("counts") is False and status != "off":
        message = f"{message} (does not count)".strip()
    if node.get("restored") is True:
        message = f"{message} (from before the restart)".strip()
    moment = instant(node.get(time_of))
    yield _Row(
        name=_INDENT * min(depth, _DEPTH) + escape(name),
        status=status,
        reason="" if reason == status else reason,
        time=span(now - moment) if moment is not None else "",
        message=message,
    )
    for segment, child in node["children"].items():
        yield from _rows(child, segment, depth + 1, now, time_of)


def word(value: object) -> str:
    """Return what an upstream may have said as it can stand in a line; ``""`` for what is no text."""
    return escape(value) if isinstance(value, str) else ""


def instant(text: object) -> float | None:
    """Return the seconds since 1970 of a time as in ``/state``, or None for none."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def width(text: str) -> int:
    """Return the columns that `text` takes on a terminal."""
    return len(text) if text.isascii() else sum(_columns(char) for char in text)


def cut(text: str, columns: int) -> str:
    """Return `text`, with an ellipsis where it takes more than `columns`."""
    if width(text) <= columns:
        return text
    kept, room = [], max(columns - 1, 0)
    for char in text:
        room -= _columns(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + ("\N{HORIZONTAL ELLIPSIS}" if columns > 0 else "")


def has_colours(output: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether `output` is a terminal that shows colours, and nobody asked for none (https://no-color.org)."""
    return is_terminal(output, environ) and not environ.get("NO_COLOR")


def is_terminal(output: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether `output` is a terminal that understands escape sequences."""
    return output.isatty() and environ.get("TERM", "dumb") != "dumb"


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
