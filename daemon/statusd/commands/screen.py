"""The live tree on a terminal, drawn in place."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from typing import Final, TextIO

import trio

from statusd.client import Disconnected, TreeMirror, Update
from statusd.commands.rendering import Line, tree_lines, word

# ECMA-48, and xterm's alternate screen: what was on the terminal before comes back at the end.
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"

TICK: Final = 1.0
"""Seconds between two frames while nothing changes, so that the times go on."""
FRAME: Final = 0.05
"""Seconds between two frames at least, however much changes."""


class Screen:
    """Draws the tree of the updates it takes.

    Each frame goes over the one before in a single write, a line over a line, so nothing flickers.

    Args:
        output: a terminal.
        is_coloured: whether statuses have colours.
        title: what the first line begins with.
    """

    def __init__(self, output: TextIO, *, is_coloured: bool, title: str) -> None:
        self._output = output
        self._is_coloured = is_coloured
        self._title = title
        self._mirror = TreeMirror()
        self._lost = ""
        self._is_entered = False
        self._has_news = trio.Event()

    def take(self, update: Update) -> None:
        """Take the next update; it is drawn with the next frame."""
        self._mirror.apply(update)
        self._lost = update.message if isinstance(update, Disconnected) else ""
        self.refresh()

    def refresh(self) -> None:
        """Have a new frame drawn: the terminal may have changed its size."""
        self._has_news.set()

    async def keep_drawn(self) -> None:
        """Draw for ever, from the first update on."""
        await self._has_news.wait()
        while True:
            self._has_news = trio.Event()
            self._draw()
            await trio.sleep(FRAME)
            with trio.move_on_after(TICK - FRAME):
                await self._has_news.wait()

    def leave(self) -> None:
        """Give the terminal back as it was."""
        if self._is_entered:
            self._is_entered = False
            with contextlib.suppress(OSError):  # the terminal may be what has gone
                self._write(_LEAVE)

    def _draw(self) -> None:
        columns, rows = self._size()
        # The last column stays empty: erasing the rest of a full line would take its last character.
        columns -= 1
        lines = fitted(self._lines(columns), rows)
        painted = [line.painted(columns=columns, is_coloured=self._is_coloured) for line in lines]
        frame = _HOME + "\n".join(text + _CLEAR_LINE for text in painted) + _CLEAR_BELOW
        self._write(frame if self._is_entered else _ENTER + frame)
        self._is_entered = True

    def _lines(self, columns: int) -> list[Line]:
        mirror = self._mirror
        state = f"disconnected, trying again: {word(self._lost)}" if self._lost else "live"
        title = Line(f"{word(self._title)}  {state}  revision {mirror.revision}")  # what is cut comes last
        if mirror.node is None:
            return [title, Line(""), Line(f"{word(mirror.path) or '/'} is not there any more")]
        tree = tree_lines(mirror.node, mirror.path, time.time(), time_of="since", columns=columns)
        return [title, Line(""), *tree]

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._output.fileno())
        except (OSError, ValueError):
            return 80, 24
        return columns or 80, rows or 24  # some pseudo-terminals know no size

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


def fitted(lines: Sequence[Line], rows: int) -> list[Line]:
    """Return as many of `lines` as fit, and a note on what does not."""
    if len(lines) <= rows:
        return list(lines)
    shown = max(rows - 1, 0)
    note = f"({len(lines) - shown} more lines: enlarge the terminal, or watch a branch)"
    return [*lines[:shown], Line(note)]
