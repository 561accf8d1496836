"""A real Redis or Valkey server on a private port, for tests and for the demo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs
import trio

from statusd.errors import StartError
from statusd.net.names import Resolver
from statusd.net.redis import RedisServers
from statusd.net.trace import Trace
from statusd.testing.redis_binary import find_server, supports_tls
from statusd.values import Secret, Url

__all__ = ["RedisServer", "TlsFiles", "find_server", "supports_tls"]

START_SECONDS: Final = 10.0
"""How long the server may take until it answers."""

STOP_SECONDS: Final = 5.0
"""How long it may take to end before it is killed."""

_PORT_ATTEMPTS: Final = 5  # another process may take the port that was found free
_POLL: Final = 0.01  # seconds

# Sets the signal that the server gets when this process dies, even by SIGKILL, then becomes the server (prctl(2),
# PR_SET_PDEATHSIG = 1, kept over execve); the parent may have died in between, hence the second look.
_LAUNCHER: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@attrs.frozen(kw_only=True)
class TlsFiles:
    """PEM files for a server that speaks TLS.

    Attributes:
        certificate: the server's certificate, for 127.0.0.1.
        key: its private key.
        authority: who signed it.
    """

    certificate: str
    key: str
    authority: str


class RedisServer:
    """A server that runs while the ``async with`` block does, without persistence, in a directory that then goes.

    It ends with the block, however that ends, and with the thread that entered the block: also when this process
    is killed by SIGKILL.

    Args:
        tls: listen with TLS on the port, instead of in plain; the Unix socket stays plain.
        password: what the default user must say; ``""``: nothing.
        users: further ACL users: name -> rules, such as ``">secret ~queue:* +hgetall"``.
        binary: the server to run, instead of `find_server`'s.

    Raises:
        StartError: when there is no server, or it does not start.
    """

    def __init__(
        self,
        *,
        tls: TlsFiles | None = None,
        password: str = "",
        users: Mapping[str, str] | None = None,
        binary: str = "",
    ) -> None:
        self._tls = tls
        self._password = password
        self._users = dict(users or {})
        self._binary = binary
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._client = RedisServers(Resolver())  # never asked: it connects by the Unix socket
        self.port = 0
        """The TCP port on 127.0.0.1; the same over a `restart`."""

    @property
    def url(self) -> str:
        """Where it listens on TCP: ``redis://127.0.0.1:PORT/0``, with TLS ``rediss://``."""
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Where it listens on a Unix socket: ``unix:///...``."""
        return f"unix://{self._path('redis.sock')}"

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running.pid

    async def __aenter__(self) -> Self:
        binary = self._binary or find_server()
        if not binary:
            raise StartError(
                "There is no redis-server or valkey-server: install either, or statusd with its extra: statusd[demo]."
            )
        self._binary = binary
        self._directory = tempfile.TemporaryDirectory(prefix="statusd-redis-")
        try:
            await self.start()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._client.close()
        self.kill()
        if self._directory is not None:
            self._directory.cleanup()

    async def start(self) -> None:
        """Start it, after `stop` or `kill`, and wait until it answers; on the same port if it had one."""
        attempts = 1 if self.port else _PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            port = self.port or _free_port()
            self._configure(port)
            process = self._process = self._launch()
            if await trio.to_thread.run_sync(self._await_ready, process, abandon_on_cancel=True):
                self.port = port
                return
            self.kill()
            if attempt == attempts:
                raise StartError(f"{self._binary} did not start; its log says: {self._last_words()}")

    def _launch(self) -> subprocess.Popen[bytes]:
        # Not in a thread of its own: the server ends with the thread that starts it.
        return subprocess.Popen(
            [
                sys.executable,
                "-IS",
                "-c",
                _LAUNCHER,
                str(os.getpid()),
                self._binary,
                self._path("redis.conf"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._path(""),
        )

    async def stop(self) -> None:
        """End it in order, by SIGTERM."""
        process = self._running
        self.thaw()
        process.terminate()
        await trio.to_thread.run_sync(_wait, process)
        self.kill()

    def kill(self) -> None:
        """End it at once, by SIGKILL; nothing if it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it where it stands, by SIGSTOP: the kernel still accepts connections, and nobody answers."""
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, by SIGCONT."""
        self._running.send_signal(signal.SIGCONT)

    async def restart(self) -> None:
        """Kill it if it runs, and start it anew, empty, on the same port."""
        self.kill()
        await self.start()

    async def execute(self, *command: str | bytes | int) -> Any:
        """Send it a command, as the default user, and return the reply.

        Raises:
            ProbeError: as `statusd.RedisClient.execute`.
        """
        client = self._client.client(Trace(), START_SECONDS)
        return await client.execute(Url.parse(self.unix_url), *command, password=Secret(self._password))

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StartError("The Redis server does not run: start() it first.")
        return self._process

    def _path(self, name: str) -> str:
        if self._directory is None:
            raise StartError("The Redis server runs within `async with` only.")
        return str(Path(self._directory.name) / name)

    def _configure(self, port: int) -> None:
        lines = [
            "bind 127.0.0.1",
            f"unixsocket {self._path('redis.sock')}",
            "unixsocketperm 700",
            f"dir {self._path('')}",
            f"logfile {self._path('redis.log')}",
            'save ""',
            "appendonly no",
            "daemonize no",
            *(f"user {name} on {rules}" for name, rules in self._users.items()),
        ]
        if self._password:
            lines.append(f'requirepass "{self._password}"')
        if self._tls is not None:
            lines += [
                "port 0",
                f"tls-port {port}",
                f"tls-cert-file {self._tls.certificate}",
                f"tls-key-file {self._tls.key}",
                f"tls-ca-cert-file {self._tls.authority}",
                "tls-auth-clients no",
            ]
        else:
            lines.append(f"port {port}")
        path = Path(self._path("redis.conf"))
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _await_ready(self, process: subprocess.Popen[bytes]) -> bool:
        until = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < until:
            if _answers(self._path("redis.sock")):
                return True
            time.sleep(_POLL)
        return False

    def _last_words(self) -> str:
        try:
            log = Path(self._path("redis.log")).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "nothing"
        return " / ".join(log.strip().splitlines()[-2:])


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        return  # the caller kills it


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(path)
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
