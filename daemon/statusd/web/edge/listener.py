"""The server: accepts connections, runs each one contained, moves to other addresses, and ends them all in time."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import attrs
import trio

from statusd.web.edge.accepting import Accepting
from statusd.web.edge.admission import Admission, Stage
from statusd.web.edge.connection import Connection
from statusd.web.edge.express import Express
from statusd.web.edge.guard import Guard
from statusd.web.edge.http1 import verify
from statusd.web.edge.limits import Limits
from statusd.web.edge.shared import Edge
from statusd.web.edge.sockets import Listener

log = logging.getLogger("statusd.web")

GRACE: Final = 3.0
"""Seconds in which requests in flight may finish when the server stops."""

_ADDRESSED: Final = frozenset({socket.AF_INET, socket.AF_INET6})


async def serve(
    edge: Edge,
    listeners: Sequence[Listener],
    *,
    stop: trio.Event,
    grace: float = GRACE,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on `listeners` until `stop` is set; as `Server.run` does, for whoever changes nothing meanwhile."""
    await Server(edge).run(listeners, stop=stop, grace=grace, task_status=task_status)


@attrs.define(eq=False)
class Server:
    """Serves; what it serves, within which bounds, and where may change while it runs.

    Attributes:
        edge: what is served, and within which bounds; one connection's exceptions, whatever they are, end that
            connection alone.
    """

    edge: Edge
    _limits: Limits = attrs.field(init=False)
    _admissions: dict[bool, Admission] = attrs.field(
        init=False
    )  # by whether the listener is for probe endpoints alone
    _expresses: dict[bool, Express] = attrs.field(init=False)  # likewise
    _accepting: list[Accepting] = attrs.field(factory=list, init=False)
    _changing: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _begun: trio.Event = attrs.field(factory=trio.Event, init=False)
    _is_stopping: bool = attrs.field(default=False, init=False)
    _listening: trio.Nursery = attrs.field(init=False)
    _connections: trio.Nursery = attrs.field(init=False)
    _open: dict[Connection, Admission] = attrs.field(factory=dict, init=False)
    _is_empty: trio.Event | None = attrs.field(default=None, init=False)  # once the server is stopping

    def __attrs_post_init__(self) -> None:
        self._limits, limited = self.edge.limits, self.edge.traffic.limited
        self._admissions = {
            kind: Admission.of(self._limits, limited, is_probes_only=kind) for kind in (False, True)
        }
        self._expresses = {
            kind: Express(edge=self.edge, admission=admission, is_probes_only=kind)
            for kind, admission in self._admissions.items()
        }

    @property
    def silence(self) -> float:
        """Seconds since the slowest of all that accept last went round; each does twice a second, whoever comes or not."""
        return max((one.silence for one in self._accepting), default=0.0)

    @property
    def guard(self) -> Guard:
        """Notes what fails."""
        return self.edge.guard

    async def run(
        self,
        listeners: Sequence[Listener],
        *,
        stop: trio.Event,
        grace: float = GRACE,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on `listeners` until `stop` is set, then finish what is in flight and close everything; once.

        Who has connected by then is served, too, unless the socket is another process's as well: there, whoever has
        not been accepted waits for the next process.

        Args:
            listeners: closed at the end.
            stop: when set, nobody can connect any more and idle connections are closed; one on which nothing has been
                asked yet gets a second for it.
            grace: seconds for the requests in flight; then they are cut off.
            task_status: started once connections are accepted.

        Raises:
            StartError: when the installed hypercorn is not the one this was written for.
        """
        verify()
        try:
            async with trio.open_nursery() as self._connections:
                try:
                    async with trio.open_nursery() as self._listening:
                        for listener in listeners:
                            self._listen(listener)
                        self._begun.set()
                        task_status.started()
                        await stop.wait()
                        self._is_stopping = self.edge.is_stopping = True
                        for one in self._accepting:
                            one.leave(takes_rest=not one.listener.is_inherited)
                    await self._drain(grace)
                finally:
                    self._abort()
        finally:
            await _close(listeners)

    async def change(self, listeners: Sequence[Listener]) -> None:
        """Accept on `listeners` from now on, and on no others; no connection is lost for that.

        The new ones are accepted on before those that go are closed, and first whoever waits there is accepted. Where
        the socket is the same, its connections go on, and new ones are as the new listener says. Waits until the server
        runs; once it is to stop, nothing changes any more.

        Args:
            listeners: all of them; closed when they go, or at the end.
        """
        await self._begun.wait()
        async with self._changing:
            coming = {id(one.accepting): one for one in listeners}
            going = []
            for one in self._accepting:
                following = coming.pop(id(one.listener.accepting), None)
                if following is not None:
                    one.listener = following
                elif not self._is_stopping:
                    going.append(one)
            if self._is_stopping:
                await _close(tuple(coming.values()))
                return
            for listener in coming.values():
                self._listen(listener)
            for one in going:
                one.leave(takes_rest=True)
            for one in going:
                await one.gone.wait()

    def _listen(self, listener: Listener) -> None:
        accepting = Accepting(listener, self)
        self._accepting.append(accepting)
        self._listening.start_soon(self._accept, accepting)

    async def _accept(self, accepting: Accepting) -> None:
        try:
            await accepting.run()
        finally:
            self._accepting.remove(accepting)

    def begin(self, listener: Listener, accepted: socket.socket, address: Any) -> None:
        """Serve a connection that came to `listener`: at once if that can be, else by a task."""
        accepted.setblocking(False)
        peer = address[0] if accepted.family in _ADDRESSED else ""
        left = (b"", b"")
        if not listener.is_tls:
            self._heed_limits()
            taken = self._expresses[listener.is_probes_only].take(accepted, peer)
            if taken is None:
                self.edge.traffic.accepted += 1
                return
            left = taken
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
        self._admit(listener, stream, peer, *left)

    def admit(self, listener: Listener, stream: trio.SocketStream) -> None:
        """Serve what is on `stream` if there is room, and close it otherwise."""
        self._admit(listener, stream, peer_of(stream))

    def _admit(
        self,
        listener: Listener,
        stream: trio.SocketStream,
        peer: str,
        data: bytes = b"",
        unsent: bytes = b"",
    ) -> None:
        self._heed_limits()
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
        self._connections.start_soon(self.guard.run, "connection", partial(self._serve, connection))

    def _heed_limits(self) -> None:
        """Have as many places as the edge's limits say now."""
        if self._limits is not self.edge.limits:
            self._limits = self.edge.limits
            for admission in self._admissions.values():
                admission.resize(self._limits)

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._open.pop(connection).leave(connection)
            self.edge.traffic.connections -= 1
            if self._is_empty is not None and not self._open:
                self._is_empty.set()

    async def _drain(self, grace: float) -> None:
        """Let the requests in flight finish within `grace` seconds."""
        for connection in self._open:
            connection.finish()
        if self._open:
            self._is_empty = trio.Event()
            with trio.move_on_after(grace):
                await self._is_empty.wait()
        if self._open:
            log.warning("%d connections were cut off: not done within %g s.", len(self._open), grace)

    def _abort(self) -> None:
        """End every connection now."""
        for connection in self._open:
            connection.abort()


async def _close(listeners: Sequence[Listener]) -> None:
    with trio.CancelScope(shield=True):  # closing does not wait, and all of them are to be closed
        for listener in listeners:
            await listener.close()


def peer_of(stream: object) -> str:
    """Return the peer's IP address; ``""`` for what has none: Unix sockets, clients that are gone."""
    sock = getattr(stream, "socket", None)
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return ""
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""
