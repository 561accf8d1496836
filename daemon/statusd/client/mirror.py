"""A copy of the daemon's tree, kept by the updates of the event stream."""

from __future__ import annotations

from typing import Any

import attrs

from statusd.client.faults import ClientError
from statusd.client.updates import Disconnected, NodeChange, NodeJson, TreeChange, TreeSnapshot, Update


@attrs.define(eq=False)
class TreeMirror:
    """The tree, or the branch that is followed, as of the last update.

    What `node` gave once never changes: an update makes new mappings along the paths that it touches.

    Attributes:
        revision: of the last update; None before any.
        path: of the branch; ``""`` is the whole tree.
        node: in the shape of ``/state``; None before any update, and while the branch does not exist.
        is_connected: whether the stream was there at the last update.
    """

    revision: int | None = attrs.field(default=None, init=False)
    path: str = attrs.field(default="", init=False)
    node: dict[str, Any] | None = attrs.field(default=None, init=False)
    is_connected: bool = attrs.field(default=False, init=False)

    def apply(self, update: Update) -> None:
        """Take the next update.

        Raises:
            ClientError: ``bad_stream`` for a change that does not fit the tree; the tree stays as it was.
        """
        match update:
            case Disconnected():
                self.is_connected = False
            case TreeSnapshot():
                self.revision, self.path, self.node = update.revision, update.path, dict(update.node)
                self.is_connected = True
            case TreeChange():
                edit = _Edit(self.path, self.node)
                for change in update.changes:
                    edit.take(change)
                self.revision, self.node, self.is_connected = update.revision, edit.root, True

    def find(self, path: str) -> dict[str, Any] | None:
        """Return the node at `path`, from the root of the whole tree, or None when it is not there."""
        inside = _inside(self.path, path)
        node = self.node
        for part in inside or ():
            node = node["children"].get(part) if node is not None else None
        return node if inside is not None else None


def _inside(base: str, path: str) -> tuple[str, ...] | None:
    """Return the segments of `path` below `base`, or None when it is somewhere else."""
    if path == base:
        return ()
    prefix = f"{base}/" if base else ""
    return tuple(path.removeprefix(prefix).split("/")) if path.startswith(prefix) else None


@attrs.define(eq=False)
class _Edit:
    """One change of a tree, in which every mapping is copied at most once."""

    base: str
    root: dict[str, Any] | None
    _own: dict[int, dict[str, Any]] = attrs.field(factory=dict, init=False)

    def take(self, change: NodeChange) -> None:
        inside = _inside(self.base, change.path)
        if inside is None:
            raise ClientError("bad_stream", "A change lies outside of the branch that is followed.")
        if change.node is None:
            self._remove(inside)
        else:
            self._put(inside, change.node)

    def _remove(self, inside: tuple[str, ...]) -> None:
        if not inside:
            self.root = None
        elif (parent := self._writable(inside[:-1])) is not None:  # else it went with the node above it
            parent["children"].pop(inside[-1], None)

    def _put(self, inside: tuple[str, ...], state: NodeJson) -> None:
        known = self._writable(inside)
        if known is not None:
            children = known["children"]
            known.clear()
            known.update(state, children=children)
            return
        new = self._owned({**state, "children": {}})
        if not inside:
            self.root = new
            return
        parent = self._writable(inside[:-1])
        if parent is None:
            raise ClientError("bad_stream", "A change came before that of the node above it.")
        parent["children"][inside[-1]] = new

    def _writable(self, inside: tuple[str, ...]) -> dict[str, Any] | None:
        """Return this edit's own copy of the node at `inside`, or None when it is not there."""
        if self.root is None:
            return None
        node = self.root = self._copy(self.root)
        for part in inside:
            child = node["children"].get(part)
            if child is None:
                return None
            node["children"][part] = node = self._copy(child)
        return node

    def _copy(self, node: dict[str, Any]) -> dict[str, Any]:
        return node if id(node) in self._own else self._owned({**node, "children": dict(node["children"])})

    def _owned(self, node: dict[str, Any]) -> dict[str, Any]:
        self._own[id(node)] = node  # which keeps it, and its id, alive
        return node
