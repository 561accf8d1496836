"""What the conformance checks share: how a source under test is built, and how a finding is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn, TypeAlias

import trio

from statusd.plugin.context import Context
from statusd.plugin.contracts import Source
from statusd.testing.hostile import Call, Hanging, HostileContext

MakeSource: TypeAlias = Callable[[Context], Source]
"""Builds the source under test, configured as users would, around the given context."""

PATIENCE: Final = 5.0
"""Seconds after its timeout in which what was cancelled must have ended."""


def hostile_context(call: Call, models: Sequence[str], timeout: float = 2.0) -> HostileContext:
    """Return a context whose every call does what `call` does."""
    return HostileContext(call=call, models=tuple(models), timeout=timeout)


async def release_later(hanging: Hanging, delay: float) -> None:
    """Let what hangs go on after `delay` seconds, so that a source that cannot be cancelled ends all the same."""
    await trio.sleep(delay)
    hanging.release()


def fail(sentence: str) -> NoReturn:
    """Say what the plugin does wrong.

    Raises:
        AssertionError: always.
    """
    raise AssertionError(sentence)
