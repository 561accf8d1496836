"""Connections of trio's streams."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import attrs
import trio

from statusd.client.address import Address
from statusd.client.connection import READ_SIZE
from statusd.client.faults import ClientError, hung_up, timed_out, unresolved
from statusd.client.tls import failure, tls_context


@attrs.define(eq=False)
class StreamConnection:
    """A `Connection` whose every wait is a checkpoint of trio."""

    address: Address
    ca_file: str
    until: float = 0.0
    _transport: trio.SocketStream | None = None
    _stream: trio.abc.Stream | None = None
    _closed: trio.Event = attrs.field(factory=trio.Event)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def now(self) -> float:
        return trio.current_time()

    async def connect(self) -> None:
        self.drop()
        with self._told():
            self._stream = await self._connected()

    async def send(self, data: bytes) -> None:
        with self._told():
            await self._open().send_all(data)

    async def receive(self) -> bytes:
        with self._told():
            return bytes(await self._open().receive_some(READ_SIZE))

    async def sleep(self, until: float) -> None:
        with trio.move_on_at(until):
            await self._closed.wait()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.socket.close()
        self._transport = self._stream = None

    def close(self) -> None:
        self._closed.set()
        self.drop()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        where = str(self.address)
        try:
            with trio.fail_at(self.until):
                yield
        except trio.TooSlowError:
            raise timed_out(where) from None
        except trio.ClosedResourceError:
            raise ClientError("closed", "The client was closed: make a new one.") from None
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            raise (self._failed(cause) if isinstance(cause, OSError) else hung_up(where)) from error
        except (socket.gaierror, UnicodeError) as error:
            raise unresolved(self.address.host, where) from error
        except OSError as error:
            group = error.__cause__  # of one attempt for each of the host's addresses
            attempts = group.exceptions if isinstance(group, ExceptionGroup) else [error]
            failures = [self._failed(one) for one in attempts if isinstance(one, OSError)]
            raise min(failures, key=lambda failure: failure.reason != "refused") from error

    def _failed(self, error: OSError) -> ClientError:
        return failure(error, self.address, self.ca_file)

    def _open(self) -> trio.abc.Stream:
        if self._stream is None:
            raise trio.ClosedResourceError
        return self._stream

    async def _connected(self) -> trio.abc.Stream:
        address, context = self.address, None
        if address.is_tls:
            context = await trio.to_thread.run_sync(
                tls_context, self.ca_file, address, abandon_on_cancel=True
            )
        if address.socket:
            self._transport = await trio.open_unix_socket(address.socket)
        else:
            self._transport = await trio.open_tcp_stream(address.host, address.port)
        if context is None:
            return self._transport
        name = address.server_name or None
        stream = trio.SSLStream(self._transport, context, server_hostname=name, https_compatible=True)
        await stream.do_handshake()
        return stream
