"""Rollups: rules that give a branch its status."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import attrs

from statusd.model.status import Status

T = TypeVar("T")

MAX_LEAST: Final = 10_000
"""The greatest n of ``at_least(n)``."""
_AT_LEAST: Final = re.compile(r"at_least\( *([0-9]{1,5}) *\)")


@attrs.frozen
class Rule:
    """How many children must be well: all of them, one, or a number; ``worst``, ``best`` or ``at_least(n)``.

    A branch has the status that this many of its children have or surpass; for `worst` that is the worst child's.

    Attributes:
        least: how many; 0 = all.
    """

    least: int = 0

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Return the rule that `text` names.

        Raises:
            ValueError: with what is wrong with `text` and what may stand there.
        """
        text = text.strip()
        if text in _BY_NAME:
            return _BY_NAME[text]
        match = _AT_LEAST.fullmatch(text)
        if match is None:
            raise ValueError('is no rule; expected "worst", "best" or "at_least(2)"')
        least = int(match[1])
        if not 1 <= least <= MAX_LEAST:
            raise ValueError(f"is out of range; expected at_least(1) to at_least({MAX_LEAST})")
        return cls(least)

    def __str__(self) -> str:
        return next((name for name, rule in _BY_NAME.items() if rule == self), f"at_least({self.least})")


WORST: Final = Rule(0)
BEST: Final = Rule(1)
_BY_NAME: Final[Mapping[str, Rule]] = {"worst": WORST, "best": BEST}


@attrs.frozen(kw_only=True)
class Verdict:
    """What a rule made of the statuses it was given.

    Attributes:
        status: of the whole.
        decided_by: places in the sequence of those whose status it is, in order; empty where too few count.
        lacking: how many children there are too few for the rule ever to be met.
    """

    status: Status
    decided_by: tuple[int, ...] = ()
    lacking: int = 0


def decide(rule: Rule, statuses: Sequence[Status]) -> Verdict:
    """Apply `rule`; `off` takes no part, and with nothing else the whole is `off`.

    Args:
        rule: the rule.
        statuses: of those that count.
    """
    ranked = sorted((status for status in statuses if status is not Status.OFF), key=lambda one: one.severity)
    if not ranked:
        return Verdict(status=Status.OFF)
    least = rule.least or len(ranked)
    if least > len(ranked):
        return Verdict(status=Status.DOWN, lacking=least - len(ranked))
    status = ranked[least - 1]
    return Verdict(
        status=status, decided_by=tuple(place for place, one in enumerate(statuses) if one is status)
    )
