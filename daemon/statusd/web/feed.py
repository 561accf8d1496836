"""The feed: what each revision changed, kept for a while, so that readers at any pace miss nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import attrs

from statusd.model.snapshot import Change, Snapshot
from statusd.web.bodies import changed_node, encode, state_body
from statusd.web.waiting import Waiting

CHANGES: Final = 1024
"""Revisions that are kept."""
SIZE: Final = 8 << 20
"""Bytes of changes that are kept in all: one revision may change thousands of nodes."""
OVERHEAD: Final = 200
"""Bytes that a node takes beside its text."""


@attrs.frozen
class Entry:
    """What one revision changed, as text: a node would keep its whole tree, with all children and payloads.

    Attributes:
        revision: the revision.
        nodes: path -> JSON of a `ChangedNode`, parents first.
        size: bytes that it takes, roughly.
    """

    revision: int
    nodes: Mapping[str, bytes]
    size: int

    @classmethod
    def of(cls, change: Change) -> Entry:
        """Return what `change` changed."""
        nodes = {path: encode(changed_node(path, node)) for path, node in change.nodes.items()}
        size = sum(len(path) + len(node) + OVERHEAD for path, node in nodes.items())
        return cls(change.snapshot.revision, nodes, size)

    def below(self, path: str) -> Sequence[bytes]:
        """Return what of it lies in the branch at `path`."""
        if not path:
            return list(self.nodes.values())
        inside = f"{path}/"
        return [node for one, node in self.nodes.items() if one == path or one.startswith(inside)]


class Feed:
    """A ring of the newest changes; readers keep their own place in it.

    Nothing is queued for a reader, so a slow one costs no memory: when the ring has moved on, it starts anew.

    Args:
        snapshot: returns the newest snapshot.
        changes: revisions to keep.
        size: bytes to keep in all.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], *, changes: int = CHANGES, size: int = SIZE) -> None:
        self._snapshot = snapshot
        self.readers = 0
        """Event streams that are open."""
        self.is_closed = False
        """Whether the daemon is stopping, so that nobody is to wait any more."""
        self._most_changes = changes
        self._most_size = size
        self._ring: deque[Entry] = deque()
        self._size = 0
        self._waiting = Waiting()
        self._version: int | None = None
        self._wholes: dict[str, tuple[int, bytes]] = {}

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot()

    def take(self, change: Change) -> None:
        """Take what a revision brings, and wake whoever waits; a listener of the hub."""
        entry = Entry.of(change)
        self._ring.append(entry)
        self._size += entry.size
        while len(self._ring) > self._most_changes or self._size > self._most_size:
            self._size -= self._ring.popleft().size
        self._waiting.changed(entry.nodes, entry.revision)

    def stir(self) -> None:
        """Let every reader see whether it may go on: who may ask for what has changed."""
        self._waiting.stir(self.snapshot.revision)

    def close(self) -> None:
        """Let every reader end."""
        self.is_closed = True
        self._waiting.end(self.snapshot.revision)

    def after(self, revision: int) -> Iterator[Entry] | None:
        """Return what changed after `revision`, oldest first; None when that is not known any more, or was never.

        Args:
            revision: the newest that the reader knows.
        """
        missing = self.snapshot.revision - revision
        if not 0 <= missing <= len(self._ring):
            return None
        return islice(self._ring, len(self._ring) - missing, None)

    def whole(self, path: str) -> tuple[int, bytes] | None:
        """Return the revision and the JSON of the branch at `path`, made once a snapshot; None when it has gone."""
        snapshot = self.snapshot
        if self._version != snapshot.version:
            self._version, self._wholes = snapshot.version, {}
        if path not in self._wholes:
            body = state_body(snapshot, path)
            if body is None:
                return None  # not kept, so strangers cannot make this grow
            self._wholes[path] = body.revision, encode(body)
        return self._wholes[path]

    async def turn(self) -> None:
        """Return when it is this reader's turn to send something."""
        await self._waiting.turn()

    async def news(self, path: str) -> int:
        """Return once the branch at `path` has changed from now on, or the feed is closed.

        Returns:
            the last revision up to which it had not.
        """
        return await self._waiting.change(path)

    async def change_of(self, path: str, revision: int, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Return once the branch at `path` has changed since `revision`; at once when nobody can tell.

        Args:
            path: of the branch; one that is not there has nothing to wait for.
            revision: an unknown or future one has nothing to wait for, either.
            may_go_on: whether to wait at all; asked again after each `stir`.
        """
        if revision > self.snapshot.revision:
            return
        while not self.is_closed and may_go_on():
            changed = self.revision_of(path)
            if changed is None or changed > revision:
                return
            await self.news(path)

    def revision_of(self, path: str) -> int | None:
        """Return the revision that last changed the branch at `path`; None when there is no such node."""
        # Apart, since a waiting frame that holds a node or a snapshot keeps that whole tree.
        node = self.snapshot.find(path)
        return None if node is None else node.revision
