"""How good an answer is, in standard header fields: ETag, Age, Cache-Control, Cache-Status."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

import attrs

from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node
from statusd.plugin.contracts import Document

NOT_OBSERVED: Final = "not_observed"
STALE: Final = "stale"
RESTORED: Final = "restored"
VIEW_FAILED: Final = "view_failed"

_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[!#-~\x80-\xff]*")')
_TAG_LIST: Final = re.compile(rf"[ \t,]*{_ENTITY_TAG.pattern}(?:[ \t]*,[ \t,]*{_ENTITY_TAG.pattern})*[ \t,]*")


def entity_tag(document: Document) -> str:
    """Return a strong entity tag (RFC 9110, section 8.8.3) for a document: it changes when what is sent does."""
    digest = blake2b(document.body, digest_size=12)
    digest.update(f"{document.status} {document.content_type}".encode())
    return f'"{digest.hexdigest()}"'


def revision_tag(revision: int) -> str:
    """Return the entity tag of a branch; a weak one, since times and measurements may differ under it."""
    return f'W/"{revision}"'


def is_match(field: str | None, tag: str) -> bool:
    """Whether ``If-None-Match`` names `tag`, by the weak comparison (RFC 9110, sections 8.8.3.2 and 13.1.2).

    Args:
        field: the field's value, None when there is none; an invalid one names nothing.
        tag: of the answer.
    """
    if field is None:
        return False
    if field.strip() == "*":
        return True
    if not _TAG_LIST.fullmatch(field):
        return False
    return tag.removeprefix("W/") in _ENTITY_TAG.findall(field)


@attrs.frozen(kw_only=True)
class Quality:
    """How good a document is, whenever somebody looks.

    Attributes:
        observed: when the oldest reading behind it was observed, in seconds since 1970; None before any.
        expires: when the first of these readings turns stale; None when none does.
        detail: why a default or stale value stands in, as far as the tree knows; else ``""``.
    """

    observed: float | None
    expires: float | None
    detail: str

    @classmethod
    def of(cls, snapshot: Snapshot, sources: Iterable[str], *, shows: str | None = None) -> Quality:
        """Return the quality of what is made of a snapshot.

        Args:
            snapshot: what it was made of.
            sources: the names of the sources behind it.
            shows: the branch of the tree that it shows, whose nodes may be older than the newest probes; None: none.
        """
        found = [snapshot.find(f"sources/{name}") for name in sources]
        nodes = [node for node in found if node is not None]
        observed = [node.observed_at for node in nodes if node.observed_at is not None]
        expiring = [node.expires_at for node in nodes if node.expires_at is not None]
        branch = None if shows is None else snapshot.find(shows)
        if branch is not None:
            observed += _observed(branch)
        detail = ""
        if not observed and any(node.status is not Status.OFF for node in nodes):
            detail = NOT_OBSERVED
        elif any(is_stale(node) for node in nodes):
            detail = STALE
        elif any(node.is_restored for node in nodes):
            detail = RESTORED
        return cls(observed=min(observed, default=None), expires=min(expiring, default=None), detail=detail)

    def fields(self, detail: str, now: float) -> dict[str, str]:
        """Return the header fields that say how old the document is, for how long it is good, and what stands in for what.

        Args:
            detail: why a default or stale value stands in, where the document itself says so; or ``""``.
            now: seconds since 1970.
        """
        status = ["statusd", "hit"]
        if self.expires is not None:
            # Negative once stale (RFC 9211, section 2.4).
            status.append(f"ttl={math.floor(self.expires - now)}")
        if detail := detail or self.detail:
            status.append(f"detail={detail}")
        age = 0 if self.observed is None else max(0, math.floor(now - self.observed))
        return {"age": str(age), "cache-control": "no-cache", "cache-status": "; ".join(status)}

    def until(self, now: float) -> float:
        """Return when `fields` says something else, in seconds since 1970; infinite when never.

        Args:
            now: seconds since 1970.
        """
        ends = [math.inf]
        if self.observed is not None:
            ends.append(self.observed + max(0, math.floor(now - self.observed)) + 1)
        if self.expires is not None:
            ends.append(self.expires - math.floor(self.expires - now))
        return min(ends)


def _observed(node: Node) -> Iterator[float]:
    """Yield when the nodes of a branch were observed; of a source's parts only where they may be older than it.

    They are while `fall` lets them stand although the newest probe failed.
    """
    if node.observed_at is not None:
        yield node.observed_at
    if node.basis is None or node.basis.tally is not None:
        for child in node.children.values():
            yield from _observed(child)


def is_stale(node: Node) -> bool:
    """Whether the newest reading of a source is past its lifetime, whatever else its node says."""
    return node.basis is not None and node.basis.newest.reason == STALE
