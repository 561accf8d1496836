"""The documents of ``/state``: the tree, or a branch of it, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from statusd.model.snapshot import Snapshot
from statusd.model.tree import Node
from statusd.plugin.contracts import Document


def render_state(snapshot: Snapshot, path: str) -> Document | None:
    """Return the document of the branch at `path`, or None when there is no such node.

    Args:
        snapshot: what to render.
        path: as in `Snapshot.find`; ``""`` is the whole tree.
    """
    node = snapshot.find(path)
    if node is None:
        return None
    return Document(body=_encode({"revision": snapshot.revision, "path": path, "node": _node(node)}))


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


def _node(node: Node) -> dict[str, Any]:
    return {
        "status": node.status.value,
        "reason": node.reason,
        "message": node.message,
        "since": timestamp(node.since),
        "observed_at": timestamp(node.observed_at),
        "facts": dict(node.facts),
        "children": {name: _node(child) for name, child in node.children.items()},
    }


def _encode(value: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except UnicodeEncodeError:
        # A lone surrogate, as in text cut by its author, has no UTF-8; JSON can still spell it as \udXXX.
        return json.dumps(value, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> object:
    """Return read-only mappings as what the encoders know; anything else as text rather than not at all."""
    return dict(value) if isinstance(value, Mapping) else str(value)
