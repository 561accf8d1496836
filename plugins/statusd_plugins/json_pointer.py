"""JSON Pointer (RFC 6901) with one addition: the token ``*`` stands for every element of a list or object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

import attrs

from statusd import Json

EVERY: Final = "*"
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_ESCAPED: Final = re.compile(r"(?:[^~]|~[01])*")


@attrs.frozen
class Pointer:
    """A pointer into a JSON document.

    Attributes:
        tokens: its reference tokens, unescaped; none = the whole document.
    """

    tokens: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Pointer:
        """Read a pointer such as ``/data/*/id``; ``""`` is the whole document.

        Raises:
            ValueError: with what is wrong (RFC 6901, section 3).
        """
        if not text:
            return cls()
        if not text.startswith("/"):
            raise ValueError(f'"{text}" is no JSON pointer: it must begin with "/"')
        if not _ESCAPED.fullmatch(text):
            raise ValueError(f'"{text}" is no JSON pointer: write "~" as "~0", and "/" within a name as "~1"')
        # "~01" is "~1" in the end, so ~1 has to go first (section 4).
        return cls(tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/")))

    def __str__(self) -> str:
        return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in self.tokens)

    def find(self, document: Json, most: int | None = None) -> list[Json]:
        """Return what it points at: nothing, one value, or with ``*`` any number, in the document's order.

        Args:
            document: where to look.
            most: as for `steps`.
        """
        found: list[Json] = [document]
        for found in self.steps(document, most):  # noqa: B007  # the last ones are meant
            pass
        return found

    def steps(self, document: Json, most: int | None = None) -> Iterator[list[Json]]:
        """Yield what each of its tokens leads to, the last one to what it points at.

        Args:
            document: where to look.
            most: values of each step that are kept; None = all.
        """
        found: list[Json] = [document]
        for token in self.tokens:
            inner = (one for value in found for one in _step(value, token))
            found = list(islice(inner, most))
            yield found


def _step(value: Json, token: str) -> list[Json]:
    if isinstance(value, dict):
        if token == EVERY:
            return list(value.values())
        return [value[token]] if token in value else []
    if isinstance(value, list):
        if token == EVERY:
            return value
        if _INDEX.fullmatch(token) and int(token) < len(value):
            return [value[int(token)]]
    return []


def a_pointer(_instance: object, _attribute: object, text: str | None) -> None:
    """Want a JSON pointer; a validator for `statusd.option`."""
    if text is not None:
        Pointer.parse(text)


def pointers(_instance: object, _attribute: object, table: dict[str, str]) -> None:
    """Want every value a JSON pointer; a validator for `statusd.option`."""
    for text in table.values():
        Pointer.parse(text)
