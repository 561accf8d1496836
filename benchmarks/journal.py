"""A journald and a service manager for a daemon that is measured."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, cast

import attrs

from statusd.events import RECORDS_DROPPED

sys.path.insert(0, str(Path(__file__).parents[1]))
shared: Final[Any] = importlib.import_module("tests.systemd.journald")
"""What tests and benchmarks share."""

STREAM: Final = "/run/systemd/journal/stdout"
ROOM: Final = "[Journal]\nRuntimeMaxUse=2G\nRuntimeMaxFileSize=256M\n"
"""So that journald forgets nothing meanwhile."""
NICE: Final = 19
"""Of journald, which shares a core with the clients."""
START: Final = 20.0
"""Seconds in which a daemon must be ready, and must end."""
LOOK: Final = 0.2
"""Seconds between two looks whether there is no more to receive."""


@attrs.frozen
class JournalHere:
    """A journald of its own.

    Attributes:
        journald: what runs it.
    """

    journald: Any

    def command(self, *command: str) -> list[str]:
        """Return the command that runs `command` beside it."""
        found: list[str] = self.journald.command(*command)
        return found

    @contextmanager
    def stream(self, identifier: str) -> Iterator[IO[bytes]]:
        """Give what systemd makes standard error of a service: a stream to journald (systemd-cat(1) does the same)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
            connected.connect(str(self.journald.inside(STREAM)))
            connected.sendall(f"{identifier}\n\n6\n1\n0\n0\n0\n".encode())
            with connected.makefile("wb", buffering=0) as stream:
                yield cast("IO[bytes]", stream)

    @staticmethod
    def name_of(stream: IO[bytes]) -> str:
        """Return what ``$JOURNAL_STREAM`` says of `stream` (systemd.exec(5))."""
        found = os.fstat(stream.fileno())
        return f"{found.st_dev}:{found.st_ino}"

    @contextmanager
    def ended(self, outer: subprocess.Popen[bytes]) -> Iterator[int]:
        """Give the process that nsenter, `outer`, started; it is ended with the block."""
        [child] = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text(encoding="ascii").split()
        try:
            yield int(child)
        finally:
            if outer.poll() is None:
                os.kill(int(child), signal.SIGTERM)
                outer.wait(START)

    def freeze(self) -> None:
        """Stop journald where it is."""
        self.journald.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self.journald.thaw()

    def count(self, kind: str) -> int:
        """Return how many entries have that MESSAGE_ID."""
        return len(self._journalctl("-o", "cat", f"MESSAGE_ID={kind}").splitlines())

    def dropped(self) -> int:
        """Return how many records the daemon has told of as dropped."""
        text = self._journalctl("-o", "json", f"MESSAGE_ID={RECORDS_DROPPED.id}")
        return sum(int(json.loads(line)["STATUSD_DROPPED"]) for line in text.splitlines())

    def _journalctl(self, *arguments: str) -> str:
        text: str = self.journald.run("journalctl", "--directory=/run/log/journal", "--all", *arguments)
        return text


@contextmanager
def journal_here() -> Iterator[JournalHere]:
    """Run a journald until the block ends.

    Raises:
        SystemExit: with code 2, when it cannot run here.
    """
    if reason := shared.missing():
        print(f"A journald of its own {reason}.")
        raise SystemExit(2)
    journald = shared.Journald.boot()
    try:
        journald.kill()
        journald.inside("/run/systemd/journald.conf.d/room.conf").write_text(ROOM, encoding="utf-8")
        journald.start()
        os.setpriority(os.PRIO_PROCESS, journald.daemon, NICE)
        yield JournalHere(journald)
    finally:
        journald.halt()


@attrs.define(eq=False)
class Manager:
    """A service manager, as far as a daemon tells it something (sd_notify(3)).

    Attributes:
        path: of its socket.
    """

    path: Path
    _told: list[tuple[float, bytes]] = attrs.field(factory=list, init=False)
    _socket: socket.socket = attrs.field(init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _is_done: bool = attrs.field(default=False, init=False)

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(LOOK)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_done = True
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._is_done:
            try:
                message = self._socket.recv(4096)
            except TimeoutError:
                continue
            self._told.append((time.monotonic(), message))

    def expect_ready(self) -> None:
        """Wait until the daemon is ready.

        Raises:
            SystemExit: when that takes too long.
        """
        deadline = time.monotonic() + START
        while not any(b"READY=1" in message for _, message in self._told):
            if time.monotonic() > deadline:
                raise SystemExit(f"The daemon was not ready within {START:g} s.")
            time.sleep(0.05)  # between two looks, with a deadline

    @property
    def pings(self) -> int:
        """How often the watchdog was fed."""
        return len(self._pinged())

    def longest_pause(self) -> float:
        """Return the seconds between two pings at most, the time since the last one too."""
        moments = [*self._pinged(), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def _pinged(self) -> list[float]:
        return [moment for moment, message in self._told if b"WATCHDOG=1" in message.splitlines()]
