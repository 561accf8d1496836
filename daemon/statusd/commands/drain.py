"""`statusd drain`, `statusd undrain`, `statusd drains`: nodes out of service and back, by the control socket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from statusd.control.asking import ask
from statusd.control.results import as_list, as_outcome
from statusd.model.drains import REASON_SIZE
from statusd.systemd.escaping import escape
from statusd.wording import span, standing

USAGE: Final = frozenset({"bad_path", "bad_reason", "bad_duration", "not_drainable"})
"""Refusals that are the fault of how the command was written."""


def drain(path: str, reason: str, seconds: float | None, where: Path) -> Mapping[str, Any]:
    """Take the node at `path` out of service; return what became of it.

    Raises:
        ControlError: it was not done.
    """
    return as_outcome(ask(where, "drain", {"path": path, "reason": reason, "seconds": seconds}))


def undrain(path: str, where: Path) -> Mapping[str, Any]:
    """Put the node at `path` back into service; return what became of it.

    Raises:
        ControlError: it was not done.
    """
    return as_outcome(ask(where, "undrain", {"path": path}))


def drains(where: Path) -> list[Mapping[str, Any]]:
    """Return what is drained now.

    Raises:
        ControlError: the daemon does not say.
    """
    return as_list(ask(where, "drains"))


def reason_of(text: str) -> str:
    """Return the reason that `text` is.

    Raises:
        ValueError: with what is wrong.
    """
    if not text.strip() or not text.isprintable() or len(text) > REASON_SIZE:
        raise ValueError(f"a reason is one line of 1 to {REASON_SIZE} printable characters")
    return text.strip()


def drained_text(outcome: Mapping[str, Any], now: float) -> str:
    """Return for people what a drain has done, and what follows from it."""
    made = outcome["drain"]
    lines = [f"{escape(made['path'])} is drained{_end(made['until'], now)}: {escape(made['reason'])}"]
    if outcome["replaced"] is not None:
        lines.append(f"It was drained already: {escape(outcome['replaced']['reason'])}")
    path = made["path"].strip("/")
    lines.append(f"{escape(f'/readyz/{path}' if path else '/readyz')} answers 503 now.")
    lines += _consequences(outcome)
    return "\n".join(lines)


def undrained_text(outcome: Mapping[str, Any]) -> str:
    """Return for people what the end of a drain has done."""
    node, path = outcome["node"], escape(outcome["drain"]["path"])
    if node is None:
        lines = [f"{path} is no longer drained; there is no such node now."]
    else:
        lines = [f"{path} is no longer drained; it is {escape(standing(node['status'], node['reason']))}."]
    return "\n".join([*lines, *_consequences(outcome)])


def drains_text(found: list[Mapping[str, Any]], now: float) -> str:
    """Return the list for people."""
    if not found:
        return "Nothing is drained."
    return "\n".join(
        f"{escape(one['path'])}{_end(one['until'], now)}, for {span(now - one['since'])} already: {escape(one['reason'])}"
        + ("" if one["exists"] else " (there is no such node now)")
        for one in found
    )


def _end(until: float | None, now: float) -> str:
    if until is None:
        return " until it is undrained"
    end = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f" until {end}, for another {span(until - now)}"


def _consequences(outcome: Mapping[str, Any]) -> Iterator[str]:
    for one in outcome["models"]:
        name = escape(unquote(one["path"].removeprefix("models/")))
        before, after = one["before"], one["after"]
        how = escape(standing(after["status"], after["reason"]))
        if after["source"] is not None:
            if after["source"] != before["source"]:
                yield f"The model {name} is served by the source {escape(after['source'])} now."
        elif before["source"] is not None and not after["left"]:
            yield f"The model {name} has no source left: it is {how}."
        elif before["source"] is not None:
            yield f"The model {name} is not served any more: it is {how}."
        else:
            yield f"The model {name}, which nothing served before either, is {how}."
    if outcome["not_kept"]:
        yield f"It lasts until statusd stops: {escape(outcome['not_kept'])}."
