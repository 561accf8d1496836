"""How good an answer is, in standard header fields: ETag, Age, Cache-Control, Cache-Status."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node
from statusd.plugin.contracts import Document

NOT_OBSERVED: Final = "not_observed"
STALE: Final = "stale"
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


def quality_fields(
    snapshot: Snapshot, sources: Iterable[str], detail: str, now: float, *, shows: str | None = None
) -> dict[str, str]:
    """Return the fields that say how old an answer is, for how long it is good, and what stands in for what.

    Args:
        snapshot: what it was made of.
        sources: the names of the sources behind it.
        detail: why a default or stale value stands in, as far as that is known; or ``""``.
        now: seconds since 1970.
        shows: the branch of the tree that it shows, whose nodes may be older than the newest probes; None: none.
    """
    found = [snapshot.find(f"sources/{name}") for name in sources]
    nodes = [node for node in found if node is not None]
    observed = [node.observed_at for node in nodes if node.observed_at is not None]
    expiring = [node.expires_at for node in nodes if node.expires_at is not None]
    branch = None if shows is None else snapshot.find(shows)
    if branch is not None:
        observed += _observed(branch)
    if not detail and not observed and any(node.status is not Status.OFF for node in nodes):
        detail = NOT_OBSERVED
    if not detail and any(is_stale(node) for node in nodes):
        detail = STALE
    status = ["statusd", "hit"]
    if expiring:
        status.append(f"ttl={math.floor(min(expiring) - now)}")  # negative once stale (RFC 9211, section 2.4)
    if detail:
        status.append(f"detail={detail}")
    return {
        "Age": str(max(0, math.floor(now - min(observed)))) if observed else "0",
        "Cache-Control": "no-cache",
        "Cache-Status": "; ".join(status),
    }


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
