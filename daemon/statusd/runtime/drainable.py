"""Which places in the tree can be drained, and which of them an operator means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final
from urllib.parse import unquote

from statusd.errors import StatusdError
from statusd.model.tree import Node, find, join, segment, walk

MOST_DRAINS: Final = 1000
LONGEST_PATH: Final = 4096
WHOLE: Final = "/"
"""What an operator writes for the whole tree; nothing at all is more often a variable that is not set."""
_WINGS: Final = ("sources", "models")
_MODELS: Final = "models/"
_NEAR: Final = 5
_COMPARED: Final = 500
"""Paths among which near ones are looked for: it takes the event loop's time."""
_ROOM: Final = 1_000_000
"""What the lengths of all pairs of paths that are compared come to, multiplied: two of one letter take as long as that."""


class DrainError(StatusdError):
    """Raised when a drain is not made or not ended.

    Args:
        reason: a lower_snake_case word.
        message: what, where, the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def shown(path: str) -> str:
    """Return `path` as an operator writes it."""
    return path or WHOLE


def is_drainable(path: str) -> bool:
    """Tell whether something that can be drained may stand at `path`, in the form the tree has it in."""
    if not path:
        return True
    parts = path.split("/")
    if len(path) > LONGEST_PATH or any(not part or segment(unquote(part)) != part for part in parts):
        return False
    return parts[0] == "sources" or (parts[0] == "models" and len(parts) <= 2)


def place_of(text: str, root: Node) -> str:
    """Return the path that an operator means by `text`, of a node that is there and can be drained.

    Args:
        text: the path as `show` names it, or with segments that are not encoded; of a model, its id.
        root: the tree.

    Raises:
        DrainError: there is no such node, or it cannot be drained.
    """
    for path in spellings(text):
        if find(root, path) is not None:
            if not is_drainable(path):
                raise DrainError(
                    "not_drainable",
                    f'"{_quoted(text)}" cannot be drained: sources, their parts and models can, "sources", "models", and '
                    f'"{WHOLE}" for the whole tree.',
                )
            return path
    raise DrainError("no_such_node", f'There is no node "{_quoted(text)}". {_hint(text, root)}')


def spellings(text: str) -> tuple[str, ...]:
    """Return the paths that an operator may mean by `text`, the likelier one first.

    Raises:
        DrainError: it is no path at all.
    """
    if len(text) > LONGEST_PATH or not text.isprintable():
        raise DrainError("bad_path", f"A path is made of 1 to {LONGEST_PATH} printable characters.")
    stripped = text.strip().strip("/")
    if not stripped:
        if WHOLE in text:
            return ("",)
        raise DrainError("bad_path", f'The path is empty; write "{WHOLE}" for the whole tree.')
    canonical = join(*(segment(unquote(part)) for part in stripped.split("/")))
    if not canonical.startswith(_MODELS):
        return (canonical,)
    # Nothing stands below a model, so a slash after the first belongs to its id.
    return canonical, join("models", segment(unquote(stripped.removeprefix(_MODELS))))


def _hint(text: str, root: Node) -> str:
    wanted = spellings(text)[-1]
    near = _nearest(wanted, (path for path, _ in walk(root) if path and is_drainable(path)))
    if near:
        return f"Near it: {', '.join(near)}."
    named = ", ".join(islice(_tops(root), _NEAR))
    return f"There is: {named}, and more: `statusd show` lists all." if named else "The tree is empty."


def _nearest(wanted: str, paths: Iterator[str]) -> list[str]:
    wing = wanted.partition("/")[0]
    same = [path for path in paths if path.partition("/")[0] == wing or wing not in _WINGS]
    name = wanted.rpartition("/")[2]
    # The same name somewhere else first: "queue" for "sources/queue".
    homonyms = [path for path in same if path.rpartition("/")[2] == name]
    others = difflib.get_close_matches(wanted, list(_comparable(wanted, same)), _NEAR)
    return list(dict.fromkeys([*homonyms, *others]))[:_NEAR]


def _comparable(wanted: str, paths: Iterable[str]) -> Iterator[str]:
    """Yield as many of `paths` as there is time to compare with `wanted`: upstreams choose what parts are called."""
    room = _ROOM
    for path in islice(paths, _COMPARED):
        room -= len(path) * len(wanted)
        if room < 0:
            return
        yield path


def _tops(root: Node) -> Iterable[str]:
    for wing in _WINGS:
        node = root.children.get(wing)
        for name in node.children if node is not None else ():
            yield join(wing, name)


def _quoted(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
