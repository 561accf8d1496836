"""The feed: what each revision changed, kept for a while, so that readers at any pace miss nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

import attrs
import trio

from statusd.model.snapshot import Change, Snapshot
from statusd.model.tree import Node

CHANGES: Final = 1024
"""Revisions that are kept."""
NODES: Final = 20_000
"""Changed nodes that are kept in all: one revision may change thousands."""


@attrs.frozen
class Entry:
    """What one revision changed.

    Attributes:
        revision: the revision.
        nodes: path -> each node that differs, parents first; None where it went.
    """

    revision: int
    nodes: Mapping[str, Node | None]

    def below(self, path: str) -> Mapping[str, Node | None]:
        """Return what of it lies in the branch at `path`."""
        if not path:
            return self.nodes
        inside = f"{path}/"
        return {one: node for one, node in self.nodes.items() if one == path or one.startswith(inside)}


class Feed:
    """A ring of the newest changes; readers keep their own place in it.

    Nothing is queued for a reader, so a slow one costs no memory: when the ring has moved on, it starts anew.

    Args:
        snapshot: returns the newest snapshot.
        changes: revisions to keep.
        nodes: changed nodes to keep in all.
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot], *, changes: int = CHANGES, nodes: int = NODES
    ) -> None:
        self._snapshot = snapshot
        self.readers = 0
        """Event streams that are open."""
        self.is_closed = False
        """Whether the daemon is stopping, so that nobody is to wait any more."""
        self._most_changes = changes
        self._most_nodes = nodes
        self._ring: deque[Entry] = deque()
        self._nodes = 0
        self._news = trio.Event()

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot()

    def take(self, change: Change) -> None:
        """Take what a revision brings, and wake whoever waits; a listener of the hub."""
        self._ring.append(Entry(change.snapshot.revision, change.nodes))
        self._nodes += len(change.nodes)
        while len(self._ring) > self._most_changes or self._nodes > self._most_nodes:
            self._nodes -= len(self._ring.popleft().nodes)
        self._wake()

    def close(self) -> None:
        """Let every reader end."""
        self.is_closed = True
        self._wake()

    def after(self, revision: int) -> Iterator[Entry] | None:
        """Return what changed after `revision`, oldest first; None when that is not known any more, or was never.

        Args:
            revision: the newest that the reader knows.
        """
        missing = self.snapshot.revision - revision
        if not 0 <= missing <= len(self._ring):
            return None
        return islice(self._ring, len(self._ring) - missing, None)

    async def news(self, revision: int) -> None:
        """Return once there is a newer revision than `revision`, or the feed is closed."""
        while self.snapshot.revision <= revision and not self.is_closed:
            await self._news.wait()

    async def change_of(self, path: str, revision: int) -> None:
        """Return once the branch at `path` has changed since `revision`; at once when nobody can tell.

        Args:
            path: of the branch; one that is not there has nothing to wait for.
            revision: an unknown or future one has nothing to wait for, either.
        """
        if revision > self.snapshot.revision:
            return
        while not self.is_closed:
            seen = self.snapshot
            node = seen.find(path)
            if node is None or node.revision > revision:
                return
            await self.news(seen.revision)

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()
