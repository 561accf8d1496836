"""The server: accepts connections, runs each one contained, and ends them all in time."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NoReturn

import attrs
import trio

from statusd.web.edge.admission import Admission, Stage
from statusd.web.edge.connection import Connection
from statusd.web.edge.express import Express
from statusd.web.edge.http1 import verify
from statusd.web.edge.shared import Edge
from statusd.web.edge.sockets import Listener

log = logging.getLogger("statusd.web")

PAUSE: Final = 0.1
"""Seconds before the next attempt when accepting failed: out of file descriptors or memory, mostly."""

GRACE: Final = 3.0
"""Seconds in which requests in flight may finish when the server stops."""

BATCH: Final = 16
"""Connections that are accepted in one pass of the event loop in any case."""

SPELL: Final = 0.01
"""Seconds in which more of them are, if all else has taken as long since: where passes are long, the kernel's queue would
fill up, and whom it then sends away comes again after a second."""

_ADDRESSED: Final = frozenset({socket.AF_INET, socket.AF_INET6})
_OF_ONE: Final = frozenset(
    {
        *(errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENONET),
    }
)
"""Errors of the one connection that was to be accepted (accept(2)): the next one may be well."""


async def serve(
    edge: Edge,
    listeners: Sequence[Listener],
    *,
    stop: trio.Event,
    grace: float = GRACE,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on `listeners` until `stop` is set, then finish what is in flight and close everything.

    Args:
        edge: what is served, and within which bounds; one connection's exceptions, whatever they are, end that
            connection alone.
        listeners: closed at the end.
        stop: when set, no connection is accepted any more and idle ones are closed.
        grace: seconds for the requests in flight; then they are cut off.
        task_status: started once connections are accepted.

    Raises:
        StartError: when the installed hypercorn is not the one this was written for.
    """
    verify()
    server = _Server(edge)
    try:
        async with trio.open_nursery() as connections:
            server.nursery = connections
            try:
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(server.accept, listener)
                    task_status.started()
                    await stop.wait()
                    accepting.cancel_scope.cancel()
                await _close(listeners)
                await server.drain(grace)
            finally:
                server.abort()
    finally:
        await _close(listeners)


async def _close(listeners: Sequence[Listener]) -> None:
    with trio.CancelScope(shield=True):  # closing does not wait, and all of them are to be closed
        for listener in listeners:
            await listener.close()


@attrs.define(eq=False)
class _Server:
    edge: Edge
    nursery: trio.Nursery = attrs.field(init=False)
    _admissions: dict[bool, Admission] = attrs.field(
        init=False
    )  # by whether the listener is for probe endpoints alone
    _open: dict[Connection, Admission] = attrs.field(factory=dict, init=False)
    _is_empty: trio.Event | None = attrs.field(default=None, init=False)  # once the server is stopping

    def __attrs_post_init__(self) -> None:
        limits, limited = self.edge.limits, self.edge.traffic.limited
        self._admissions = {
            kind: Admission.of(limits, limited, is_probes_only=kind) for kind in (False, True)
        }

    async def accept(self, listener: Listener) -> NoReturn:
        """Accept for ever, through every shortage of the host, and without waiting for any connection."""
        accepting = listener.accepting
        express = self._express(listener)
        rested = 0.0
        with _bare(accepting) as bare:
            while True:
                try:
                    if bare is None:
                        stream = await accepting.accept()
                        self._admit(listener, stream, peer_of(stream))
                    else:
                        await trio.lowlevel.wait_readable(bare)
                        now = time.perf_counter()
                        self._accept_ready(bare, listener, express, now + min(now - rested, SPELL))
                        rested = time.perf_counter()
                except OSError as error:
                    self.edge.guard.note("accept", error)
                    await trio.sleep(PAUSE)

    def _express(self, listener: Listener) -> Express | None:
        """Return what answers at once on `listener`, if anything can."""
        front = self.edge.probes_front if listener.is_probes_only else self.edge.front
        if front is None or listener.is_tls:
            return None
        admission = self._admissions[listener.is_probes_only]
        return Express(front=front, admission=admission, traffic=self.edge.traffic)

    def _accept_ready(
        self, bare: socket.socket, listener: Listener, express: Express | None, until: float
    ) -> None:
        for number in itertools.count():
            if number >= BATCH and time.perf_counter() >= until:
                return
            try:
                accepted, address = bare.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _OF_ONE:
                    raise
                continue
            try:
                self._begin(listener, accepted, address, express)
            except Exception as error:  # noqa: BLE001  # containing a connection: the next one is to be accepted
                accepted.close()
                self.edge.guard.note("connection", error)

    def _begin(
        self, listener: Listener, accepted: socket.socket, address: Any, express: Express | None
    ) -> None:
        accepted.setblocking(False)
        peer = address[0] if accepted.family in _ADDRESSED else ""
        left = (b"", b"")
        if express is not None:
            taken = express.take(accepted, peer)
            if taken is None:
                self.edge.traffic.accepted += 1
                return
            left = taken
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
        self._admit(listener, stream, peer, *left)

    def _admit(
        self,
        listener: Listener,
        stream: trio.SocketStream,
        peer: str,
        data: bytes = b"",
        unsent: bytes = b"",
    ) -> None:
        """Serve what is on `stream` if there is room, and close it otherwise."""
        traffic = self.edge.traffic
        traffic.accepted += 1
        connection = Connection(
            stream=stream,
            edge=self.edge,
            peer=peer,
            is_tls=listener.is_tls,
            is_probes_only=listener.is_probes_only,
            data=data,
            unsent=unsent,
        )
        admission = self._admissions[listener.is_probes_only]
        if not admission.admit(connection):
            connection.abort()  # its task then only closes it
        elif data or unsent:
            connection.room.move(connection, Stage.BUSY)  # until its task has looked at that
        traffic.connections += 1
        self._open[connection] = admission  # before its task runs, so that a stop just now finds it
        self.nursery.start_soon(self.edge.guard.run, "connection", partial(self._serve, connection))

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._open.pop(connection).leave(connection)
            self.edge.traffic.connections -= 1
            if self._is_empty is not None and not self._open:
                self._is_empty.set()

    async def drain(self, grace: float) -> None:
        """Let the requests in flight finish within `grace` seconds."""
        self.edge.is_stopping = True
        for connection in self._open:
            connection.finish()
        if self._open:
            self._is_empty = trio.Event()
            with trio.move_on_after(grace):
                await self._is_empty.wait()
        if self._open:
            log.warning("%d connections were cut off: not done within %g s.", len(self._open), grace)

    def abort(self) -> None:
        """End every connection now."""
        for connection in self._open:
            connection.abort()


@contextmanager
def _bare(accepting: trio.abc.Listener[trio.SocketStream]) -> Iterator[socket.socket | None]:
    """Give the socket below `accepting`, to accept as many at once from as there are; None when there is none."""
    if not isinstance(accepting, trio.SocketListener):
        yield None
        return
    with socket.socket(fileno=os.dup(accepting.socket.fileno())) as bare:
        bare.setblocking(False)
        yield bare


def peer_of(stream: object) -> str:
    """Return the peer's IP address; ``""`` for what has none: Unix sockets, clients that are gone."""
    sock = getattr(stream, "socket", None)
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return ""
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""
