"""Drains at work: said by an operator, kept on the disk, ended by the operator or by the clock."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from statusd.events import DRAINED, STATE_NOT_KEPT, UNDRAINED, event
from statusd.model.drains import LATEST, Drain
from statusd.model.snapshot import Snapshot
from statusd.plugin.context import Clock
from statusd.runtime.drain_file import DrainFile
from statusd.runtime.drainable import MOST_DRAINS, DrainError, place_of, shown, spellings

LOOK: Final = 30.0
"""Seconds after which the wall clock is looked at again in any case: it may have been set, and nobody tells; and after
which a list that could not be written is written again."""
MERGED: Final = 1.0
"""Seconds for the hub to take a list; it takes none any more when the daemon stops."""

Apply = Callable[[tuple[Drain, ...]], Awaitable[None]]
"""Has the tree show a list of drains, and no others; returns once it does."""

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Outcome:
    """What a change came to.

    Attributes:
        drain: the one that was made or ended.
        replaced: the one that stood at this path before, or None.
        before: the tree before.
        after: the tree with it.
        not_kept: why it does not outlive the process; ``""``: it does.
    """

    drain: Drain
    replaced: Drain | None = None
    before: Snapshot
    after: Snapshot
    not_kept: str = ""


class Drains:
    """The list of drains of a running daemon.

    Args:
        kept: what an earlier process left, as the tree shows it from the start.
        file: where it is kept.
        clock: the time.
        snapshot: returns the newest one.
        apply: has the tree show another list.
    """

    def __init__(
        self,
        kept: tuple[Drain, ...],
        *,
        file: DrainFile,
        clock: Clock,
        snapshot: Callable[[], Snapshot],
        apply: Apply,
    ) -> None:
        self._drains = {drain.path: drain for drain in kept}
        self._file = file
        self._clock = clock
        self._snapshot = snapshot
        self._apply = apply
        self._turn = trio.Lock()
        self._changed = trio.Event()
        self._is_kept = True

    @property
    def current(self) -> tuple[Drain, ...]:
        """Those that hold now, in the order of their making."""
        now = self._clock.now()
        return tuple(drain for drain in self._drains.values() if not drain.is_over(now))

    def is_there(self, drain: Drain) -> bool:
        """Tell whether the tree has such a node now; a drain waits for one that has gone."""
        return self._snapshot().find(drain.path) is not None

    async def drain(self, text: str, reason: str, seconds: float | None = None, *, by: str = "") -> Outcome:
        """Take a node out of service; return once that is on the disk and in the tree.

        Args:
            text: the path, as an operator writes it.
            reason: why, in the operator's words.
            seconds: after which it ends by itself, or None for never.
            by: who said so, for the log.

        Raises:
            DrainError: nothing was changed, and why.
        """
        async with self._turn:
            path = place_of(text, self._snapshot().root)
            made = _drain(path, reason, self._clock.now(), seconds)
            replaced = self._drains.get(path)
            if replaced is None and len(self._drains) >= MOST_DRAINS:
                raise DrainError(
                    "too_many", f"{MOST_DRAINS} places are drained, and no more can be: undrain some first."
                )
            others = {other: drain for other, drain in self._drains.items() if other != path}
            outcome = await self._change({**others, path: made}, made, replaced)
        log.warning(
            "%s drained: %s%s",
            shown(path),
            made.message(),
            f" ({by})" if by else "",
            extra=event(DRAINED, path=shown(path), text=made.reason, until=_text(made.until), by=by),
        )
        return outcome

    async def undrain(self, text: str, *, by: str = "") -> Outcome:
        """Put a node back into service; return once that is on the disk and in the tree.

        Args:
            text: the path, as an operator writes it; the node need not be there.
            by: who said so, for the log.

        Raises:
            DrainError: nothing is drained there.
        """
        async with self._turn:
            ended = next((self._drains[path] for path in spellings(text) if path in self._drains), None)
            if ended is None:
                raise DrainError("not_drained", f'"{text}" is not drained. {self._listed()}')
            left = {path: drain for path, drain in self._drains.items() if path != ended.path}
            outcome = await self._change(left, ended)
        self._log_end(ended, f"by an operator ({by})" if by else "by an operator", by)
        return outcome

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """End drains when their time has come, and keep what could not be kept, for ever."""
        task_status.started()
        while True:
            await self._expire()
            await self._keep()
            ends = [drain.until for drain in self._drains.values() if drain.until is not None]
            if not ends and self._is_kept:
                await self._changed.wait()
                continue
            with trio.move_on_after(min(LOOK, max(0.0, min(ends, default=math.inf) - self._clock.now()))):
                await self._changed.wait()

    async def _expire(self) -> None:
        async with self._turn:
            self._changed = trio.Event()
            now = self._clock.now()
            over = [drain for drain in self._drains.values() if drain.is_over(now)]
            if not over:
                return
            await self._change(
                {path: drain for path, drain in self._drains.items() if not drain.is_over(now)}, over[0]
            )
        for drain in over:
            self._log_end(drain, "its time is over")

    async def _keep(self) -> None:
        """Write the list where that could not be done: else an older one would come back with the next start."""
        async with self._turn:
            if self._is_kept:
                return
            try:
                await self._file.write(tuple(self._drains.values()))
            except OSError:
                return  # this was said when it began
            self._is_kept = True
        log.info("What is drained is kept in %s again.", self._file.path)

    async def _change(self, drains: dict[str, Drain], drain: Drain, replaced: Drain | None = None) -> Outcome:
        """Keep another list, and have the tree show it."""
        before, not_kept = self._snapshot(), ""
        # From here on it is carried through, also where who asked has gone: else the file and the tree could differ.
        with trio.CancelScope(shield=True):
            try:
                self._is_kept = False
                await self._file.write(tuple(drains.values()))
                self._is_kept = True
            except OSError as error:
                not_kept = f"{self._file.path} cannot be written ({error.strerror})"
                log.warning(
                    "%s: what is drained now is forgotten when statusd stops",
                    not_kept,
                    extra=event(STATE_NOT_KEPT, file=str(self._file.path)),
                )
            self._drains = drains
            self._changed.set()
            with trio.move_on_after(MERGED):
                await self._apply(tuple(drains.values()))
        if self._file.path is None:
            not_kept = "there is no $STATE_DIRECTORY"
        return Outcome(
            drain=drain, replaced=replaced, before=before, after=self._snapshot(), not_kept=not_kept
        )

    def _listed(self) -> str:
        named = [shown(path) for path in self._drains][:5]
        if not named:
            return "Nothing is."
        more = f" and {len(self._drains) - len(named)} more" if len(self._drains) > len(named) else ""
        return f"Drained: {', '.join(named)}{more}."

    def _log_end(self, drain: Drain, why: str, by: str = "") -> None:
        log.warning(
            "%s undrained: %s",
            shown(drain.path),
            why,
            extra=event(UNDRAINED, path=shown(drain.path), text=drain.reason, by=by),
        )


def _drain(path: str, reason: str, now: float, seconds: float | None) -> Drain:
    if seconds is not None and not (0 < seconds < math.inf and now + seconds <= LATEST):
        raise DrainError(
            "bad_duration", "The time for which to drain must be above zero, and end in this age."
        )
    try:
        return Drain(
            path=path, reason=reason.strip(), since=now, until=None if seconds is None else now + seconds
        )
    except ValueError as error:
        raise DrainError("bad_reason", f"{error}."[0].upper() + f"{error}."[1:]) from None


def _text(until: float | None) -> str:
    return "" if until is None else f"{until:.3f}"
