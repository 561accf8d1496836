"""Accepting on one socket: through every shortage of the host, without waiting for any connection, and to the last one."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import attrs
import trio

from statusd.web.edge.guard import Guard
from statusd.web.edge.sockets import Listener
from statusd.web.edge.stopping import GLANCE

PAUSE: Final = 0.1
"""Seconds before the next attempt when accepting failed: out of file descriptors or memory, mostly."""

BATCH: Final = 16
"""Connections that are accepted in one pass of the event loop in any case."""

SPELL: Final = 0.01
"""Seconds in which more of them are, if all else has taken as long since: where passes are long, the kernel's queue would
fill up, and whom it then sends away comes again after a second."""

BEAT: Final = 0.5
"""Seconds after which it goes round although nobody has come, to show that it does."""

REST: Final = 0.5
"""Seconds for those who wait when nobody else is to be accepted."""

_OF_ONE: Final = frozenset(
    {
        *(errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENONET),
    }
)
"""Errors of the one connection that was to be accepted (accept(2)): the next one may be well."""


class Host(Protocol):
    """Takes what is accepted, and none of it waits."""

    @property
    def guard(self) -> Guard:
        """Notes what fails."""
        ...

    def begin(self, listener: Listener, accepted: socket.socket, address: Any) -> None:
        """Serve a connection that came to `listener`; may raise, and the connection is then closed."""
        ...

    def admit(self, listener: Listener, stream: trio.SocketStream) -> None:
        """Serve a connection that came to a listener without a socket."""
        ...


@attrs.define(eq=False)
class Accepting:
    """Accepts on one socket.

    Attributes:
        listener: what accepts; may be replaced by another one of the same socket. Closed at the end.
        host: takes what is accepted.
        gone: set once the socket is closed.
    """

    listener: Listener
    host: Host
    gone: trio.Event = attrs.field(factory=trio.Event, init=False)
    _round: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _is_leaving: bool = attrs.field(default=False, init=False)
    _takes_rest: bool = attrs.field(default=False, init=False)
    _seen: float = attrs.field(init=False)
    _rested: float = attrs.field(default=0.0, init=False)  # since when it is others' turn

    def __attrs_post_init__(self) -> None:
        self._seen = time.perf_counter()

    @property
    def silence(self) -> float:
        """Seconds since it last went round."""
        return time.perf_counter() - self._seen

    def leave(self, *, takes_rest: bool) -> None:
        """Have it end.

        Args:
            takes_rest: whether those who have connected and wait are still accepted.
        """
        self._is_leaving, self._takes_rest = True, takes_rest
        self._round.cancel()

    async def run(self) -> None:
        """Accept until told to leave, then close the socket."""
        try:
            with _bare(self.listener.accepting) as bare:
                while not self._is_leaving:
                    is_well = True
                    with trio.move_on_after(BEAT) as self._round:  # many connections to one deadline
                        is_well = await self._accept(bare)
                    self._seen = time.perf_counter()
                    if not is_well:
                        await trio.sleep(PAUSE)
                if bare is not None and self._takes_rest:
                    await self._accept_rest(bare)
        finally:
            with trio.CancelScope(shield=True):  # closing does not wait
                await self.listener.close()
            self.gone.set()

    async def _accept(self, bare: socket.socket | None) -> bool:
        """Accept for as long as that can be; False when it cannot."""
        try:
            while True:
                if bare is None:
                    self.host.admit(self.listener, await self.listener.accepting.accept())
                else:
                    await trio.lowlevel.wait_readable(bare)
                    now = time.perf_counter()
                    self._accept_ready(bare, now + min(now - self._rested, SPELL))
                self._seen = self._rested = time.perf_counter()
        except OSError as error:
            self.host.guard.note("accept", error)
            return False

    def _accept_ready(self, bare: socket.socket, until: float) -> bool:
        """Accept who waits, not longer than `until` if they are many; return whether somebody may wait still."""
        for number in itertools.count():
            if number >= BATCH and time.perf_counter() >= until:
                break
            try:
                accepted, address = bare.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in _OF_ONE:
                    raise
                continue
            try:
                self.host.begin(self.listener, accepted, address)
            except Exception as error:  # noqa: BLE001  # containing a connection: the next one is to be accepted
                accepted.close()
                self.host.guard.note("connection", error)
        return True

    async def _accept_rest(self, bare: socket.socket) -> None:
        """Accept who has connected already, and nobody later."""
        is_mute = self.listener.mute()
        with trio.move_on_after(REST):
            await self._empty(bare)
            if is_mute and self.listener.is_exposed:  # handshakes of TCP may have begun, and take their time
                await trio.sleep(GLANCE)
                await self._empty(bare)

    async def _empty(self, bare: socket.socket) -> None:
        while True:
            try:
                if not self._accept_ready(bare, 0.0):
                    return
                await trio.lowlevel.checkpoint()
            except OSError as error:
                self.host.guard.note("accept", error)
                await trio.sleep(PAUSE)
            self._seen = time.perf_counter()


@contextmanager
def _bare(accepting: trio.abc.Listener[trio.SocketStream]) -> Iterator[socket.socket | None]:
    """Give the socket below `accepting`, to accept as many at once from as there are; None when there is none."""
    if not isinstance(accepting, trio.SocketListener):
        yield None
        return
    with socket.socket(fileno=os.dup(accepting.socket.fileno())) as bare:
        bare.setblocking(False)
        yield bare
