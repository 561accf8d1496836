"""What the event stream says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from statusd.client.faults import ClientError

MAX_DEPTH: Final = 100
"""Nodes one below the other; the daemon's trees have some ten."""

NodeJson: TypeAlias = Mapping[str, Any]
"""A node as ``/state`` shows it."""


def is_state(_owner: object, _field: object, node: Any) -> None:
    """Refuse what is no node, as a validator of attrs."""
    if not isinstance(node, Mapping) or not isinstance(node.get("status"), str):
        raise TypeError("no node")


def is_branch(_owner: object, _field: object, node: Any) -> None:
    """Refuse a node that is none somewhere below, as a validator: whoever walks it can rely on its shape."""
    _descend(node, MAX_DEPTH)


def _descend(node: Any, depth: int) -> None:
    is_state(None, None, node)
    children = node.get("children")
    if not isinstance(children, Mapping) or depth == 0:
        raise ValueError("no children, or too many levels of them")
    for child in children.values():
        _descend(child, depth - 1)


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
    node: NodeJson = attrs.field(validator=is_branch)


@attrs.frozen
class NodeChange:
    """A node that changed.

    Attributes:
        path: from the root of the whole tree.
        node: as in ``/state``, without children; None when the node has gone.
    """

    path: str
    node: NodeJson | None = attrs.field(validator=attrs.validators.optional(is_state))


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


def read_event(kind: str, data: str) -> TreeSnapshot | TreeChange | None:
    """Return an event of the stream as a value, or None for one of a kind that nobody knows yet.

    Raises:
        ClientError: ``bad_stream``.
    """
    try:
        match kind:
            case "snapshot":
                return msgspec.json.decode(data, type=TreeSnapshot)
            case "change":
                return msgspec.json.decode(data, type=TreeChange)
            case _:
                return None
    except (ValueError, RecursionError):
        raise ClientError(
            "bad_stream",
            f"An event of the stream is no {kind} of a tree: use a client of the daemon's own version.",
        ) from None
