"""Steps performed on trio streams."""

from __future__ import annotations

import math
import socket
from typing import Final

import attrs
import trio

from statusd.client.address import Address
from statusd.client.faults import ClientError, hung_up, system_error, timed_out, unresolved
from statusd.client.steps import Close, Connect, Pause, Receive, Send, Step
from statusd.client.trust import tls_context

READ_SIZE: Final = 64 * 1024


@attrs.define(eq=False)
class StreamConnection:
    """Performs the steps of one script, one connection at a time."""

    address: Address
    ca_file: str
    _stream: trio.abc.Stream | None = None

    async def perform(self, step: Step) -> bytes:
        """Do what `step` says; return the bytes it brought.

        Raises:
            ClientError: when it could not be done.
        """
        with trio.CancelScope(deadline=getattr(step, "until", math.inf)) as scope:
            try:
                return await self._perform(step)
            except trio.ClosedResourceError:
                raise ClientError("closed", "The client was closed: make a new one.") from None
            except trio.BrokenResourceError as error:
                cause = error.__cause__
                if isinstance(cause, OSError):
                    raise system_error(cause, str(self.address)) from error
                raise hung_up(str(self.address)) from error
            except (OSError, UnicodeError) as error:
                raise self._told(error) from error
        if scope.cancelled_caught and not isinstance(step, Pause):
            raise timed_out(str(self.address))
        return b""

    async def _perform(self, step: Step) -> bytes:
        match step:
            case Connect():
                await self.close()
                self._stream = await self._connect()
            case Send():
                await self._open().send_all(step.data)
            case Receive():
                return bytes(await self._open().receive_some(READ_SIZE))
            case Pause():
                await trio.sleep_forever()
            case Close():
                await self.close()
        return b""

    async def close(self) -> None:
        """Close the connection, if there is one, at once: there is nobody to say goodbye to."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    def _open(self) -> trio.abc.Stream:
        if self._stream is None:
            raise trio.ClosedResourceError
        return self._stream

    async def _connect(self) -> trio.abc.Stream:
        address = self.address
        if address.socket:
            return await trio.open_unix_socket(address.socket)
        if not address.is_tls:
            return await trio.open_tcp_stream(address.host, address.port)
        context = await trio.to_thread.run_sync(tls_context, self.ca_file, abandon_on_cancel=True)
        stream = trio.SSLStream(
            await trio.open_tcp_stream(address.host, address.port),
            context,
            server_hostname=address.server_name,
            https_compatible=True,
        )
        try:
            await stream.do_handshake()
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            raise
        return stream

    def _told(self, error: OSError | UnicodeError) -> ClientError:
        where = str(self.address)
        if isinstance(error, socket.gaierror | UnicodeError):
            return unresolved(self.address.host, where)
        if isinstance(
            group := error.__cause__, ExceptionGroup
        ):  # of one attempt for each of the host's addresses
            failures = [system_error(one, where) for one in group.exceptions if isinstance(one, OSError)]
            return min(failures, key=lambda failure: failure.reason != "refused")
        return system_error(error, where)
