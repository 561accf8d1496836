"""Leaving values out of a relayed body, named by JSON pointers (RFC 6901)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from statusd import Json, ProbeError, parse_object
from statusd_plugins.json_pointer import EVERY, Pointer


def redacted(body: bytes, pointers: Iterable[str]) -> tuple[bytes, list[str]]:
    """Return `body` without what the `pointers` name, and those of them that name nothing in it.

    A member of an object goes; an item of an array becomes null, so that the others keep their places. The rest is
    encoded anew: white space and the spelling of numbers may differ, and of repeated names only the last is kept.

    Args:
        body: one JSON object.
        pointers: none of them to the whole document.

    Raises:
        ProbeError: ``bad_json``.
    """
    document = parse_object(body)
    parsed = {text: Pointer.parse(text) for text in pointers}
    # All are looked up first: of two overlapping pointers neither is without a match.
    unmatched = [text for text, pointer in parsed.items() if not pointer.find(document)]
    for pointer in parsed.values():
        *parents, last = pointer.tokens
        for holder in Pointer(tuple(parents)).find(document):
            _drop(holder, last)
    try:
        return msgspec.json.encode(document), unmatched
    except RecursionError:
        raise ProbeError("bad_json", "The body is JSON nested too deeply to be redacted.") from None


def _drop(holder: Json, token: str) -> None:
    if not Pointer((token,)).find(holder):
        return
    if isinstance(holder, dict):
        for name in list(holder) if token == EVERY else [token]:
            del holder[name]
    else:
        assert isinstance(holder, list)  # nothing else holds what a token can name
        for index in range(len(holder)) if token == EVERY else [int(token)]:
            holder[index] = None


def pointers_into_the_body(_instance: object, _attribute: object, texts: Iterable[str]) -> None:
    """Want JSON pointers, none of them to the whole document."""
    for text in texts:
        if not Pointer.parse(text).tokens:
            raise ValueError("holds the pointer to the whole body, which would leave nothing to relay")
