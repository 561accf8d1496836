"""The file in which drains outlive the process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs
import msgspec
import trio

from statusd.events import STATE_SET_ASIDE, UNDRAINED, event
from statusd.files import read_at_most, set_aside, write_atomically
from statusd.model.drains import Drain
from statusd.model.report import Report
from statusd.runtime.drainable import LONGEST_PATH, MOST_DRAINS, is_drainable, shown

FILE: Final = "drains.json"
NODE: Final = "daemon/drains"
"""Where the tree shows how the file does."""
VERSION: Final = 1
LARGEST: Final = MOST_DRAINS * (LONGEST_PATH + 4096)
"""Bytes: what the most drains there may be come to, and more."""

log = logging.getLogger(__name__)


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str
    reason: str
    since: float
    until: float | None = None


class _Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    drains: list[_Entry]


@attrs.define(eq=False)
class DrainFile:
    """Keeps the list of drains.

    Attributes:
        path: the file; None: nothing is kept, and a restart ends every drain.
    """

    path: Path | None
    _lost: str = attrs.field(default="", init=False)

    @classmethod
    def under_systemd(cls, environ: Mapping[str, str]) -> DrainFile:
        """Return the one in ``$STATE_DIRECTORY`` (systemd.exec(5)), where there is such a directory."""
        first = environ.get("STATE_DIRECTORY", "").partition(":")[0]
        return cls(Path(first, FILE) if first else None)

    def read(self, now: float) -> tuple[Drain, ...]:
        """Return what was kept and still holds; a file that is damaged, or of another version, is set aside.

        It blocks: to be called before the daemon runs.

        Args:
            now: seconds since 1970.
        """
        if self.path is None:
            return ()
        try:
            data = read_at_most(self.path, LARGEST)
        except FileNotFoundError:
            return ()
        except OSError as error:
            self._set_aside(f"it cannot be read ({error.strerror})")
            return ()
        try:
            drains = _drains(data)
        except ValueError as error:
            self._set_aside(str(error))
            return ()
        left = tuple(drain for drain in drains if not drain.is_over(now))
        if len(left) < len(drains):
            self._forget([drain for drain in drains if drain.is_over(now)], left)
        return left

    def report(self) -> Report:
        """Return what to show of it: whether what was drained before this start still is."""
        if not self._lost:
            return Report.ok()
        return Report.degraded("state_set_aside", f"{self._lost} Drain again what should be.")

    def _forget(self, over: Sequence[Drain], left: Sequence[Drain]) -> None:
        assert self.path is not None
        for drain in over:
            text = "%s undrained: its time was over while statusd did not run"
            log.warning(
                text,
                shown(drain.path),
                extra=event(UNDRAINED, path=shown(drain.path), text=drain.reason),
            )
        with suppress(OSError):  # they stay over
            write_atomically(self.path, _content(left))

    async def write(self, drains: Sequence[Drain]) -> None:
        """Return once `drains` are on the disk; the loop goes on meanwhile.

        Raises:
            OSError: they are not.
        """
        if self.path is None:
            return
        # Not to be abandoned: one that goes on by itself could end after a later one, and put the older list back.
        await trio.to_thread.run_sync(write_atomically, self.path, _content(drains))

    def _set_aside(self, why: str) -> None:
        assert self.path is not None
        try:
            where = f"It is {set_aside(self.path)} now."
        except OSError as error:
            where = f"It cannot be renamed ({error.strerror}), and is replaced by the next drain."
        self._lost = f"{self.path} does not say what is drained: {why}. Nothing is. {where}"
        log.warning("%s", self._lost, extra=event(STATE_SET_ASIDE, file=str(self.path)))


def _content(drains: Sequence[Drain]) -> bytes:
    entries = [_Entry(path=one.path, reason=one.reason, since=one.since, until=one.until) for one in drains]
    return msgspec.json.format(msgspec.json.encode(_Content(version=VERSION, drains=entries))) + b"\n"


def _drains(data: bytes) -> tuple[Drain, ...]:
    """Return what a file of this version holds.

    Raises:
        ValueError: with what is wrong.
    """
    try:
        content = msgspec.json.decode(data, type=_Content)
    except msgspec.ValidationError as error:
        raise ValueError(f"its form is not the expected one ({error})") from None
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if content.version != VERSION:
        raise ValueError(f"it is of version {content.version}, and this release knows version {VERSION}")
    drains = {
        one.path: Drain(path=one.path, reason=one.reason, since=one.since, until=one.until)
        for one in content.drains
    }
    for path in drains:
        if not is_drainable(path):
            raise ValueError("it names a place that cannot be drained")
    if len(drains) > MOST_DRAINS:
        raise ValueError(f"it holds more than {MOST_DRAINS} drains")
    return tuple(drains.values())
