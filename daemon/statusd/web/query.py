"""Query parameters: names and values, and what may stand in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import parse_qs

from statusd.errors import StatusdError
from statusd.plugin.contracts import Document, problem
from statusd.web.target import canonical

Query: TypeAlias = Mapping[str, Sequence[str]]

MOST_FIELDS: Final = 100
"""Parameters of one request; nobody means more."""
_REVISION: Final = re.compile(r"[0-9]{1,20}")
# However a program writes a float that is not negative: 59.99999999999999, 1e-05, 1.5e+300.
_SECONDS: Final = re.compile(r"[0-9]{1,400}(\.[0-9]{0,400})?([eE][+-]?[0-9]{1,3})?")


class QueryError(StatusdError):
    """Raised when a query parameter cannot be understood.

    Attributes:
        problem: the answer.
    """

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"The query parameter {name} is not {expected}.")
        self.problem: Document = problem(400, "Bad Request", "bad_query", str(self))


def query_of(raw: bytes) -> Query:
    """Return the parameters of a raw query string, each with its values.

    Raises:
        QueryError: too many.
    """
    try:
        return parse_qs(raw.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise QueryError("list", f"shorter than {MOST_FIELDS} parameters") from None


def revision_in(query: Query, name: str) -> int | None:
    """Return the revision that the parameter `name` holds; None when it is absent.

    Raises:
        QueryError: it holds something else.
    """
    if name not in query:
        return None
    text = query[name][-1]
    if not _REVISION.fullmatch(text):
        raise QueryError(name, "a revision, a decimal number")
    return int(text)


def seconds_in(query: Query, name: str, *, most: float) -> float:
    """Return the seconds that the parameter `name` holds, capped at `most`; 0 when it is absent.

    Raises:
        QueryError: it holds something else.
    """
    if name not in query:
        return 0.0
    text = query[name][-1]
    if not _SECONDS.fullmatch(text):
        raise QueryError(name, "a number of seconds")
    return min(float(text), most)


def branch_in(query: Query, name: str) -> str:
    """Return the branch of the tree that the parameter `name` holds, as the tree spells it; ``""`` when it is absent."""
    return branch_of(query[name][-1]) if name in query else ""


def branch_of(text: str) -> str:
    """Return a path in the tree, however its segments are percent-encoded and with a ``/`` in front or not."""
    return canonical(f"/{text.removeprefix('/')}")[1:]
