"""The state tree: immutable nodes, changed by path copying."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from statusd.model.basis import Basis
from statusd.model.report import Json, Payload
from statusd.model.status import Status

NO_CHILDREN: Final[Mapping[str, Node]] = MappingProxyType({})
NO_FACTS: Final[Mapping[str, Json]] = MappingProxyType({})
NO_MEASUREMENTS: Final[Mapping[str, float]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Node:
    """One place in the state tree.

    Attributes:
        status: how it is doing.
        reason: a lower_snake_case word for programs.
        message: one sentence for people.
        facts: the state the report carries.
        children: segment -> node, in the order to show them.
        counts: whether it takes part in its parent's rollup.
        source: the name of the source that says so; ``""`` for rollups and what the daemon says itself.
        rule: the rollup rule, such as ``"worst"``; ``""`` where the status is no rollup.
        decided_by: the children whose status it therefore is; for a model the names of such sources.
        measurements: noise; never part of the state.
        payload: bytes for views, of the newest finished probe; never part of the state.
        basis: what the status was made of, where that is one source's probes; never part of the state.
        observed_at: when the reading behind it was taken, in seconds since 1970, or None before any.
        expires_at: when that reading turns stale, in seconds since 1970, or None.
        is_restored: whether an earlier process took that reading; of a branch, any of those behind it.
        since: when `status` last changed, in seconds since 1970; set by `settle`.
        revision: the revision that last changed this node or one below it; set by `settle`.
    """

    status: Status
    reason: str = "ok"
    message: str = ""
    facts: Mapping[str, Json] = NO_FACTS
    children: Mapping[str, Node] = NO_CHILDREN
    counts: bool = True
    source: str = ""
    rule: str = ""
    decided_by: tuple[str, ...] = ()
    measurements: Mapping[str, float] = NO_MEASUREMENTS
    payload: Payload | None = None
    basis: Basis | None = None
    observed_at: float | None = None
    expires_at: float | None = None
    is_restored: bool = False
    since: float = 0.0
    revision: int = 0

    def same_state(self, other: Node) -> bool:
        """Whether both carry the same state, times, measurements and children left aside."""
        return (
            self.status is other.status
            and self.reason == other.reason
            and self.message == other.message
            and self.counts == other.counts
            and self.source == other.source
            and self.rule == other.rule
            and self.decided_by == other.decided_by
            and self.is_restored == other.is_restored
            and _same_json(self.facts, other.facts)
        )


def _same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same one; to Python ``1``, ``1.0`` and ``True`` are equal, to clients they are not."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_json, one, other))
    return type(one) is type(other) and bool(one == other)


@attrs.frozen(kw_only=True)
class Transition:
    """A node's change of status.

    Attributes:
        path: where, as in `find`.
        before: the status it had; None when the node is new.
        after: the status it has; None when the node went.
        reason: the reason it has now.
        message: the sentence it has now.
        at: when, in seconds since 1970.
        revision: the revision that brought it.
        counts: whether the node takes part in its parent's rollup.
    """

    path: str
    before: Status | None
    after: Status | None
    reason: str
    message: str
    at: float
    revision: int
    counts: bool = True


def segment(name: str) -> str:
    """Return `name` percent-encoded as one path segment (RFC 3986, unreserved characters stay).

    The names ``.`` and ``..`` are encoded whole, since clients and proxies resolve them away (section 5.2.4).
    """
    if name in {".", ".."}:
        return name.replace(".", "%2E")
    return urllib.parse.quote(name, safe="")


def join(*segments: str) -> str:
    """Return the path of already encoded `segments`; the root is ``""``."""
    return "/".join(part for part in segments if part)


def find(root: Node, path: str) -> Node | None:
    """Return the node at `path` (encoded segments joined by ``/``; ``""`` is the root), or None."""
    node = root
    for part in path.split("/") if path else ():
        child = node.children.get(part)
        if child is None:
            return None
        node = child
    return node


def graft(root: Node, path: str, node: Node) -> Node:
    """Return `root` with `node` at `path`; only the nodes on the path are copied, an absent place comes last.

    Raises:
        KeyError: when the parent of `path` does not exist.
    """
    if not path:
        return node
    head, _, rest = path.partition("/")
    child = graft(root.children[head], rest, node) if rest else node
    return attrs.evolve(root, children={**root.children, head: child})


def walk(root: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Yield (path, node) for `root` and everything below it, parents first."""
    yield path, root
    for name, child in root.children.items():
        yield from walk(child, join(path, name))


@attrs.frozen(kw_only=True)
class Settled:
    """What `settle` found.

    Attributes:
        root: the new tree, with `since` and `revision` set on every node.
        transitions: changes of status, parents after their children.
        nodes: path -> each node whose own state differs, parents first; None where it went.
    """

    root: Node
    transitions: tuple[Transition, ...]
    nodes: Mapping[str, Node | None]

    @property
    def is_change(self) -> bool:
        """Whether any state differs, which is what makes a new revision."""
        return bool(self.nodes)


@attrs.frozen
class Since:
    """How a node stood when it was last seen, by an earlier process.

    Attributes:
        status: its status.
        since: when that last changed, in seconds since 1970.
    """

    status: Status
    since: float


def settle(
    old: Node | None, new: Node, *, revision: int, now: float, known: Mapping[str, Since] | None = None
) -> Settled:
    """Compare a freshly built tree with the one before it and stamp what changed.

    Subtrees that are the same object are not visited, so the cost follows the changed paths.

    Args:
        old: the settled tree before, or None for the first one.
        new: the built tree; may share settled subtrees with `old`.
        revision: the revision to stamp on changed nodes.
        now: seconds since 1970.
        known: path -> how that node stood before there was an old tree; one that stands so still has done so since then.
    """
    comparison = _Comparison(revision, now, known or {})
    root, _ = comparison.settle(old, new, "")
    return Settled(root=root, transitions=tuple(comparison.transitions), nodes=comparison.nodes())


@attrs.define
class _Comparison:
    """One run of `settle`, and what it has found."""

    revision: int
    now: float
    known: Mapping[str, Since]
    transitions: list[Transition] = attrs.field(factory=list)
    _found: dict[str, Node | None] = attrs.field(factory=dict)  # children before their parents

    def nodes(self) -> dict[str, Node | None]:
        """Return the nodes that differ, parents first."""
        return dict(reversed(self._found.items()))

    def settle(self, old: Node | None, new: Node, path: str) -> tuple[Node, bool]:
        """Return the stamped node, and whether its state or one below it differs."""
        before = old.children if old is not None else NO_CHILDREN
        # Their order is no state: an upstream that lists its parts in another order each time has nothing new to say.
        is_change = old is None or before.keys() != new.children.keys()
        children = dict(new.children)
        for name, child in before.items():
            if name not in new.children:
                self._gone(child, join(path, name))
        for name, child in new.children.items():
            if child is not before.get(name):
                children[name], differs = self.settle(before.get(name), child, join(path, name))
                is_change = is_change or differs
        is_moved = old is None or old.status is not new.status
        if is_moved:
            self._note(path, old, new)
        differs = old is None or not old.same_state(new)
        is_change = is_change or differs
        stamped = attrs.evolve(
            new,
            children=children or NO_CHILDREN,
            since=self._since(path, old, new),
            revision=self.revision if old is None or is_change else old.revision,
        )
        if differs:
            self._found[path] = stamped
        return stamped, is_change

    def _since(self, path: str, old: Node | None, new: Node) -> float:
        if old is not None:
            return old.since if old.status is new.status else self.now
        before = self.known.get(path)
        return before.since if before is not None and before.status is new.status else self.now

    def _gone(self, node: Node, path: str) -> None:
        for name, child in node.children.items():
            self._gone(child, join(path, name))
        self._note(path, node, None)
        self._found[path] = None

    def _note(self, path: str, old: Node | None, new: Node | None) -> None:
        shown = new or old
        assert shown is not None
        self.transitions.append(
            Transition(
                path=path,
                before=old.status if old is not None else None,
                after=new.status if new is not None else None,
                reason=new.reason if new is not None else "",
                message=new.message if new is not None else "",
                at=self.now,
                revision=self.revision,
                counts=shown.counts,
            )
        )
