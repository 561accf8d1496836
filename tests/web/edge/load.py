"""Clients that come all the time, each with one request on a connection of its own, from threads of their own."""

import contextlib
import socket
import threading

import attrs
import trio

from tests.web.client import CLOSE

REQUEST = b"GET /health HTTP/1.1" + CLOSE
PATIENCE = 10
"""Seconds after which a client takes a connection for lost."""


@attrs.define(eq=False)
class Load:
    """Asks again and again, until it is told to stop.

    Attributes:
        address: where, as `socket.connect` takes it.
        family: of the address.
        answered: how many were.
        failures: what the others got.
    """

    address: object
    family: int = socket.AF_INET
    answered: int = 0
    failures: list = attrs.field(factory=list)
    _is_over: threading.Event = attrs.field(factory=threading.Event)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def ask(self):
        """Ask once."""
        data = b""
        try:
            with socket.socket(self.family) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(self.address)
                sock.sendall(REQUEST)
                while chunk := sock.recv(65536):
                    data += chunk
        except OSError as error:
            data = data or repr(error).encode()
        with self._lock:
            if data.startswith(b"HTTP/1.1 200 ") and data.endswith(b'{"status":"ok"}'):
                self.answered += 1
            else:
                self.failures.append(data)

    def _run(self):
        while not self._is_over.is_set():
            self.ask()

    @contextlib.asynccontextmanager
    async def applied(self, clients=8):
        """Have so many clients ask meanwhile; at the end, each of them has had its last answer."""
        threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            with trio.CancelScope(shield=True):
                for thread in threads:
                    await trio.to_thread.run_sync(thread.join)
