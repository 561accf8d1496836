"""Waiting for a branch of the tree to change: nobody is woken for another one, and all are never woken at once."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import trio


@attrs.define(eq=False)
class _Branch:
    """Those who wait for one branch.

    Attributes:
        lot: their tasks.
        unchanged: the last revision before the one that changed it.
    """

    lot: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    unchanged: int = attrs.field(default=0, init=False)


@attrs.define(eq=False)
class Waiting:
    """The readers of a tree, as far as they wait.

    Readers go on one a pass of the event loop: a thousand at once would hold up every other request until the last
    of them is served. Each wakes the next one, also when it is cancelled at that moment.
    """

    # Only those that somebody waits for.
    _branches: dict[str, _Branch] = attrs.field(factory=dict, init=False)
    _woken: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _turns: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def change(self, path: str) -> int:
        """Return once the branch at `path` has changed from now on; the last revision up to which it had not."""
        branch = self._branches.setdefault(path, _Branch())
        try:
            await branch.lot.park()
        finally:
            if not branch.lot and self._branches.get(path) is branch:
                del self._branches[path]
            self._woken.unpark()
        return branch.unchanged

    async def turn(self) -> None:
        """Return when it is one's turn, among those who have something to send."""
        async with self._turns:
            pass

    def changed(self, paths: Iterable[str], revision: int) -> None:
        """Wake those who wait for a branch in which `revision` changed a node.

        Args:
            paths: of the nodes.
            revision: the newest.
        """
        if not self._branches:
            return
        around = {""}
        for path in paths:
            branch = path
            while branch not in around:
                around.add(branch)
                branch = branch.rpartition("/")[0]
        for path in around & self._branches.keys():
            self._wake(path, revision - 1)
        self._woken.unpark()

    def stir(self, revision: int) -> None:
        """Wake everybody, one after another; nothing has changed after `revision`."""
        for path in list(self._branches):
            self._wake(path, revision)
        self._woken.unpark()

    def end(self, revision: int) -> None:
        """Wake everybody at once; nothing has changed after `revision`."""
        for path in list(self._branches):
            self._wake(path, revision)
        self._woken.unpark_all()

    def _wake(self, path: str, unchanged: int) -> None:
        branch = self._branches.pop(path)
        branch.unchanged = unchanged
        branch.lot.repark_all(self._woken)
