"""The daemon's side of the control socket: bounded in connections, bytes and time, so that no client costs anything."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import trio

from statusd.control.place import Peer, open_socket
from statusd.control.protocol import LONGEST_REQUEST, VERSION, Answer, RefusedError, Request, line, request
from statusd.socket_files import SocketFile

Command: TypeAlias = Callable[[Mapping[str, Any], Peer], Awaitable[Any]]
"""Takes the arguments and who gave them; returns the result, as JSON; raises `RefusedError`."""

MOST_CONNECTIONS: Final = 8
DEADLINE: Final = 5.0
"""Seconds for a request to come, and again for the answer to be taken."""
PAUSE: Final = 0.5
"""Seconds until the next try where the kernel hands out no connection: descriptors have run out, say."""
_CHUNK: Final = 16 * 1024

log = logging.getLogger(__name__)


@attrs.define(eq=False)
class ControlServer:
    """Takes commands at a Unix socket.

    Who may connect is decided by the file's mode: its owner, and root. What the kernel says of the peer is told to the
    commands, for the log, and decides nothing: in a user namespace of the service (``PrivateUsers=``) a user that is
    not mapped there shows as another one (user_namespaces(7)).

    Attributes:
        path: of the socket; None: there is none.
        commands: name -> what carries it out; may be added to before `run`.
    """

    path: Path | None
    commands: dict[str, Command] = attrs.field(factory=dict)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take commands until cancelled; where the socket cannot be opened, say so and return.

        Whatever clients do, nothing is raised: a daemon without this socket still serves.
        """
        if self.path is None:
            task_status.started()
            return
        try:
            opened = open_socket(self.path)
        except OSError as error:
            log.warning(
                "the control socket %s cannot be opened (%s): `statusd drain` and the like do not work; "
                "see to it that this user can write in that directory, and restart statusd",
                self.path,
                error.strerror or error,
            )
            task_status.started()
            return
        file = SocketFile(self.path)
        with trio.socket.from_stdlib_socket(opened) as listening:
            try:
                task_status.started()
                await self._accept(listening)
            finally:
                file.remove()

    async def _accept(self, listening: trio.socket.SocketType) -> None:
        places = trio.Semaphore(MOST_CONNECTIONS)
        async with trio.open_nursery() as connections:
            while True:
                await places.acquire()  # those that find no place wait in the kernel's queue
                try:
                    connected, _ = await listening.accept()
                except OSError as error:
                    places.release()
                    log.debug("the control socket accepts nobody: %s", error)
                    await trio.sleep(PAUSE)
                    continue
                connections.start_soon(self._serve, connected, places)

    async def _serve(self, connected: trio.socket.SocketType, places: trio.Semaphore) -> None:
        try:
            async with trio.SocketStream(connected) as stream:
                await self._converse(stream)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("a client of the control socket has gone: %s", type(error).__name__)
        finally:
            places.release()

    async def _converse(self, stream: trio.SocketStream) -> None:
        peer = Peer.of(stream.socket)
        try:
            with trio.fail_after(DEADLINE):
                text = await _line(stream)
            if text is None:
                return  # somebody looked whether anybody listens
            answered = await self._answer(request(text), peer)
        except trio.TooSlowError:
            answered = _refusal(RefusedError("too_slow", f"No whole line came within {DEADLINE:g} s."))
        except RefusedError as error:
            answered = _refusal(error)
        with trio.move_on_after(DEADLINE):
            await stream.send_all(line(answered))

    async def _answer(self, asked: Request, peer: Peer) -> Answer:
        command = self.commands.get(asked.command)
        if command is None:
            known = ", ".join(sorted(self.commands))
            message = (
                f"This daemon knows no such command; it knows {known}. It is of an older release, maybe."
            )
            raise RefusedError("unknown_command", message)
        try:
            result = await command(asked.arguments, peer)
            return Answer(version=VERSION, ok=True, result=result)
        except RefusedError:
            raise
        except Exception:  # what a command gets wrong is not to end the daemon, nor the other connections
            log.exception("the command %s failed", asked.command)
            message = "The command failed for a fault of the daemon's own; its log has more."
            raise RefusedError("internal_error", message) from None


async def _line(stream: trio.SocketStream) -> bytes | None:
    """Return what comes before the first end of a line; None where nothing comes at all.

    Raises:
        RefusedError: the line is too long, or has no end.
    """
    received = bytearray()
    while len(received) < LONGEST_REQUEST:
        chunk = await stream.receive_some(_CHUNK)
        end = chunk.find(b"\n")
        if end >= 0:
            received += chunk[:end]
            break
        if not chunk:
            if received:
                raise RefusedError("bad_request", "The request has no end of line.")
            return None
        received += chunk
    if len(received) >= LONGEST_REQUEST:
        raise RefusedError("too_large", f"A request has at most {LONGEST_REQUEST} bytes.")
    return bytes(received)


def _refusal(error: RefusedError) -> Answer:
    return Answer(version=VERSION, ok=False, error=error.error, message=error.message)
