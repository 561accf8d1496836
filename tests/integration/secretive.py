"""A daemon that is given secrets in every way there is, and has everything that it lets out written down."""

import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import quote, quote_plus

import attrs

ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname, ANYBODY.verify_mode = False, ssl.CERT_NONE
RUNNER = """
import functools, os, sys
import statusd.commands.run as run
from statusd.cli import main
journal = os.environ.pop("TEST_JOURNAL", "")
if journal:
    found = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
    run.configure_logging = functools.partial(run.configure_logging, journal=journal)
sys.exit(main())
"""
"""`statusd` with another journal than the system's."""


def spellings(secret):
    """Return what to look for: the secret and what others make of it, as bytes."""
    data = secret.encode()
    texts = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(data).decode().rstrip("="),
        base64.b64encode(b"user:" + data).decode().rstrip("="),
    }
    return {text.encode() for text in texts}


class Datagrams:
    """A socket of systemd's: the journal's or the one for notifications; collects what it is sent.

    Args:
        path: where it listens.
    """

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.path = str(path)
        self.received = []
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self):
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
            except OSError:
                return
            self.received.append(data)
            for _, _, numbers in ancillary:  # a record too large for a datagram comes as a file
                descriptor = int.from_bytes(numbers[:4], sys.byteorder)
                with os.fdopen(descriptor, "rb") as file:
                    file.seek(0)
                    self.received.append(file.read())

    @property
    def text(self):
        return b"\n".join(self.received)

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


class Echo:
    """An upstream that shows whatever it is sent, in answers of HTTP and as an error of Redis."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client):
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            data = client.recv(65536)
            self.heard += data
            text = data.decode(errors="replace")
            if not data.startswith(b"GET "):
                client.sendall(f"-WRONGPASS {' '.join(text.split())}\r\n".encode())
                return
            body = json.dumps({"status": "ok", "heard": text}).encode()
            shown = " ".join(text.split())[:400]
            client.sendall(
                f"HTTP/1.1 200 {shown}\r\nX-Heard: {shown}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def first_of(stream):
    """Yield what a stream without an end brings until it is quiet, or for a while."""
    deadline = time.monotonic() + 1
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < deadline:
            yield stream.read1(65536)


@attrs.define(eq=False)
class Daemon:
    """`statusd run`, and what it says to everybody.

    Attributes:
        process: the process.
        base: where it answers.
        token: what clients must show.
        log: the file with its standard error.
        journal: the journal, if that is where its log goes.
        notify: the socket for notifications.
        directories: where it keeps files.
    """

    process: object
    token: str
    log: object
    journal: object
    notify: object
    directories: tuple
    base: str = ""

    @property
    def logged(self):
        return self.log.read_bytes() + (self.journal.text if self.journal else b"")

    def wait_for(self, *words, seconds=25):
        """Wait until the log has all of `words`."""
        deadline = time.monotonic() + seconds
        while not all(word.encode() in self.logged for word in words):
            missing = [word for word in words if word.encode() not in self.logged]
            assert self.process.poll() is None, self.logged.decode(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"{missing} not in {self.logged[-3000:]!r}"
            time.sleep(0.05)

    def get(self, path, **headers):
        """Return status line, header and body of an answer, as bytes."""
        request = urllib.request.Request(
            self.base + path, headers={"Authorization": f"Bearer {self.token}", **headers}
        )
        try:
            is_stream = path.startswith("/events")
            with urllib.request.urlopen(request, timeout=1 if is_stream else 20, context=ANYBODY) as answer:
                body = b"".join(first_of(answer)) if is_stream else answer.read()
        except urllib.error.HTTPError as error:
            answer, body = error, error.read()
        return f"{answer.status} {answer.headers}".encode() + body

    def files(self):
        """Return path -> content of every file it keeps."""
        found = {}
        for directory in self.directories:
            for path in directory.rglob("*"):
                if path.is_file():
                    found[str(path)] = path.read_bytes()
        return found


@contextlib.contextmanager
def running(folder, config, environ, *, token, log_format):
    """Run the daemon; `log_format` is text, json, or journal for the native protocol."""
    folder.mkdir()
    directories = (folder / "state", folder / "run")
    for directory in directories:
        directory.mkdir()
    notify = Datagrams(folder / "notify")
    journal = Datagrams(folder / "journal") if log_format == "journal" else None
    log = folder / "log"
    surroundings = {
        **environ,
        "NOTIFY_SOCKET": notify.path,
        "STATE_DIRECTORY": str(directories[0]),
        "RUNTIME_DIRECTORY": str(directories[1]),
        **({"TEST_JOURNAL": journal.path} if journal else {}),
    }
    words = [] if journal else ["--log-format", log_format]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, "run", "--config", config, *words],
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    daemon = Daemon(process, token, log, journal, notify, directories)
    try:
        daemon.wait_for("is ready")
        line = daemon.logged.decode(errors="replace").partition("is ready on ")[2]
        daemon.base = line.split(",")[0].split()[0]
        yield daemon
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        notify.close()
        if journal:
            journal.close()
