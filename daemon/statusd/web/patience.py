"""Patience: how long answers may wait for news and for probes, for somebody who may lose it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio


@attrs.define(eq=False)
class Patience:
    """What the answers on one connection have in common: once it is over, none waits, and each shows what is there.

    A client that has closed its half of the connection most likely is gone, but it may still want the answer to what
    it has asked: so it gets that now. Who is served out of turn does not wait, either.

    Attributes:
        is_over: whether there is none left.
    """

    is_over: bool = False
    _waits: set[trio.CancelScope] = attrs.field(factory=set, init=False)

    @contextmanager
    def wait(self, seconds: float) -> Iterator[None]:
        """Cancel what is awaited within after `seconds`, or as soon as there is no patience left."""
        with trio.move_on_after(seconds) as scope:
            if self.is_over:
                scope.cancel()
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)

    def end(self) -> None:
        """Wait no longer."""
        self.is_over = True
        for scope in self._waits:
            scope.cancel()
