"""Masking known secrets in text that leaves the process."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from statusd.values import MASK

SHORTEST: Final = 4
"""Characters below which a value is not masked: it would blank out ordinary words and protects nothing."""


class Redactor:
    """Replaces every known secret in a text by ``***``.

    Args:
        secrets: the values to mask, in every form in which they may appear.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these `secrets`, too."""
        self.know([*self._known, *secrets])

    def know(self, secrets: Iterable[str]) -> None:
        """Mask these `secrets`, and no others."""
        known = frozenset(value for value in secrets if len(value) >= SHORTEST)
        if known != self._known:
            longest_first = sorted(known, key=lambda value: (-len(value), value))
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if known else None
            self._known = known

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
