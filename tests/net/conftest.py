"""Loopback servers that say exactly what a test tells them to, and a clock that jumps only when the sockets rest."""

from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
from trio.testing import MockClock

from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.trace import Trace

Script = Callable[[trio.abc.Stream], Awaitable[None]]


@attrs.define(eq=False)
class Server:
    """A server on loopback that runs a script for each connection, and counts."""

    host: str = ""
    port: int = 0
    path: str = ""
    accepted: int = 0
    ended: int = 0
    requests: list[bytes] = attrs.field(factory=list)
    seen: list = attrs.field(factory=list)
    one_ended: trio.Event = attrs.field(factory=trio.Event)

    async def until_ended(self, count: int = 1) -> None:
        """Wait until `count` connections have come to their end."""
        with trio.fail_after(50):
            while self.ended < count:
                await self.one_ended.wait()

    async def read_request(self, stream) -> bytes:
        """Return one request, or nothing when the client is gone."""
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            try:
                data = await stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return b""
            request += data
        self.requests.append(request)
        return request


@pytest.fixture
def patient_clock():
    """A mock clock that lets loopback sockets deliver before it jumps."""
    return MockClock(autojump_threshold=0.05)


@pytest.fixture
def serve(nursery):
    """Start a server for a script, on a host or a Unix socket, with TLS if a context is given."""

    async def start(script, *, host="127.0.0.1", path="", context=None) -> Server:
        server = Server(host=host, path=path)

        async def connection(stream):
            server.accepted += 1
            try:
                if context is not None:
                    stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
                    await stream.do_handshake()
                await script(server, stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                server.ended += 1
                server.one_ended.set()
                server.one_ended = trio.Event()
                await trio.aclose_forcefully(stream)

        if path:
            sock = trio.socket.socket(trio.socket.AF_UNIX)
            await sock.bind(path)
            sock.listen()
            listeners = [trio.SocketListener(sock)]
        else:
            listeners = await trio.open_tcp_listeners(0, host=host)
            server.port = listeners[0].socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, connection, listeners)
        return server

    return start


@pytest.fixture
def answering(serve):
    """Start a server that gives the same bytes to each request, for as long as the client asks."""

    async def start(answer: bytes, *, then_close=False, **options) -> Server:
        async def script(server, stream):
            while await server.read_request(stream):
                await stream.send_all(answer)
                if then_close:
                    return

        return await serve(script, **options)

    return start


@pytest.fixture
def trace():
    return Trace(is_recording=True)


@pytest.fixture
def resolver():
    return Resolver()


@pytest.fixture
async def client(resolver, trace):
    client = HttpClient(resolver, trace)
    yield client
    await client.aclose()
