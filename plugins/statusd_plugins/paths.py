"""Checks paths that the configuration appends to a URL."""

from __future__ import annotations


def plain_path(_instance: object, _attribute: object, path: str) -> None:
    """Want a path in printable ASCII, without query and fragment; empty is left to the key's own meaning."""
    if any(not "!" <= char <= "~" or char in "?#" for char in path):
        raise ValueError(
            'must be a path such as "/status": ASCII, percent-encoded, without spaces, "?" and "#"'
        )
