"""What the event stream says, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeAlias

import attrs

from statusd.client.faults import ClientError

MAX_DEPTH: Final = 100
"""Nodes one below the other; the daemon's trees have some ten."""

NodeJson: TypeAlias = Mapping[str, Any]
"""A node as ``/state`` shows it."""


class ShapeError(ValueError):
    """Raised when what should be JSON of a documented shape is something else."""


@attrs.frozen(kw_only=True)
class TreeSnapshot:
    """The whole tree, or the whole branch that is followed; it replaces everything before it.

    Attributes:
        revision: of the branch.
        path: of the branch; ``""`` is the whole tree.
        node: as in ``/state``, with its children.
    """

    revision: int
    path: str
    node: NodeJson


@attrs.frozen
class NodeChange:
    """A node that changed.

    Attributes:
        path: from the root of the whole tree.
        node: as in ``/state``, without children; None when the node has gone.
    """

    path: str
    node: NodeJson | None


@attrs.frozen
class TreeChange:
    """What one revision changed.

    Attributes:
        revision: the new one.
        changes: every node whose own state changed, parents first.
    """

    revision: int
    changes: tuple[NodeChange, ...]


@attrs.frozen
class Disconnected:
    """The stream was lost, and is being opened again; what is known may be out of date until the next update.

    Attributes:
        message: one sentence for people: why.
    """

    message: str


Update: TypeAlias = TreeSnapshot | TreeChange | Disconnected


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises:
        ShapeError: when there is none.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ShapeError("no JSON, or nested too deeply") from None
    if not isinstance(value, dict):
        raise ShapeError("no object")
    return value


def read_snapshot(document: Mapping[str, Any]) -> TreeSnapshot:
    """Return a document of ``/state`` as a value.

    Raises:
        ShapeError: when it is none.
    """
    path = document.get("path")
    if not isinstance(path, str):
        raise ShapeError("no path")
    return TreeSnapshot(
        revision=_revision(document), path=path, node=_branch(document.get("node"), MAX_DEPTH)
    )


def read_change(document: Mapping[str, Any]) -> TreeChange:
    """Return the data of an ``event: change`` as a value.

    Raises:
        ShapeError: when it is none.
    """
    changes = document.get("changes")
    if not isinstance(changes, list):
        raise ShapeError("no changes")
    return TreeChange(_revision(document), tuple(_change(one) for one in changes))


def read_event(kind: str, data: str) -> TreeSnapshot | TreeChange | None:
    """Return an event of the stream as a value, or None for one of a kind that nobody knows yet.

    Raises:
        ClientError: ``bad_stream``.
    """
    try:
        match kind:
            case "snapshot":
                return read_snapshot(parse_object(data))
            case "change":
                return read_change(parse_object(data))
            case _:
                return None
    except ShapeError:
        raise ClientError(
            "bad_stream",
            f"An event of the stream is no {kind} of a tree: use a client of the daemon's own version.",
        ) from None


def _revision(document: Mapping[str, Any]) -> int:
    revision = document.get("revision")
    if not isinstance(revision, int) or isinstance(revision, bool):
        raise ShapeError("no revision")
    return revision


def _change(one: object) -> NodeChange:
    if not isinstance(one, dict) or not isinstance(one.get("path"), str) or "node" not in one:
        raise ShapeError("no change")
    node = one["node"]
    return NodeChange(one["path"], None if node is None else _state(node))


def _branch(node: object, depth: int) -> dict[str, Any]:
    """Return `node` after a look at it and all below it: what follows can then rely on the shape."""
    found = _state(node)
    children = found.get("children")
    if not isinstance(children, dict) or depth == 0:
        raise ShapeError("no children")
    for child in children.values():
        _branch(child, depth - 1)
    return found


def _state(node: object) -> dict[str, Any]:
    if not isinstance(node, dict) or not isinstance(node.get("status"), str):
        raise ShapeError("no node")
    return node


def _no_constant(name: str) -> NoReturn:
    raise ShapeError(f"{name} is not JSON")
