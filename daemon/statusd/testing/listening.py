"""The conformance check of listening: what a source with a `watch` owes the daemon."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from statusd.errors import ProbeError
from statusd.plugin.contracts import Source
from statusd.testing.hostile import FAILURES, MOST_CALLS, Answering, Call, Failing, Hanging, garbage
from statusd.testing.rig import PATIENCE, MakeSource, fail, hostile_context, release_later

LISTENING: Final = 60.0
"""Seconds for which a source listens to an upstream that fails or talks garbage."""


async def check_watch(make_source: MakeSource, *, models: Sequence[str] = (), timeout: float = 2.0) -> None:
    """Want listening that ends when it is cancelled, fails as a ProbeError, pauses, and tells of changes in the loop.

    A source without a `watch` of its own passes. Run it under pytest-trio's ``autojump_clock``: it listens for long.

    Args:
        make_source: builds the source, configured.
        models: the ids it is configured to serve.
        timeout: seconds for a probe.

    Raises:
        AssertionError: with what the plugin does wrong.
    """
    hanging = Hanging()
    source = make_source(hostile_context(hanging, models, timeout))
    watch = type(source).watch
    if watch is Source.watch:
        return
    if inspect.isfunction(watch) and not inspect.iscoroutinefunction(watch):
        fail(
            f"{type(source).__name__}.watch() is plain, and would block the event loop; declare it by `async def`."
        )
    await _expect_to_end(source, hanging, timeout)
    calls: dict[str, Call] = {
        f"every call fails with {reason!r}": Failing(ProbeError(reason, message))
        for reason, message in FAILURES.items()
    }
    for kind, answer in garbage().items():
        calls[f"the upstream answers garbage ({kind})"] = Answering(answer)
    for when, call in calls.items():
        await _expect_to_fail_well(make_source(hostile_context(call, models, timeout)), call, when)


@attrs.define
class _Ear:
    """Takes `changed`, and notes who calls it."""

    thread: int = attrs.field(factory=threading.get_ident)
    is_elsewhere: bool = False

    def changed(self) -> None:
        self.is_elsewhere = self.is_elsewhere or threading.get_ident() != self.thread


async def _expect_to_end(source: Source, hanging: Hanging, timeout: float) -> None:
    name = type(source).__name__
    async with trio.open_nursery() as nursery:
        nursery.start_soon(release_later, hanging, timeout + PATIENCE)
        with trio.move_on_after(timeout) as scope:
            await _listen(source, _Ear(), "every call hangs")
        nursery.cancel_scope.cancel()
    if not hanging.count:
        return  # it waits for nothing that the context could withhold
    if hanging.is_released:
        fail(
            f"{name}.watch() ignores cancellation: it was still waiting {PATIENCE:g} s after; do not shield it."
        )
    if scope.cancel_called and not scope.cancelled_caught:
        fail(f"{name}.watch() swallows trio.Cancelled; catch Exception or ProbeError, never BaseException.")


async def _expect_to_fail_well(source: Source, call: Call, when: str) -> None:
    name, ear = type(source).__name__, _Ear()
    with trio.move_on_after(LISTENING):
        await _listen(source, ear, when)
    if call.count > MOST_CALLS:
        fail(
            f"{name}.watch() asks again and again without a pause when {when}; raise ProbeError, and the daemon pauses."
        )
    if ear.is_elsewhere:
        fail(
            f"{name}.watch() calls changed() in another thread; hand it to the loop by trio.from_thread.run_sync."
        )


async def _listen(source: Source, ear: _Ear, when: str) -> None:
    try:
        await source.watch(ear.changed)
    except ProbeError:
        pass
    except Exception as error:  # noqa: BLE001  # containment: whatever the plugin raises is the finding
        name, kind = type(source).__name__, type(error).__name__
        fail(f"{name}.watch() raises {kind} when {when}; translate what it may raise into ProbeError.")
