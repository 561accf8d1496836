"""Masking known secrets in text that leaves the process."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from statusd.values import MASK

SHORTEST: Final = 4
"""Characters below which a value is not masked: it would blank out ordinary words and protects nothing."""
RETIRED: Final = 1000
"""Values of former configurations that are still masked, so that keys that change every day fill no memory."""


class Redactor:
    """Replaces every known secret in a text by ``***``.

    Args:
        secrets: the values to mask, in every form in which they may appear.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._pattern: re.Pattern[str] | None = None
        self._known: tuple[str, ...] = ()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these `secrets`, too.

        Those known before stay masked: a configuration that is only tried may be turned down, what an earlier one
        started may still end, and a key that was replaced may still be good. Of them the `RETIRED` newest are kept.
        """
        new = dict.fromkeys(value for value in secrets if len(value) >= SHORTEST)
        retired = [value for value in self._known if value not in new][-RETIRED:]
        known = (*retired, *new)
        unchanged = set(known) == set(self._known)
        self._known = known
        if unchanged:  # as at most reloads: a pattern of a thousand values takes some 30 ms to compile
            return
        longest_first = sorted(known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

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
