"""Snapshots: the whole tree at one revision, frozen; and what a revision brought."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from statusd.model.tree import Node, Transition, find


@attrs.frozen(kw_only=True)
class Snapshot:
    """The whole state tree at one revision; what views and sinks see.

    Attributes:
        root: the tree.
        revision: grows with each change of state, also over restarts (microseconds since 1970 at the first).
        version: grows with each snapshot, also when only times, measurements or payloads differ.
        at: when it was made, in seconds since 1970.
    """

    root: Node
    revision: int
    version: int
    at: float

    def find(self, path: str) -> Node | None:
        """Return the node at `path`, such as ``"sources/queue"``, or None."""
        return find(self.root, path)


@attrs.frozen(kw_only=True)
class Change:
    """What one revision brought.

    Attributes:
        snapshot: the tree after it.
        transitions: changes of status, parents after their children.
        nodes: path -> each node whose own state differs, its children left aside; parents first, None where it went.
    """

    snapshot: Snapshot
    transitions: tuple[Transition, ...] = ()
    nodes: Mapping[str, Node | None] = attrs.field(factory=dict)
