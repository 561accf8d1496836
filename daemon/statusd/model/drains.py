"""Drains: what an operator has taken out of service, and what that makes of a node."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import attrs

from statusd.model.report import Report
from statusd.model.status import Status
from statusd.model.tree import Node

DRAINED: Final = "drained"
"""The reason of a drained node, and the word that ``/models`` shows for a model that has no other source."""
REASON_SIZE: Final = 200
"""How many characters an operator may write."""
LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999, in seconds since 1970: later ones have no date that programs can read (RFC 3339)."""
_SHORT: Final = 3600.0
"""Seconds below which the second matters to those who wait for the end."""


def _printable(_: Drain, __: attrs.Attribute[str], reason: str) -> None:
    if not reason.strip() or not reason.isprintable() or len(reason) > REASON_SIZE:
        raise ValueError(f"a reason is made of 1 to {REASON_SIZE} printable characters, in one line")


def _dated(_: Drain, attribute: attrs.Attribute[Any], time: Any) -> None:
    if time is not None and not 0 <= time <= LATEST:
        raise ValueError(f"{attribute.name} is not within the years 1970 to 9999")


@attrs.frozen(kw_only=True)
class Drain:
    """A place in the tree that an operator has taken out of service.

    Attributes:
        path: as in `statusd.model.tree.find`; ``""`` is the whole tree.
        reason: why, in the operator's own words.
        since: when that was said, in seconds since 1970.
        until: when it ends by itself, in seconds since 1970, or None for never.

    Raises:
        ValueError: the reason is empty, too long or not printable, or a time is not within the years 1970 to 9999.
    """

    path: str
    reason: str = attrs.field(validator=_printable)
    since: float = attrs.field(validator=_dated)
    until: float | None = attrs.field(default=None, validator=_dated)

    def report(self) -> Report:
        """Return what the node says while this holds."""
        return Report.off(DRAINED, self.message(), label=DRAINED)

    def message(self) -> str:
        """Return the sentence for people."""
        text = self.reason.strip()
        if self.until is None:
            return f"Drained by an operator: {text if text[-1] in '.!?' else f'{text}.'}"
        seconds = "" if self.until - self.since >= _SHORT else ":%S"
        end = datetime.fromtimestamp(self.until, UTC).strftime(f"%Y-%m-%d %H:%M{seconds} UTC")
        return f"Drained by an operator: {text.rstrip('.')}; until {end}."

    def is_over(self, now: float) -> bool:
        """Tell whether it has ended by itself.

        Args:
            now: seconds since 1970.
        """
        return self.until is not None and self.until <= now


def is_drained(node: Node) -> bool:
    """Tell whether an operator is why `node` is off; a model may be so because all of its sources are."""
    if node.status is not Status.OFF or node.reason != DRAINED:
        return False
    return node.basis is None or node.basis.newest.reason != DRAINED  # a source may say so of itself


def drained_above(root: Node, path: str) -> str | None:
    """Return the highest path that is drained among `path` and those above it; None where none is."""
    node, parts = root, path.split("/") if path else []
    for depth, part in enumerate([*parts, ""]):
        if is_drained(node):
            return "/".join(parts[:depth])
        child = node.children.get(part)
        if child is None:
            return None
        node = child
    return None
