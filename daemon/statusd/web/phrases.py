"""What ``/readyz`` and ``/explain`` say alike: statements, times and names in words, each on one line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from statusd.model.status import Status
from statusd.model.tree import Node
from statusd.web.bodies import timestamp
from statusd.wording import standing

LISTED: Final = 5
"""How many of several are named before the rest is only counted."""

# What breaks a line, moves the cursor, is not shown, or turns the text around: C0, C1, the line and paragraph
# separators, the bidirectional marks, overrides and isolates (UAX 9), surrogates.
_UNSEEN: Final = re.compile("[\0-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS: Final = re.compile(r"[\t\n\r]+")


def one_line(text: str) -> str:
    """Return an upstream's `text` as one line without control characters; what is replaced shows as U+FFFD."""
    return _UNSEEN.sub("\ufffd", _BREAKS.sub(" ", text)).strip()


def said(status: Status, reason: str, message: str) -> str:
    """Return such as ``down (refused): The server refused the connection.``, ending like a sentence."""
    text = one_line(message)
    whole = f"{standing(status, reason)}: {text}" if text else standing(status, reason)
    return whole if whole.endswith((".", "!", "?")) else f"{whole}."


def clock_time(moment: float | None, now: float) -> str:
    """Return a `moment` for people, to the second, with the date where that is not the one of `now`."""
    text, today = timestamp(moment), timestamp(now)
    if text is None:
        return "an unknown time"
    time = f"{text[11:19]} UTC"
    return time if today is not None and today[:10] == text[:10] else f"{text[:10]} {time}"


def name_of(segment: str) -> str:
    """Return the quoted name that a path segment encodes."""
    return f'"{one_line(unquote(segment))}"'


def listed(items: Iterable[str]) -> str:
    """Return `items` as an enumeration; of many, the first few and how many more there are."""
    every = list(items)
    rest = len(every) - LISTED
    shown = [*every[:LISTED], f"{rest} more"] if rest > 0 else every
    return " and ".join([*filter(None, [", ".join(shown[:-1])]), *shown[-1:]])


def plural(number: int, noun: str, several: str = "") -> str:
    """Return such as ``1 child`` or ``2 children``."""
    return f"{number} {noun if number == 1 else several or noun + 's'}"


def counting(node: Node) -> dict[str, Node]:
    """Return the children that take part in the rollup of `node`, those that are off among them."""
    # A place in a source's branch is no more than its parts, which count nowhere else.
    return {
        name: child for name, child in node.children.items() if node.rule and (child.counts or node.source)
    }
