"""The keys that every source has, whatever its plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from statusd.plugin.options import option

MIN_INTERVAL: Final = 0.01
MAX_INTERVAL: Final = 86_400.0
"""Seconds; a day."""
MAX_TIMEOUT: Final = 3_600.0
"""Seconds; an hour."""
MAX_TTL: Final = 31 * 86_400.0
"""Seconds; a month."""
TTL_INTERVALS: Final = 3
"""Intervals that a report outlives when ``ttl`` is not set; a timeout comes on top."""
MAX_THRESHOLD: Final = 1_000
"""Probes in a row."""
MAX_AGE: Final = 86_400.0
"""Seconds; a day."""


def within(least: float, most: float) -> Callable[[object, object, float | None], None]:
    """Return a validator that wants None or a number of seconds from `least` to `most`."""

    def validate(_instance: object, _attribute: object, seconds: float | None) -> None:
        if seconds is not None and not least <= seconds <= most:
            raise ValueError(f"is out of range; expected {least:.10g} to {most:.10g} seconds")

    return validate


def _threshold(_instance: object, _attribute: object, probes: int) -> None:
    if not 1 <= probes <= MAX_THRESHOLD:
        raise ValueError(f"is out of range; expected 1 to {MAX_THRESHOLD} probes")


def _backend(_instance: object, _attribute: object, backend: str | None) -> None:
    if backend is not None and not (backend.strip() and backend.isprintable() and len(backend) <= 128):
        raise ValueError("is no name; write 1 to 128 printable characters, or remove the key")


@attrs.frozen(kw_only=True)
class CommonKeys:
    """What a source's table says about every kind of source; None where it says nothing."""

    interval: float | None = option(
        None,
        help="Seconds between two probes; 2 unless the plugin has a default of its own.",
        validator=within(MIN_INTERVAL, MAX_INTERVAL),
    )
    timeout: float = option(
        2.0, help="Seconds for the whole probe.", validator=within(MIN_INTERVAL, MAX_TIMEOUT)
    )
    ttl: float | None = option(
        None,
        help="Seconds that a report stays good, from when the next probe is due; 3 intervals and a timeout if not set.",
        validator=within(MIN_INTERVAL, MAX_TTL),
    )
    required: bool = option(True, help="Whether the source counts in the rollup of the whole tree.")
    rise: int = option(
        1, help="Good probes in a row after which what was bad counts as good.", validator=_threshold
    )
    fall: int = option(
        1, help="Bad probes in a row after which what was good counts as bad.", validator=_threshold
    )
    depends_on: tuple[str, ...] = option(
        (),
        help="Sources without which this one cannot work; while one is down, this one is `unknown`, reason `parent_down`.",
    )
    max_age: float | None = option(
        None,
        help="Seconds of age beyond which every request has the source probed, 0 = always; "
        "not set = only where a request asks for it.",
        validator=within(0, MAX_AGE),
    )
    backend: str | None = option(
        None, help="What `/models` calls this source; the plugin's name if not set.", validator=_backend
    )


COMMON_KEYS: Final = frozenset(attribute.name for attribute in attrs.fields(CommonKeys)) | {"plugin"}
"""The names that no plugin may give to a key of its own."""
