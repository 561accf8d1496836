"""Leaving values out of a relayed body, named by JSON pointers (RFC 6901)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from statusd import ProbeError, parse_object

ANY: Final = "*"
"""A part of a pointer that stands for every member or item; an extension of RFC 6901, since reader ids vary."""
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def pointer(text: str) -> tuple[str, ...]:
    """Split a JSON pointer such as ``/status/live_readers/*/pids`` into its parts, unescaped.

    Raises:
        ValueError: when it is no pointer, or points at the whole document.
    """
    if not text.startswith("/"):
        raise ValueError(f'"{text}" is not a JSON pointer: it must begin with "/", as "/config" does')
    if re.search("~(?![01])", text):
        raise ValueError(f'"{text}" is not a JSON pointer: "~" is written "~0" (and "/" in a name "~1")')
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


def redacted(body: bytes, pointers: Iterable[str]) -> tuple[bytes, list[str]]:
    """Return `body` without what the `pointers` name, and those of them that name nothing in it.

    A member of an object goes; an item of an array becomes null, so that the others keep their places. The rest is
    encoded anew: white space and the spelling of numbers may differ, and of repeated names only the last is kept.

    Args:
        body: one JSON object.
        pointers: as `pointer` wants them.

    Raises:
        ProbeError: ``bad_json``.
    """
    document = parse_object(body)
    # All are looked up first: of two overlapping pointers neither is without a match.
    unmatched = [text for text in pointers if not _finds(document, pointer(text))]
    for text in pointers:
        _remove(document, pointer(text))
    try:
        return msgspec.json.encode(document), unmatched
    except RecursionError:
        raise ProbeError("bad_json", "The body is JSON nested too deeply to be redacted.") from None


def _finds(node: Any, parts: Sequence[str]) -> bool:
    return not parts or any(_finds(node[key], parts[1:]) for key in _matching(node, parts[0]))


def _remove(node: Any, parts: Sequence[str]) -> None:
    for key in _matching(node, parts[0]):
        if parts[1:]:
            _remove(node[key], parts[1:])
        elif isinstance(node, dict):
            del node[key]
        else:
            node[key] = None


def _matching(node: Any, part: str) -> Sequence[Any]:
    if isinstance(node, dict):
        return list(node) if part == ANY else [part] if part in node else []
    if isinstance(node, list):
        if part == ANY:
            return range(len(node))
        return [int(part)] if _INDEX.fullmatch(part) and int(part) < len(node) else []
    return []
