"""The JSON bodies that show the tree: what is sent, and what ``/openapi.json`` describes, are these types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node

Revision: TypeAlias = Annotated[
    int, Meta(ge=0, description="Grows with each change of state, also over restarts.")
]
Path: TypeAlias = Annotated[
    str, Meta(description='Percent-encoded segments joined by "/"; "" is the whole tree.')
]
Word: TypeAlias = Annotated[
    str, Meta(pattern="^[a-z][a-z0-9_]*$", description="A lower_snake_case word for programs.")
]
Instant: TypeAlias = Annotated[
    str, Meta(description="RFC 3339, UTC.", extra_json_schema={"format": "date-time"})
]


class HealthBody(msgspec.Struct, frozen=True, kw_only=True):
    """``/health``: that the process answers."""

    status: Literal["ok"]


class RollupBody(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that gives a branch its status.

    Attributes:
        rule: ``worst``, ``best`` or ``at_least(n)``.
        decided_by: the children whose status it therefore is; for a model, sources.
    """

    rule: Annotated[str, Meta(pattern=r"^(worst|best|at_least\([0-9]+\))$")]
    decided_by: tuple[str, ...]


class NodeBody(msgspec.Struct, frozen=True, kw_only=True):
    """One node, without its children.

    Attributes:
        status, reason, message: how it is doing.
        since: when the status last changed.
        observed_at: when the reading behind it was taken; of a branch, the oldest.
        expires_at: when that reading turns stale; of a branch, the first.
        source: the name of the source that says so.
        counts: whether it takes part in the rollup of its parent.
        restored: whether it stands as an earlier run left it, until its source has reported; of a branch, any of it.
        rollup: where the status is one.
        facts: the state that goes with it.
    """

    status: Status
    reason: Word
    message: str
    since: Instant | None
    observed_at: Instant | None
    expires_at: Instant | None
    source: str | None
    counts: bool
    restored: bool
    rollup: RollupBody | None
    facts: dict[str, Any]


class TreeBody(NodeBody, frozen=True, kw_only=True):
    """One node, with all below it.

    Attributes:
        children: by segment, in the order to show them.
    """

    children: dict[str, TreeBody]


class StateBody(msgspec.Struct, frozen=True, kw_only=True):
    """``/state``: the tree, or a branch of it.

    Attributes:
        revision: the one that last changed the state of this branch.
        path: the branch.
        node: what is there.
    """

    revision: Revision
    path: Path
    node: TreeBody


class ChangedNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node that a revision changed.

    Attributes:
        path: from the root.
        node: what it is now; null: it has gone.
    """

    path: Path
    node: NodeBody | None


class ChangeBody(msgspec.Struct, frozen=True, kw_only=True):
    """The data of ``event: change``: all that one revision changed, parents first."""

    revision: Revision
    changes: tuple[ChangedNode, ...]


def node_body(node: Node) -> NodeBody:
    """Return `node` without its children."""
    return NodeBody(**_fields(node))


def tree_body(node: Node) -> TreeBody:
    """Return `node` with all below it."""
    children = {name: tree_body(child) for name, child in node.children.items()}
    return TreeBody(**_fields(node), children=children)


def state_body(snapshot: Snapshot, path: str) -> StateBody | None:
    """Return the branch at `path`; None when there is no such node."""
    node = snapshot.find(path)
    return None if node is None else StateBody(revision=node.revision, path=path, node=tree_body(node))


def changed_node(path: str, node: Node | None) -> ChangedNode:
    """Return what the node at `path` has become; None: it has gone."""
    return ChangedNode(path=path, node=None if node is None else node_body(node))


def _fields(node: Node) -> dict[str, Any]:
    return {
        "status": node.status,
        "reason": node.reason,
        "message": node.message,
        "since": timestamp(node.since),
        "observed_at": timestamp(node.observed_at),
        "expires_at": timestamp(node.expires_at),
        "source": node.source or None,
        "counts": node.counts,
        "restored": node.is_restored,
        "rollup": RollupBody(rule=node.rule, decided_by=node.decided_by) if node.rule else None,
        "facts": dict(node.facts),
    }


def timestamp(seconds: float | None) -> str | None:
    """Return an instant as RFC 3339 in UTC with milliseconds; None for none, and for what is no date.

    Args:
        seconds: since 1970.
    """
    if not seconds or not math.isfinite(seconds):
        return None
    try:
        # Rounded first: isoformat cuts, and binary fractions lie just below the millisecond they stand for.
        moment = datetime.fromtimestamp(round(seconds, 3), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(body: object) -> bytes:
    """Return `body`, one of the types above, as JSON."""
    try:
        return msgspec.json.encode(body, enc_hook=_plain)
    except UnicodeEncodeError:
        # A lone surrogate, as in text cut by its author, has no UTF-8; JSON can still spell it as \udXXX.
        plain = msgspec.to_builtins(body, enc_hook=_plain)
        return json.dumps(plain, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> object:
    """Return read-only mappings as what the encoders know; anything else as text rather than not at all."""
    return dict(value) if isinstance(value, Mapping) else str(value)
