"""What an upstream wrote, cut to what the tree may show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from statusd import Json

MAX_TEXT: Final = 100
"""Characters of a text from the upstream in facts and messages."""
MAX_ITEMS: Final = 200
"""Entries of a list in facts."""


def printable(text: str) -> str:
    """Return `text` cut at `MAX_TEXT`, with U+FFFD for each control character.

    Left out, such a character would make two ids look alike that are not.
    """
    cut = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
    return "".join(char if char.isprintable() else "\ufffd" for char in cut)


def bounded(name: str, ids: Iterable[str]) -> dict[str, Json]:
    """Return `ids` as the fact `name`, sorted, and how many were left out as ``<name>_left_out``."""
    everything = sorted(set(ids))
    shown: list[Json] = [printable(model) for model in everything[:MAX_ITEMS]]
    left_out = len(everything) - len(shown)
    return {name: shown} | ({f"{name}_left_out": left_out} if left_out else {})
