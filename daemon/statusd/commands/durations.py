"""Durations as people write them: ``90s``, ``15m``, ``2h``, ``3d``, ``1h30m``."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 3650 * 86_400.0
"""Seconds: ten years; more is a slip."""
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_FORM: Final = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")


def duration(text: str) -> float:
    """Return the seconds that `text` means.

    Raises:
        ValueError: with what is wrong and what is expected.
    """
    expected = "write such as 90s, 15m, 2h, 3d or 1h30m"
    match = _FORM.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        if re.fullmatch(r"[0-9]+", text.strip()):
            raise ValueError(f'"{text}" has no unit; {expected}')
        raise ValueError(f'"{text}" is no time span; {expected}')
    seconds = float(
        sum(int(number or 0) * size for number, size in zip(match.groups(), _UNITS.values(), strict=True))
    )
    if not 0 < seconds <= LONGEST:
        raise ValueError(f'"{text}" is not above zero and at most 3650d; {expected}')
    return seconds
