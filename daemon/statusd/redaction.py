"""Masking known secrets in text that leaves the process."""

from __future__ import annotations

import re
import threading
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from os.path import commonprefix
from typing import Any, Final

import attrs

from statusd.values import MASK

SHORTEST: Final = 4
"""Characters below which a value is not masked: it would blank out ordinary words and protects nothing."""
RETIRED: Final = 1000
"""Values of former configurations that are still masked, so that keys that change every day fill no memory."""
BEGINNING: Final = 8
"""Characters of a value from which on its beginning is masked, too, where the rest was cut off."""
BARE: Final = 16
"""Likewise, where no ellipsis says that something was cut off: one may begin with what is a word elsewhere."""
_CUTS: Final = ("...", "\u2026")
_LONGEST: Final = 1000
"""Characters of a beginning that is looked for: nothing is cut to more, and what is hostile may have many of them."""
_SHARED: Final = 3
"""First characters by which values are told apart, fewer than `SHORTEST`: nobody waits while a thousand are tried in turn."""
_BREAKS: Final = re.compile("([\n\r\v\f\x1c-\x1e\x85\u2028\u2029])")
_NOTHING: Final = re.compile("(?!)")
_INDENT: Final = "[ |]*"
"""What the traceback of an exception group has before each line of an exception's text, after whatever ends a line."""


@attrs.frozen(eq=False)
class _Known:
    """What is masked at a time.

    Attributes:
        values: the secrets, the newest last.
        whole: matches any of them.
        beginnings: matches what they begin with: `BEGINNING` characters, or all where that is fewer.
        by_beginning: that -> those that begin with it, in order.
    """

    values: tuple[str, ...] = ()
    whole: re.Pattern[str] = _NOTHING
    beginnings: re.Pattern[str] = _NOTHING
    by_beginning: Mapping[str, Sequence[str]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, values: tuple[str, ...]) -> _Known:
        by_beginning: dict[str, list[str]] = {}
        for value in sorted(values):
            by_beginning.setdefault(value[:BEGINNING], []).append(value)
        return cls(values, _any_of(values), _any_of(by_beginning), by_beginning)


class Redactor:
    """Replaces every known secret in a text by ``***``.

    Args:
        secrets: the values to mask, in every form in which they may appear.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._learning = threading.Lock()
        self._known = _Known()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these `secrets`, too.

        Those known before stay masked: a configuration that is only tried may be turned down, what an earlier one
        started may still end, and a key that was replaced may still be good. Of them the `RETIRED` newest are kept.
        """
        new = dict.fromkeys(value for value in secrets if len(value) >= SHORTEST)
        # A reload that was given up, since its file system hangs, may learn what it reads at any time.
        with self._learning:
            before = self._known
            retired = [value for value in before.values if value not in new][-RETIRED:]
            values = (*retired, *new)
            # Nothing is to be compiled at most reloads.
            is_same = set(values) == set(before.values)
            self._known = attrs.evolve(before, values=values) if is_same else _Known.of(values)

    def __call__(self, text: str) -> str:
        """Return `text` with the secrets masked, and what is left of one at whose end the text was cut."""
        known = self._known
        # One pass is enough for nearly all: what holds no beginning of a secret holds none.
        if not known.values or known.beginnings.search(text) is None:
            return text
        return _without_cut_ones(known.whole.sub(MASK, text), known)

    def value(self, value: Any) -> Any:
        """Return a JSON value with the secrets in its strings and keys masked."""
        if not self._known.values:
            return value
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self(key): self.value(item) for key, item in value.items()}
        return value


def _without_cut_ones(text: str, known: _Known) -> str:
    """Mask the beginnings of secrets that end before an ellipsis, or where the text does: plugins cut what upstreams say."""
    pieces, at = [], 0
    for found in known.beginnings.finditer(text):
        start = found.start()
        end = start + _shared(text[start : start + _LONGEST], known.by_beginning.get(found[0], ()))
        is_cut = text.startswith(_CUTS, end) or (end == len(text) and end - start >= BARE)
        if start >= at and end > start and is_cut:
            pieces += [text[at:start], MASK]
            at = end
    return "".join([*pieces, text[at:]]) if pieces else text


def _shared(text: str, values: Sequence[str]) -> int:
    """Return how many characters `text` has in common with the one of `values`, in order, that is most like it."""
    place = bisect(values, text)  # on one side of which it must stand
    nearest = values[max(place - 1, 0) : place + 1]
    return max((len(commonprefix((text, value))) for value in nearest), default=0)  # noqa: RUF071  # of texts, not of paths


def _any_of(values: Iterable[str]) -> re.Pattern[str]:
    """Return what matches any of `values`, the longest where it could be several."""
    return re.compile(_alternatives(sorted(values, key=len, reverse=True)))


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
