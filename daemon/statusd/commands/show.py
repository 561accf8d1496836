"""`statusd show`: the tree of a running daemon, or a branch of it."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from statusd.client import Client, ClientError, TreeState
from statusd.client.address import node_path
from statusd.commands.rendering import tree_lines
from statusd.commands.where import Where
from statusd.systemd.escaping import escape

SKEW: Final = 2.0
"""Seconds by which the daemon's clock, of which only whole seconds are known, may differ and count as the same."""
MOST_CLOSE: Final = 5
"""Similar paths to name where there is no such node."""
MOST_NAMES: Final = 12
"""Children to name where there is no similar path."""
T = TypeVar("T")


def show(path: str, where: Where) -> TreeState:
    """Return the branch at `path`.

    Raises:
        ClientError: with where the address is from; for a node that does not exist, with what there is near it.
    """
    return ask(path, where, lambda client: client.state(path))


def ask(path: str, where: Where, question: Callable[[Client], T]) -> T:
    """Return the answer to `question` about the node at `path`.

    Raises:
        ClientError: as `show`.
    """
    try:
        with where.client() as client:
            try:
                return question(client)
            except ClientError as error:
                if error.reason != "no_such_node":
                    raise
                raise no_such_node(path, client) from None
    except ClientError as error:
        raise where.blamed(error) from None


def as_json(state: TreeState) -> dict[str, Any]:
    """Return the document of ``/state``."""
    return {"revision": state.revision, "path": state.path, "node": state.node}


def as_text(state: TreeState, *, is_coloured: bool) -> str:
    """Return the branch for people, a line for each node."""
    lines = tree_lines(state.node, state.path, now_of(state), time_of="observed_at")
    return "\n".join(line.painted(is_coloured=is_coloured) for line in lines)


def now_of(state: TreeState) -> float:
    """Return the time by which to tell ages: this host's, or the daemon's where the two differ."""
    now, date = time.time(), state.quality.date
    return now if date is None or abs(now - date) <= SKEW else date


def no_such_node(path: str, client: Client) -> ClientError:
    """Return the error that says so, with what nodes there are near `path`."""
    try:
        root = client.state().node
    except ClientError as error:
        return error
    wanted = node_path(path)
    paths = list(_paths(root))
    if wanted in paths:
        return ClientError(
            "not_statusd", f'"{escape(path)}" is there, but the daemon knows no such question: update it.'
        )
    near = difflib.get_close_matches(wanted, paths, MOST_CLOSE)
    hint = f"Near it: {', '.join(map(escape, near))}." if near else _below(root, wanted)
    return ClientError("no_such_node", f'There is no node "{escape(path)}". {hint}')


def _below(root: Mapping[str, Any], wanted: str) -> str:
    """Return what there is below the deepest node on the way to `wanted`."""
    node, parts = root, []
    for part in wanted.split("/"):
        if part not in node["children"]:
            break
        node = node["children"][part]
        parts.append(part)
    names = [escape(name) for name in node["children"]]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    place = f"Below {escape('/'.join(parts))}" if parts else "In the tree"
    return f"{place} there {'is' if len(names) == 1 else 'are'}: {', '.join(names[:MOST_NAMES]) or 'none'}{more}."


def _paths(node: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, child in node["children"].items():
        inner = f"{path}/{name}" if path else name
        yield inner
        yield from _paths(child, inner)
