"""A server on a real socket that says what a test tells it to, and both clients behind one face."""

import contextlib
import socket
import ssl
import threading

import attrs
import pytest
import trio

from statusd.client import Client, TrioClient

DEADLINE = 10


@attrs.define(eq=False)
class Server:
    """Runs one script a connection, in turn; the last one for all that follow."""

    scripts: list
    listener: socket.socket
    context: ssl.SSLContext | None = None
    requests: list[str] = attrs.field(factory=list)
    failures: list[BaseException] = attrs.field(factory=list)
    stopping: threading.Event = attrs.field(factory=threading.Event)
    threads: list[threading.Thread] = attrs.field(factory=list)

    @property
    def url(self):
        if self.listener.family == socket.AF_UNIX:
            return f"{'tls:' if self.context else ''}unix:{self.listener.getsockname()}"
        scheme = "https" if self.context else "http"
        return f"{scheme}://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self):
        count = 0
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            script = self.scripts[min(count, len(self.scripts) - 1)]
            count += 1
            self.threads.append(threading.Thread(target=self.serve, args=(sock, script)))
            self.threads[-1].start()

    def serve(self, sock, script):
        # A client that hangs up early is none of the server's failures.
        with sock, contextlib.suppress(OSError):
            sock.settimeout(DEADLINE)
            with self.context.wrap_socket(sock, server_side=True) if self.context else sock as peer:
                request = b""
                while b"\r\n\r\n" not in request:
                    data = peer.recv(4096)
                    if not data:
                        return
                    request += data
                self.requests.append(request.decode())
                try:
                    script(self, peer)
                except OSError:
                    raise
                except BaseException as error:
                    self.failures.append(error)
                    raise

    def stop(self):
        self.stopping.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def says(data, *, then_waits=False):
    """Return a script that sends `data`, and then hangs up or waits."""

    def script(server, peer):
        peer.sendall(data)
        if then_waits:
            server.stopping.wait(DEADLINE)

    return script


def response(body, status="200 OK", content_type="application/json", **headers):
    fields = {"Content-Type": content_type, "Content-Length": len(body), **headers}
    header = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{header}\r\n".encode() + body


def stream(*texts):
    """Return an event stream's header and `texts`, each a chunk."""
    chunks = "".join(f"{len(text.encode()):x}\r\n{text}\r\n" for text in texts)
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return (head + chunks).encode()


@pytest.fixture
def serve(tmp_path):
    """Start a server with scripts, on TCP, on a Unix socket, or with TLS."""
    servers = []

    def start(*scripts, unix=False, context=None):
        if unix:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(tmp_path / "http.sock"))
            listener.listen()
        else:
            listener = socket.create_server(("127.0.0.1", 0))
        server = Server(list(scripts), listener, context)
        server.threads.append(threading.Thread(target=server.run))
        server.threads[0].start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
        for thread in server.threads:
            thread.join(DEADLINE)
        assert not server.failures


@attrs.frozen
class Blocking:
    """The blocking client."""

    def call(self, method, *arguments, url=None, timeout=5.0, token=None, ca_file=None, **options):
        with Client(url, timeout=timeout, token=token, ca_file=ca_file) as client:
            return getattr(client, method)(*arguments, **options)

    def updates(self, count, path="", *, url, timeout=5.0, token=None, ca_file=None):
        with Client(url, timeout=timeout, token=token, ca_file=ca_file) as client:
            events = client.events(path)
            return [next(events) for _ in range(count)]


@attrs.frozen
class Concurrent:
    """The trio client, in a run of its own for each call."""

    def call(self, method, *arguments, url=None, timeout=5.0, token=None, ca_file=None, **options):
        async def main():
            async with TrioClient(url, timeout=timeout, token=token, ca_file=ca_file) as client:
                return await getattr(client, method)(*arguments, **options)

        return trio.run(main)

    def updates(self, count, path="", *, url, timeout=5.0, token=None, ca_file=None):
        async def main():
            async with TrioClient(url, timeout=timeout, token=token, ca_file=ca_file) as client:
                events = client.events(path)
                return [await anext(events) for _ in range(count)]

        return trio.run(main)


@pytest.fixture(params=[Blocking(), Concurrent()], ids=["blocking", "trio"])
def client(request, monkeypatch):
    """Either client, impatient: a test waits for no pause."""
    for variable in ("STATUSD_URL", "STATUSD_TOKEN", "STATUSD_CA_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("statusd.client.following.pause", lambda *_: 0.01)
    return request.param
