"""Text from strangers, made harmless for a log and a terminal."""

from __future__ import annotations

import unicodedata


def escape(text: str, *, keep_newlines: bool = False) -> str:
    r"""Return `text` with everything that is not shown written as ``\x1b``: no forged lines, no terminal codes.

    Args:
        text: what may come from a hostile upstream.
        keep_newlines: whether line feeds stay what they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or (keep_newlines and char == "\n") or unicodedata.category(char) == "Zs"
        else char.encode("unicode_escape").decode()
        for char in text
    )
