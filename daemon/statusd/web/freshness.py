"""Freshness on demand: which sources a request wants probed now, before it is answered."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import attrs

from statusd.model.snapshot import Snapshot
from statusd.plugin.context import SourceInfo

MOST_SOURCES: Final = 32
"""Sources behind a document beyond which nobody's request has them probed: one request must not cause a storm."""
TOO_MANY: Final = "too_many_sources"

Refresh: TypeAlias = Callable[[Collection[str]], Awaitable[None]]
"""Has sources probed now, once for all that ask meanwhile; returns when the tree shows what they found."""

# RFC 9111, section 5.2: each a token, with an argument as a token or in quotes. Only ever matched where one begins:
# a search for the next one would take quadratic time.
_DIRECTIVE: Final = re.compile(
    r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^ \t,"]*)))?[ \t]*(?:,|\Z)"""
)


def wanted_age(cache_control: str | None) -> float:
    """Return the greatest age in seconds that a request accepts; infinite where it does not care.

    Args:
        cache_control: the request's field, None when there is none (RFC 9111, section 5.2.1); what is no valid
            directive is ignored, as its section 5.2 says.
    """
    wanted = math.inf
    for name, seconds in _directives(cache_control or ""):
        if name == "no-cache":
            wanted = 0.0
        elif name == "max-age" and seconds.isascii() and seconds.isdigit():
            wanted = min(wanted, float(seconds[:12]))
    return wanted


def _directives(field: str) -> Iterator[tuple[str, str]]:
    """Yield the name, in lower case, and the argument of each directive; what is none ends at the next comma."""
    at = 0
    while at < len(field):
        found = _DIRECTIVE.match(field, at)
        if found is None:
            at = field.find(",", at) + 1 or len(field)
        else:
            at = found.end()
            yield found[1].lower(), found[2] or found[3] or ""


@attrs.frozen(kw_only=True)
class Freshness:
    """Decides what a request has probed, and waits for it.

    Attributes:
        sources: every configured source, by name.
        snapshot: returns the newest snapshot.
        refresh: probes.
    """

    sources: Mapping[str, SourceInfo]
    snapshot: Callable[[], Snapshot]
    refresh: Refresh
    has_ages: bool = attrs.field(init=False)
    """Whether a source has a `max_age`, so that requests may want probes without a word."""

    @has_ages.default
    def _any_age(self) -> bool:
        return any(source.max_age is not None for source in self.sources.values())

    async def serve(self, behind: Collection[str], cache_control: str | None, now: float) -> str:
        """Have the sources `behind` a document probed where the request or their configuration wants them fresher.

        Args:
            behind: names of sources.
            cache_control: the request's field.
            now: seconds since 1970.

        Returns:
            why they were not probed, for the answer's ``Cache-Status``; else ``""``.
        """
        outdated = self.outdated(behind, wanted_age(cache_control), now)
        if not outdated:
            return ""
        if len(behind) > MOST_SOURCES:
            return TOO_MANY
        await self.refresh(outdated)
        return ""

    def outdated(self, behind: Iterable[str], wanted: float, now: float) -> list[str]:
        """Return those of the sources `behind` that are older than wanted, by a request or by their own `max_age`.

        Args:
            behind: names of sources.
            wanted: seconds of age that the request accepts.
            now: seconds since 1970.
        """
        snapshot = self.snapshot()
        return [name for name in behind if self._is_outdated(name, snapshot, wanted, now)]

    def until(self, behind: Iterable[str], wanted: float) -> float:
        """Return the end of the time in which `outdated` finds none, by the same snapshot; infinite when it has none.

        Args:
            behind: names of sources, none of them outdated.
            wanted: seconds of age that the request accepts.

        Returns:
            seconds since 1970.
        """
        snapshot = self.snapshot()
        ends = [math.inf]
        for name in behind:
            node = snapshot.find(f"sources/{name}")
            if node is not None and node.observed_at is not None:
                ends.append(node.observed_at + self._accepted(name, wanted))
        return min(ends)

    def _accepted(self, name: str, wanted: float) -> float:
        info = self.sources.get(name)
        return wanted if info is None or info.max_age is None else min(wanted, info.max_age)

    def _is_outdated(self, name: str, snapshot: Snapshot, wanted: float, now: float) -> bool:
        wanted = self._accepted(name, wanted)
        if wanted == math.inf:
            return False
        node = snapshot.find(f"sources/{name}")
        if node is None or node.observed_at is None:
            return node is not None
        # What was observed in the future was so before somebody set the clock back: its age is not known.
        age = now - node.observed_at
        return wanted <= 0 or not 0 <= age <= wanted
