"""Server-Sent Events: a snapshot, then every change, resumable (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

import trio

from statusd.model.snapshot import Snapshot
from statusd.web.bodies import change_body, encode, state_body
from statusd.web.feed import Entry, Feed

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a comment shows that the stream lives."""
RETRY: Final = b"retry: 2000\n\n"
"""Tells browsers to reconnect after two seconds."""
BEAT: Final = b": beat\n\n"
DIGITS: Final = 20
"""Digits of the longest revision."""
CHUNK: Final = 64 * 1024
"""Bytes of events that are sent in one piece at most, a larger event aside."""


async def event_stream(feed: Feed, path: str, last_id: int | None) -> AsyncIterator[bytes]:
    """Yield the events of the branch at `path`, for ever; ends when the feed is closed.

    Args:
        feed: where they come from.
        path: the branch.
        last_id: the newest revision that the client knows, or None.
    """
    feed.readers += 1
    try:
        yield RETRY
        seen = resumed(feed, path, last_id)
        while not feed.is_closed:
            entries = None if seen is None else feed.after(seen)
            if seen is None or entries is None:
                # The first event; or the client was too slow, and gets what is now instead of a gap.
                snapshot, known, seen = feed.snapshot, seen, feed.snapshot.revision
                node = snapshot.find(path)
                if known is None or node is None or node.revision > known:
                    yield snapshot_event(snapshot, path)
                continue
            pieces, seen = _next_piece(entries, path, seen)
            if pieces:
                yield pieces
                continue
            silent = True
            with trio.move_on_after(HEARTBEAT):
                await feed.news(seen)
                silent = False
            if silent:
                yield BEAT
    finally:
        feed.readers -= 1


def resumed(feed: Feed, path: str, last_id: int | None) -> int | None:
    """Return the revision after which a client that knows `last_id` goes on without a gap; None: it starts anew."""
    if last_id is None:
        return None
    node = feed.snapshot.find(path)
    if node is not None and node.revision == last_id:
        return feed.snapshot.revision  # whatever came since, it was not in this branch
    return last_id if feed.after(last_id) is not None else None


def _next_piece(entries: Iterator[Entry], path: str, seen: int) -> tuple[bytes, int]:
    """Return the next events, within one piece, and the revision up to which they go."""
    piece = b""
    for entry in entries:
        seen = entry.revision
        nodes = entry.below(path)
        if nodes:
            piece += _event("change", seen, encode(change_body(seen, nodes)))
        if len(piece) >= CHUNK:
            break
    return piece, seen


def snapshot_event(snapshot: Snapshot, path: str) -> bytes:
    """Return the event that shows the branch at `path` whole; one that has gone, as a change that says so."""
    body = state_body(snapshot, path)
    if body is None:
        return _event("change", snapshot.revision, encode(change_body(snapshot.revision, {path: None})))
    return _event("snapshot", body.revision, encode(body))


def _event(name: str, revision: int, data: bytes) -> bytes:
    # JSON has no raw line breaks, so one data line is enough.
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (revision, name.encode(), data)


def last_event_id(field: str | None) -> int | None:
    """Return the revision that ``Last-Event-ID`` names; None for none, and for what was never an id of ours."""
    field = (field or "").strip()
    return int(field) if field.isascii() and field.isdigit() and len(field) <= DIGITS else None
