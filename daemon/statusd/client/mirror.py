"""A copy of the daemon's tree, kept by the updates of the event stream."""

from __future__ import annotations

from typing import Any

import attrs

from statusd.client.faults import ClientError
from statusd.client.updates import MAX_DEPTH, Disconnected, NodeChange, TreeChange, TreeSnapshot, Update


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
                self.node = _edited(self.node, self._edit(update))
                self.revision, self.is_connected = update.revision, True

    def find(self, path: str) -> dict[str, Any] | None:
        """Return the node at `path`, from the root of the whole tree, or None when it is not there."""
        inside = _inside(self.path, path)
        node = self.node
        for part in inside or ():
            node = node["children"].get(part) if node is not None else None
        return node if inside is not None else None

    def _edit(self, update: TreeChange) -> _Edit:
        edit = _Edit()
        for change in update.changes:
            inside = _inside(self.path, change.path)
            if inside is None or len(inside) > MAX_DEPTH:
                raise ClientError("bad_stream", "A change lies outside of the branch that is followed.")
            place = edit
            for part in inside:
                place = place.children.setdefault(part, _Edit())
            place.own = change
        return edit


@attrs.define(eq=False)
class _Edit:
    """One update in the shape of the tree: what changes a node itself, and what changes below it."""

    own: NodeChange | None = None
    children: dict[str, _Edit] = attrs.field(factory=dict)


def _edited(node: dict[str, Any] | None, edit: _Edit) -> dict[str, Any] | None:
    """Return a new node for `node`, or None when there is none any more; each mapping is copied once."""
    state = edit.own.node if edit.own is not None else node
    children = dict(node["children"]) if node is not None else {}
    for name, below in edit.children.items():
        child = _edited(children.get(name), below)
        if child is None:
            children.pop(name, None)
        elif state is None:
            raise ClientError("bad_stream", "A change has no node above it.")
        else:
            children[name] = child
    return {**state, "children": children} if state is not None else None


def _inside(base: str, path: str) -> tuple[str, ...] | None:
    """Return the segments of `path` below `base`, or None when it is somewhere else."""
    if path == base:
        return ()
    prefix = f"{base}/" if base else ""
    return tuple(path.removeprefix(prefix).split("/")) if path.startswith(prefix) else None
