"""The answers of ``/state`` and ``/explain`` as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from statusd.client.address import Address
from statusd.client.exchange import Head
from statusd.client.faults import not_statusd
from statusd.client.quality import Quality, read_quality
from statusd.client.updates import NodeJson, is_branch

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class TreeState:
    """The tree or a branch of it, and how good the answer is.

    Attributes:
        revision: of the branch; what `since` takes.
        path: of the branch; ``""`` is the whole tree.
        node: as in ``/state``, with its children.
        quality: what the answer's header says about its freshness.
    """

    revision: int
    path: str
    node: NodeJson = attrs.field(validator=is_branch)
    quality: Quality

    @property
    def age(self) -> float | None:
        """Seconds since the oldest reading behind the answer was taken, or None when nobody says."""
        return self.quality.age

    @property
    def detail(self) -> str:
        """Why a default or a stale value stands in, such as ``stale`` or ``not_observed``; else ``""``."""
        return self.quality.detail

    @property
    def is_stale(self) -> bool:
        """Whether a reading behind the answer has outlived its lifetime."""
        return self.detail == "stale" or (self.quality.ttl is not None and self.quality.ttl < 0)


@attrs.frozen(kw_only=True)
class Explanation:
    """Why a node has its status, and what would change it.

    Attributes:
        revision: of the node.
        path: of the node.
        status: its status.
        reason: a word for programs.
        message: a sentence for people, or ``""``.
        because: sentences: what decided.
        would_change: sentences: what would change it.
        document: the whole answer, with the reading, thresholds, dependency and rollup.
        quality: what the answer's header says about its freshness.
    """

    revision: int
    path: str
    status: str
    reason: str
    message: str
    because: tuple[str, ...]
    would_change: tuple[str, ...]
    document: Mapping[str, Any]
    quality: Quality


def read_answer(kind: type[T], head: Head, body: bytes, address: Address, endpoint: str) -> T:
    """Return the answer of `endpoint` as a value.

    Raises:
        ClientError: ``not_statusd`` when it is none.
    """
    quality = attrs.asdict(read_quality(head.headers))
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
        return msgspec.convert({**document, "document": document, "quality": quality}, kind)
    except (ValueError, RecursionError):
        raise not_statusd(str(address), endpoint) from None
