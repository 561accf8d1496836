"""Words that people read in more than one place: a status with its reason, a time span."""

from __future__ import annotations


def standing(status: str, reason: str) -> str:
    """Return such as ``down (refused)``; the reason is left out where it says no more than the status."""
    return f"{status}" if reason in {"", status} else f"{status} ({reason})"


def span(seconds: float) -> str:
    """Return a time span for people, as exact as its size wants; a negative one, of a clock set back, as none."""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
