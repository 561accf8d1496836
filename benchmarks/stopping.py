"""SIGTERM to a daemon with clients of every kind, and what those get that read."""

from __future__ import annotations

import collections
import json
import signal
import socket
import subprocess
import time
import urllib.request
from typing import Final

import attrs
import httptools
import trio

from processes import HOST

STREAMS: Final = 100
WAITING: Final = 10
"""Long polls; as many requests wait for fresh probes."""
DEAF: Final = 20
"""Clients that pipeline requests and do not read."""
PIPELINED: Final = b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000
PATIENCE: Final = 20.0
"""Seconds after which a daemon that does not end is killed."""
SETTLE: Final = 8.0
"""Seconds after which hung upstreams change nothing more."""
BEGIN: Final = 0.5
"""Seconds for the requests to be in flight before the signal."""


@attrs.define(eq=False)
class Reader:
    """A client that asks once and reads what comes.

    Attributes:
        request: what it sends.
        is_begun: whether a byte of the answer came.
        is_whole: whether the answer came to its end.
    """

    request: bytes
    is_begun: bool = False
    is_whole: bool = False

    def on_message_complete(self) -> None:
        """Note the end of the answer; httptools calls this."""
        self.is_whole = True

    async def run(self, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask, and read until the server closes; started once the request is sent."""
        parser = httptools.HttpResponseParser(self)
        async with await trio.open_tcp_stream(HOST, port) as stream:
            await stream.send_all(self.request)
            task_status.started()
            try:
                while data := await stream.receive_some(65536):
                    self.is_begun = True
                    parser.feed_data(data)
            except trio.BrokenResourceError:
                pass  # what it has by then is whole or not

    @property
    def fate(self) -> str:
        """What became of its answer."""
        if self.is_whole:
            return "whole"
        return "cut" if self.is_begun else "none"


@attrs.frozen(kw_only=True)
class Stopped:
    """How a daemon stopped.

    Attributes:
        code: its exit code.
        seconds: from the signal to its end.
        streams: what became of the event streams, counted.
        answers: what became of the requests in flight, counted.
    """

    code: int
    seconds: float
    streams: collections.Counter[str]
    answers: collections.Counter[str]


async def stop(daemon: subprocess.Popen[bytes], port: int) -> Stopped:
    """Send SIGTERM to a daemon, whose upstreams hang since `SETTLE` seconds, while clients are at it."""
    streams = [Reader(_get("/events")) for _ in range(STREAMS)]
    waiting = [Reader(_get(f"/state?since={_revision(port)}&wait=30")) for _ in range(WAITING)]
    fresh = ("/status", "/models", "/state")  # Redis, behind /queue/status, never hangs
    probing = [
        Reader(_get(fresh[number % len(fresh)], "Cache-Control: no-cache")) for number in range(WAITING)
    ]
    with trio.fail_after(PATIENCE * 2):
        async with trio.open_nursery() as nursery:
            for reader in streams:
                await nursery.start(reader.run, port)
            deaf = [await _deaf(port) for _ in range(DEAF)]
            await trio.sleep(BEGIN)
            for reader in (*waiting, *probing):
                await nursery.start(reader.run, port)
            await trio.sleep(BEGIN)
            early = [reader.request for reader in (*waiting, *probing) if reader.is_begun]
            if early or not all(reader.is_begun for reader in streams):
                print(
                    f"Not what was to be measured: {early} were answered before the signal, or streams had not begun."
                )
            began = time.monotonic()
            daemon.send_signal(signal.SIGTERM)
            code = await trio.to_thread.run_sync(_end, daemon)
            seconds = time.monotonic() - began
        for stream in deaf:
            await trio.aclose_forcefully(stream)
    return Stopped(
        code=code,
        seconds=seconds,
        streams=collections.Counter(reader.fate for reader in streams),
        answers=collections.Counter(reader.fate for reader in (*waiting, *probing)),
    )


def _get(target: str, *fields: str) -> bytes:
    return "\r\n".join((f"GET {target} HTTP/1.1", f"Host: {HOST}", *fields, "", "")).encode()


async def _deaf(port: int) -> trio.SocketStream:
    """Return a connection full of requests, whose answers nobody reads."""
    stream = await trio.open_tcp_stream(HOST, port)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with trio.move_on_after(BEGIN / 5):
        await stream.send_all(PIPELINED)
    return stream


def _revision(port: int) -> int:
    with urllib.request.urlopen(f"http://{HOST}:{port}/state", timeout=5) as answer:
        revision: int = json.load(answer)["revision"]
    return revision


def _end(daemon: subprocess.Popen[bytes]) -> int:
    try:
        return daemon.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        daemon.kill()
        return daemon.wait()
