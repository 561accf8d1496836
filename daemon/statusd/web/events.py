"""Server-Sent Events: a snapshot, then every change, resumable (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final

import trio

from statusd.web.bodies import ChangeBody, changed_node, encode
from statusd.web.feed import Feed

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a comment shows that the stream lives."""
RETRY: Final = b"retry: 2000\n\n"
"""Tells browsers to reconnect after two seconds."""
BEAT: Final = b": beat\n\n"
DIGITS: Final = 20
"""Digits of the longest revision."""
CHUNK: Final = 32 * 1024
"""Bytes that are sent in one piece at most: what a client that does not read costs beside its connection."""


async def event_stream(
    feed: Feed, path: str, last_id: int | None, may_go_on: Callable[[], bool] = lambda: True
) -> AsyncIterator[bytes]:
    """Yield the events of the branch at `path`, for ever; ends when the feed is closed, or it may not go on.

    Nothing here holds on to a snapshot or a node: while a stream waits, that would keep the whole tree of then.

    Args:
        feed: where they come from.
        path: the branch.
        last_id: the newest revision that the client knows, or None.
        may_go_on: asked before each event; a reload may have changed who may ask.
    """
    feed.readers += 1
    try:
        yield RETRY
        seen = resumed(feed, path, last_id)
        await feed.turn()
        while not feed.is_closed and may_go_on():
            parts, seen = _next_parts(feed, path, seen)
            for piece in _pieces(parts):
                yield piece
                del piece  # or it would be kept for as long as nothing happens
                await feed.turn()
            if parts:
                continue
            silent = True
            with trio.move_on_after(HEARTBEAT):
                seen = await feed.news(path)
                silent = False
            if silent:
                await feed.turn()
                yield BEAT
    finally:
        feed.readers -= 1


def resumed(feed: Feed, path: str, last_id: int | None) -> int | None:
    """Return the revision after which a client that knows `last_id` goes on without a gap; None: it starts anew."""
    if last_id is None:
        return None
    if feed.revision_of(path) == last_id:
        return feed.snapshot.revision  # whatever came since, it was not in this branch
    return last_id if feed.after(last_id) is not None else None


def _next_parts(feed: Feed, path: str, seen: int | None) -> tuple[list[bytes], int]:
    """Return the next events, cut anywhere, and the revision up to which they go; what readers share is not copied."""
    entries = None if seen is None else feed.after(seen)
    if seen is None or entries is None:
        # The first event; or the client was too slow, and gets what is now instead of a gap.
        return _snapshot_event(feed, path, seen), feed.snapshot.revision
    parts: list[bytes] = []
    size = 0
    for entry in entries:
        seen = entry.revision
        if nodes := entry.below(path):
            parts += _change_event(seen, nodes)
            size += sum(map(len, nodes))
        if size >= CHUNK:
            break
    return parts, seen


def _snapshot_event(feed: Feed, path: str, known: int | None) -> list[bytes]:
    """Return the event that shows the branch at `path` whole; none when it is as it was at the revision `known`."""
    whole = feed.whole(path)
    if whole is None:  # it has gone, which is a change
        return _change_event(feed.snapshot.revision, [encode(changed_node(path, None))])
    revision, data = whole
    return [] if known is not None and revision <= known else [*_event("snapshot", revision, [data])]


def _change_event(revision: int, nodes: Sequence[bytes]) -> list[bytes]:
    """Return the event that says what `revision` changed: `nodes`, each as JSON of a `ChangedNode`."""
    around = encode(ChangeBody(revision=revision, changes=()))
    end = b"]}"
    listed = [part for node in nodes for part in (b",", node)][1:]
    return [*_event("change", revision, [around.removesuffix(end), *listed, end])]


def _event(name: str, revision: int, data: Iterable[bytes]) -> Iterator[bytes]:
    # JSON has no raw line breaks, so one data line is enough.
    yield b"id: %d\nevent: %s\ndata: " % (revision, name.encode())
    yield from data
    yield b"\n\n"


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `parts` in pieces of `CHUNK` bytes."""
    piece = bytearray()
    for part in parts:
        start = 0
        while start < len(part):
            end = start + CHUNK - len(piece)
            piece += part[start:end]
            start = end
            if len(piece) == CHUNK:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)


def last_event_id(field: str | None) -> int | None:
    """Return the revision that ``Last-Event-ID`` names; None for none, and for what was never an id of ours."""
    field = (field or "").strip()
    return int(field) if field.isascii() and field.isdigit() and len(field) <= DIGITS else None
