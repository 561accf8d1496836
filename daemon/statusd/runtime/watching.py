"""Watching: lets a source listen to its upstream, contains its faults, and begins again after a pause."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final, NoReturn

import attrs
import trio

from statusd.errors import ProbeError, only, place_of
from statusd.plugin.contracts import Source
from statusd.runtime.context import LISTENS, SourceLog

PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the next attempt; the last one stands for all further ones."""
STEADY: Final = 30.0
"""Seconds of listening after which the next failure is a new one."""
QUIET: Final = 600.0
"""Seconds after a line about a failure before which another is logged only if it is a new one."""


@attrs.define(eq=False, kw_only=True)
class Watcher:
    """Runs the `watch` of one source, for ever.

    Attributes:
        source: the source.
        changed: has it probed.
        log: the source's.
        chance: the randomness of pauses, so that all that listened to one server do not come back at once.
    """

    source: Source
    changed: Callable[[], None]
    log: SourceLog
    chance: random.Random = attrs.field(factory=random.Random)
    _failure: str = attrs.field(default="", init=False)
    _has_heard: bool = attrs.field(default=False, init=False)  # since it last began to listen
    _began: float = attrs.field(default=-math.inf, init=False)
    _told: float = attrs.field(default=-math.inf, init=False)  # when a failure was last logged

    @staticmethod
    def can_watch(source: Source) -> bool:
        """Whether `source` has anything to listen to."""
        return type(source).watch is not Source.watch

    async def run(self) -> NoReturn:
        """Listen; when that ends, pause and listen again."""
        attempts = 0
        LISTENS.set(True)
        while True:
            self._began, self._has_heard = trio.current_time(), False
            await self._listen()
            if self._has_heard:
                # The upstream may have gone, and nobody would say so before the next probe is due.
                self.changed()
            if self._is_steady():
                attempts = 0
            pause = PAUSES[min(attempts, len(PAUSES) - 1)]
            attempts += 1
            await trio.sleep(pause * self.chance.uniform(0.75, 1.25))

    def _is_steady(self) -> bool:
        return trio.current_time() - self._began >= STEADY

    async def _listen(self) -> None:
        try:
            await self.source.watch(self._heard)
        except BaseException as error:  # noqa: BLE001  # containment: a plugin may raise anything, or try to exit
            # The daemon's cancellation passes here, a plugin's own does not.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._failed(error)
        else:
            # A plugin's own scope may have swallowed the daemon's cancellation.
            await trio.lowlevel.checkpoint()
            self._note("ended", "its plugin has stopped listening; it is polled, and asked to listen again")

    def _heard(self) -> None:
        if not trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "changed() was called in another thread; hand it to the loop by trio.from_thread.run_sync."
            )
        self._has_heard = True
        if self._failure:
            self._failure = ""
            self.log.info("it listens for changes again")
        self.changed()

    def _failed(self, error: BaseException) -> None:
        cause = only(error)
        if isinstance(cause, ProbeError):
            self._note(
                cause.reason,
                f"it cannot listen for changes ({cause.reason}: {cause.message}); it is polled all the same",
            )
        else:
            kind = f"{type(cause).__qualname__} at {place_of(cause)}"
            self._note(kind, "its plugin raised while it listened; it is polled all the same", error)

    def _note(self, kind: str, message: str, error: BaseException | None = None) -> None:
        """Log a failure, unless it is the one that was logged last, or one of many within a short time."""
        now = trio.current_time()
        if kind != self._failure and (self._is_steady() or now - self._told >= QUIET):
            self._failure, self._told = kind, now
            level = self.log.error if error is not None else self.log.info
            level("%s", message, exc_info=error)
