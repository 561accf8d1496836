"""The answers of ``/state`` and ``/explain`` as values, and what every other answer means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from statusd.client.address import Address
from statusd.client.exchange import Head
from statusd.client.faults import ClientError, said
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
        raise _not_statusd(address, endpoint) from None


def refusal(head: Head, body: bytes, address: Address, endpoint: str, path: str) -> ClientError:
    """Return what an answer other than the wanted one means.

    Args:
        head: its beginning.
        body: its body, or the first part of it.
        address: who answered.
        endpoint: what was asked, such as ``/state``.
        path: of the node that was asked for; ``""`` is the root.
    """
    problem = _problem(head, body)
    status = head.status
    if status == 404 and path and problem.get("reason") == "not_found":
        return ClientError(
            "no_such_node", f'The tree of {address} has no node "{said(path)}": look at {address}/state.'
        )
    if status in {401, 403, 407}:
        return ClientError(
            "unauthorized",
            f"{address} answered {status}: put the credentials of the proxy before it into the URL.",
        )
    if 300 <= status < 400:
        target = said(head.headers.get("location", "")) or "an unnamed place"
        return ClientError("moved", f"{address} sends on to {target}: use that address instead.")
    if status >= 500:
        detail = problem.get("detail") or problem.get("title")
        why = f": {said(detail)}" if isinstance(detail, str) else ": it, or what it stands behind, is not up"
        return ClientError("unavailable", f"{address} answered {status}{why}; try again later.")
    if problem and status != 404:
        why = problem.get("detail") or problem.get("title") or "no reason given"
        return ClientError("rejected", f"{address} refused the request with {status}: {said(str(why))}")
    return _not_statusd(address, endpoint, status)


def _problem(head: Head, body: bytes) -> Mapping[str, Any]:
    if head.media_type != "application/problem+json":
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}


def _not_statusd(address: Address, endpoint: str, status: int = 200) -> ClientError:
    return ClientError(
        "not_statusd",
        f"{address} answered {endpoint} with {status} and nothing that statusd says: "
        "correct the address, or update what is older, the daemon or this client.",
    )
