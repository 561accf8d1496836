"""Paths of the state tree, as a configuration names them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import attrs

from statusd.config.interpolate import Expanded
from statusd.config.wording import closest, expected, quoted, suggestion
from statusd.model.assembly import WINGS
from statusd.model.tree import join, segment
from statusd.plugin.validation import MAX_SEGMENTS

DAEMON_PARTS: Final = ("config", "drains", "listener", "log", "loop", "state", "tls")
"""What stands below ``daemon``."""
ROOT: Final = "/"
"""How a configuration names the whole tree, whose own path is ``""``."""

_ENCODED: Final = re.compile(r"(?!\.{1,2}$)(?:[A-Za-z0-9_.~-]|%[0-9A-Fa-f]{2})+")
_ESCAPES: Final = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})+")


def canonical(text: str) -> str:
    """Return the one path that `text` spells, as the tree has it; ``""`` for ``/``.

    Escapes in lower case, and such as stand for unreserved characters, are equivalent spellings (RFC 3986, section 6.2.2).

    Raises:
        ValueError: with what is wrong and the remedy, when a segment is empty or not percent-encoded.
    """
    if text == ROOT:
        return ""
    segments = text.split("/")
    if not any(segments):
        raise ValueError(f'is no path; write "{ROOT}" for the whole tree')
    if not all(segments):
        raise ValueError(f"has an empty segment; {_instead(text, join(*segments))}")
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed; write them percent-encoded")
    if not all(_ENCODED.fullmatch(one) for one in segments):
        raise ValueError(f"is not percent-encoded; {_instead(text, join(*map(_encoded, segments)))}")
    return join(*map(_normal, segments))


def _encoded(raw: str) -> str:
    """Return a segment that may have been written raw, in part or in whole, as it was probably meant."""
    return _normal(raw) if _ESCAPES.fullmatch(raw) else segment(raw)


def _normal(encoded: str) -> str:
    name = unquote_to_bytes(encoded)
    return segment(name.decode()) if name in {b".", b".."} else quote(name, safe="")


def _instead(text: str, better: str) -> str:
    """Return the remedy `better`, unless it might show what came from the environment or is a user's password."""
    is_showable = not isinstance(text, Expanded) and "@" not in text
    return f"write {quoted(better)}" if is_showable else "write it as /state shows it"


def _frozen(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(kw_only=True)
class Places:
    """What a configuration puts into the tree.

    Attributes:
        sources: the names of all sources.
        models: the ids of all models.
    """

    sources: frozenset[str] = attrs.field(converter=_frozen)
    models: frozenset[str] = attrs.field(converter=_frozen)
    _segments: frozenset[str] = attrs.field(init=False)

    @_segments.default
    def _encode_models(self) -> frozenset[str]:
        return frozenset(map(segment, self.models))

    def find(self, text: str) -> str:
        """Return the canonical path that `text` names.

        Below a source every path is taken: only its upstream knows its parts.

        Raises:
            ValueError: with what is wrong and the remedy, when nothing configured can stand there.
        """
        try:
            path = canonical(text)
            self._expect(path)
        except ValueError:
            model = text.removeprefix("models/")
            if model != text and model in self.models:
                raise ValueError(f'is written "{join("models", segment(model))}" in the tree') from None
            raise
        return path

    def find_branch(self, text: str) -> str:
        """Return the canonical path that `text` names, of a branch whose status is a rollup.

        Raises:
            ValueError: as `find`, and when what stands there has a status of its own.
        """
        path = self.find(text)
        wing, *rest = path.split("/")
        if rest and wing not in {"sources", "models"}:
            raise ValueError(f'has nothing below it that could be rolled up; remove it, or name "{wing}"')
        if wing == "sources" and len(rest) == 1:
            raise ValueError(
                'is decided by the report of the source itself; remove it, or name "sources" or a branch below it'
            )
        return path

    def _expect(self, path: str) -> None:
        """Want something at the canonical `path`."""
        wing, *rest = path.split("/")
        if wing not in WINGS and path:
            raise ValueError(f"begins with no branch of the tree; {self._whole(path)}")
        if not rest:
            return
        if wing == "sources" and len(rest) > 1 + MAX_SEGMENTS:
            raise ValueError(f"is too long; below a source are at most {MAX_SEGMENTS} segments")
        if wing != "sources" and len(rest) > 1:
            what = wing.removesuffix("s") if wing != "daemon" else "part of the daemon"
            raise ValueError(f"goes on below a {what}, where nothing is; cut it there")
        if wing == "sources" and rest[0] not in self.sources:
            none = "no source is configured; add a table [sources.<name>]"
            raise ValueError(f"names no source; {_nearest(wing, rest[0], self.sources, none)}")
        if wing == "models" and rest[0] not in self._segments:
            none = "no model is configured; add it to [models]"
            raise ValueError(f"names no model; {_nearest(wing, rest[0], self._segments, none)}")
        if wing == "daemon" and rest[0] not in DAEMON_PARTS:
            raise ValueError(f"names no part of the daemon; {_nearest(wing, rest[0], DAEMON_PARTS)}")

    def _whole(self, path: str) -> str:
        """Return the remedy for a `path` that begins in no wing: it may be a name without its wing."""
        if path in self._segments:
            return f'did you mean "{join("models", path)}"?'
        head = path.partition("/")[0]
        if head in self.sources:
            return f'did you mean "{join("sources", head)}"?'
        return suggestion(head, WINGS)


def _nearest(wing: str, name: str, known: Iterable[str], none: str = "remove it") -> str:
    """Return the remedy for an unknown `name` in a wing: the path of the closest of `known`, else of all."""
    known = tuple(known)
    if match := closest(name, known):
        return f'did you mean "{join(wing, match)}"?'
    return expected(known, f"{wing}/") if known else none
