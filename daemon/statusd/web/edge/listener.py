"""The server: accepts connections, runs each one contained, and ends them all in time."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from functools import partial
from typing import Final, NoReturn

import attrs
import trio

from statusd.web.edge.connection import Connection
from statusd.web.edge.http1 import verify
from statusd.web.edge.shared import Edge
from statusd.web.edge.sockets import Listener

log = logging.getLogger("statusd.web")

PAUSE: Final = 0.1
"""Seconds before the next attempt when accepting failed: out of file descriptors or memory, mostly."""

GRACE: Final = 3.0
"""Seconds in which requests in flight may finish when the server stops."""


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
    _open: dict[Connection, None] = attrs.field(factory=dict, init=False)  # in the order of their arrival
    _is_full: bool = attrs.field(default=False, init=False)
    _gone: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def accept(self, listener: Listener) -> NoReturn:
        """Accept for ever, through every shortage of the host."""
        while True:
            try:
                stream = await listener.accepting.accept()
            except OSError as error:
                self.edge.guard.note("accept", error)
                await trio.sleep(PAUSE)
            else:
                connection = Connection(
                    stream=stream,
                    edge=self.edge,
                    peer=peer_of(stream),
                    is_tls=listener.is_tls,
                    is_probes_only=listener.is_probes_only,
                )
                self._open[connection] = None  # before its task runs, so that a stop just now finds it
                self.nursery.start_soon(self.edge.guard.run, "connection", partial(self._serve, connection))
                await self._make_room(connection)

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            del self._open[connection]
            self._gone.set()
            self._gone = trio.Event()

    async def _make_room(self, newest: Connection) -> None:
        """Wait while there are too many; the oldest that has not asked for anything yet goes for the newest's sake."""
        while len(self._open) > self.edge.limits.connections:
            if not self._is_full:
                self._is_full = True
                log.warning(
                    "Over %d connections are open: silent ones are closed, others wait.",
                    self.edge.limits.connections,
                )
            for connection in self._open:
                if connection.is_silent and connection is not newest:
                    connection.abort()
                    break
            await self._gone.wait()
        self._is_full = self._is_full and len(self._open) > self.edge.limits.connections // 2

    async def drain(self, grace: float) -> None:
        """Let the requests in flight finish within `grace` seconds."""
        self.edge.is_stopping = True
        for connection in self._open:
            connection.finish()
        with trio.move_on_after(grace):
            while self._open:
                await self._gone.wait()
        if self._open:
            log.warning("%d connections were cut off: not done within %g s.", len(self._open), grace)

    def abort(self) -> None:
        """End every connection now."""
        for connection in self._open:
            connection.abort()


def peer_of(stream: object) -> str:
    """Return the peer's IP address; ``""`` for what has none: Unix sockets, clients that are gone."""
    sock = getattr(stream, "socket", None)
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return ""
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""
