"""What a client asks: a question that has one answer."""

from __future__ import annotations

import math
from typing import Final, Generic, TypeVar

import attrs

from statusd.client.address import node_path
from statusd.client.answers import Explanation, TreeState, read_answer
from statusd.client.connection import Connection
from statusd.client.exchange import Exchange
from statusd.client.refusals import refusal

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of an answer."""
MAX_REFUSAL: Final = 64 * 1024
"""Bytes that are read of an answer that is not the wanted one."""

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Question(Generic[T]):
    """A question about one node.

    Attributes:
        kind: of the answer.
        endpoint: ``/state``, say.
        path: of the node, as a caller wrote it.
        query: the request's parameters.
        headers: the request's own.
        wait: seconds that the daemon may take on top of the client's timeout.
    """

    kind: type[T]
    endpoint: str
    path: str
    query: dict[str, str] = attrs.field(factory=dict)
    headers: list[tuple[str, str]]
    wait: float = 0.0


def about_state(
    path: str, *, since: int | None, wait: float | None, max_age: float | None, no_cache: bool
) -> Question[TreeState]:
    """Return the question for the tree or a branch.

    Raises:
        ValueError: for arguments that make no sense, as `about_explanation`.
    """
    query = {}
    if since is not None:
        if since < 0:
            raise ValueError(f"since must be a revision, 0 or more: {since}")
        query["since"] = str(since)
    if wait is not None:
        query["wait"] = str(_seconds(wait, "wait"))
    return Question(
        kind=TreeState,
        endpoint="/state",
        path=path,
        query=query,
        headers=_freshness(max_age, no_cache=no_cache),
        wait=wait or 0.0,
    )


def about_explanation(path: str, *, max_age: float | None, no_cache: bool) -> Question[Explanation]:
    """Return the question why a node has its status."""
    headers = _freshness(max_age, no_cache=no_cache)
    return Question(kind=Explanation, endpoint="/explain", path=path, headers=headers)


async def ask(question: Question[T], connection: Connection, timeout: float) -> T:
    """Return the answer to `question`, within `timeout` seconds from looking the name up to its last byte.

    Raises:
        ClientError: when there is none.
    """
    connection.until = connection.now() + timeout + question.wait
    inside = node_path(question.path)
    place = f"{question.endpoint}/{inside}" if inside else question.endpoint
    exchange = Exchange(connection)
    head = await exchange.open(
        connection.address.target(place, **question.query),
        [("Accept", "application/json"), *question.headers],
    )
    is_wanted = head.status == 200
    body = await exchange.body(MAX_BODY if is_wanted else MAX_REFUSAL)
    if not is_wanted:
        raise refusal(head, body, connection.address, question.endpoint, inside)
    return read_answer(question.kind, head, body, connection.address, question.endpoint)


def _freshness(max_age: float | None, *, no_cache: bool) -> list[tuple[str, str]]:
    """Return the ``Cache-Control`` that asks for an answer this fresh (RFC 9111, section 5.2.1)."""
    wanted = ["no-cache"] if no_cache else []
    if max_age is not None:
        wanted.append(f"max-age={int(_seconds(max_age, 'max_age'))}")
    return [("Cache-Control", ", ".join(wanted))] if wanted else []


def _seconds(value: float, name: str) -> float:
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be seconds, 0 or more: {value}")
    return value
