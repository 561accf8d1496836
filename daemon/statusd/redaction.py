"""Masking known secrets in text that leaves the process."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import Any, Final

from statusd.values import MASK

SHORTEST: Final = 4
"""Characters below which a value is not masked: it would blank out ordinary words and protects nothing."""
RETIRED: Final = 1000
"""Values of former configurations that are still masked, so that keys that change every day fill no memory."""
_SHARED: Final = 3
"""First characters by which values are told apart, fewer than `SHORTEST`: nobody waits while a thousand are tried in turn."""
_BREAKS: Final = re.compile("([\n\r\v\f\x1c-\x1e\x85\u2028\u2029])")
_INDENT: Final = "[ |]*"
"""What the traceback of an exception group has before each line of an exception's text, after whatever ends a line."""


class Redactor:
    """Replaces every known secret in a text by ``***``.

    Args:
        secrets: the values to mask, in every form in which they may appear.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._learning = threading.Lock()
        self._pattern: re.Pattern[str] | None = None
        self._known: tuple[str, ...] = ()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these `secrets`, too.

        Those known before stay masked: a configuration that is only tried may be turned down, what an earlier one
        started may still end, and a key that was replaced may still be good. Of them the `RETIRED` newest are kept.
        """
        new = dict.fromkeys(value for value in secrets if len(value) >= SHORTEST)
        with (
            self._learning
        ):  # a reload that was given up for its hanging file system may still learn what it read
            retired = [value for value in self._known if value not in new][-RETIRED:]
            known = (*retired, *new)
            if set(known) != set(self._known):  # else, as at most reloads, nothing is to be compiled
                longest_first = sorted(known, key=len, reverse=True)
                self._pattern = re.compile(_alternatives(longest_first))
            self._known = known  # last: what no pattern could be made of is not known

    def __call__(self, text: str) -> str:
        """Return `text` with the secrets masked."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def value(self, value: Any) -> Any:
        """Return a JSON value with the secrets in its strings and keys masked."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self(key): self.value(item) for key, item in value.items()}
        return value


def _alternatives(values: list[str], at: int = 0) -> str:
    """Return what matches the rest of any of `values`, the earlier one where it could be several; `at`: where that begins.

    Values that go on with the same character stand together, so that all others are passed over in one step.
    """
    if at == _SHARED or len(values) == 1:
        return "|".join(_literal(value[at:]) for value in values)
    following: dict[str, list[str]] = {}
    for value in values:
        following.setdefault(value[at], []).append(value)
    return "|".join(
        f"{_literal(char)}(?:{_alternatives(group, at + 1)})" for char, group in following.items()
    )


def _literal(text: str) -> str:
    return _BREAKS.sub(rf"\1{_INDENT}", re.escape(text))
