"""What `statusd watch` prints where there is no terminal: a line for each change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from statusd.client import Disconnected, NodeChange, TreeChange, TreeMirror, TreeSnapshot, Update
from statusd.commands.rendering import word
from statusd.wording import standing

_EVENTS: Final = {TreeSnapshot: "snapshot", TreeChange: "change", Disconnected: "disconnected"}


class JsonLines:
    """Writes each update as a JSON object on a line of its own.

    Args:
        output: where to.
    """

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def take(self, update: Update) -> None:
        """Write the next update."""
        self._output.write(json.dumps(as_json(update), separators=(",", ":")) + "\n")
        self._output.flush()


def as_json(update: Update) -> dict[str, Any]:
    """Return an update as a JSON object, whose ``event`` says which kind it is."""
    return {"event": _EVENTS[type(update)], **msgspec.to_builtins(update)}


class Lines:
    """Writes the state of every node once, and then a line for each node that changes.

    Args:
        output: where to.
    """

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._mirror = TreeMirror()

    def take(self, update: Update) -> None:
        """Write what the next update changes; a new snapshot shows only what differs from before."""
        before = dict(flat(self._mirror)) if isinstance(update, TreeSnapshot) else {}
        self._mirror.apply(update)
        match update:
            case Disconnected():
                self._write(f"disconnected: {word(update.message)}")
            case TreeSnapshot():
                after = dict(flat(self._mirror))
                self._changes(NodeChange(path, None) for path in before if path not in after)
                self._changes(
                    NodeChange(path, node)
                    for path, node in after.items()
                    if line(path, before.get(path)) != line(path, node)
                )
            case TreeChange():
                self._changes(update.changes)

    def _changes(self, changes: Iterator[NodeChange] | tuple[NodeChange, ...]) -> None:
        for change in changes:
            self._write(line(change.path, change.node))

    def _write(self, text: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._output.write(f"{now} {text}\n")
        self._output.flush()


def line(path: str, node: Mapping[str, Any] | None) -> str:
    """Return the state of a node in a line: ``sources/queue down (refused): The connection ...``."""
    name = word(path) or "/"
    if node is None:
        return f"{name} gone"
    status, reason, message = (word(node.get(key)) for key in ("status", "reason", "message"))
    return f"{name} {standing(status, reason)}{f': {message}' if message else ''}"


def flat(mirror: TreeMirror) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the nodes of `mirror` with their paths, parents first."""
    if mirror.node is not None:
        yield from _flat(mirror.node, mirror.path)


def _flat(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, node
    for name, child in node["children"].items():
        yield from _flat(child, f"{path}/{name}" if path else name)
