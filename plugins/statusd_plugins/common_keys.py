"""Validators for keys that several plugins have: paths appended to a URL, sizes of bodies, names of sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from statusd import OptionError

MAX_BODY: Final = 16 << 20
"""Bytes; as much as a report's payload may have, and JSON that keeps the loop busy for some 50 ms."""


def plain_path(_instance: object, _attribute: object, path: str) -> None:
    """Want a path in printable ASCII, without query and fragment; empty is left to the key's own meaning."""
    if any(not "!" <= char <= "~" or char in "?#" for char in path):
        raise ValueError(
            'must be a path such as "/status": ASCII, percent-encoded, without spaces, "?" and "#"'
        )


def body_size(_instance: object, _attribute: object, size: int) -> None:
    """Want a number of bytes that the loop can bear."""
    if not 0 < size <= MAX_BODY:
        raise ValueError(f"must be from 1 to {MAX_BODY} bytes")


def expect_source(name: str, known: Sequence[str], plugin: str) -> None:
    """Want the key `source` of a view empty, or one of the `known` sources of `plugin`.

    Raises:
        OptionError: when it is another `name`.
    """
    if name and name not in known:
        names = ", ".join(f'"{one}"' for one in known)
        remedy = f"name one of {names}" if known else f'configure one with plugin = "{plugin}"'
        raise OptionError("source", f'"{name}" is no source of the plugin "{plugin}"; {remedy}')
