"""Garbage collection at a time of its own, since a full one looks at every object and holds up every answer meanwhile.

Python begins one whenever enough has been made that lives on: in a crowd of clients, every second or two, for a tenth of
a second, and finds nothing, since what a connection needs goes without it. So only young objects are looked at as they
are made; the old ones, where plugins may leave circles, once in a while.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final, NoReturn

import trio

YOUNG: Final = (2_000, 10)
"""Objects made after which the youngest are looked at, and times after which those that were left are."""
NEVER: Final = 1_000_000_000
PERIOD: Final = 60.0
"""Seconds between two full collections at least."""
SHARE: Final = 0.002
"""Of the time that full collections may take: with more to look at, they are rarer."""


def spare_answers() -> None:
    """Set aside all that is loaded by now, and have Python itself begin no full collection from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*YOUNG, NEVER)
    gc.enable()  # where the start did without


async def collect_for_ever(collect: Callable[[], object] = gc.collect) -> NoReturn:
    """Collect all garbage, again and again.

    Args:
        collect: does it.
    """
    took = 0.0
    while True:
        await trio.sleep(max(PERIOD, took / SHARE))
        began = time.perf_counter()
        collect()
        took = time.perf_counter() - began
