"""Fakes of everything the daemon hands to a source: canned answers in, what was asked out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import trio

from statusd.errors import ProbeError
from statusd.values import Secret, Url

T = TypeVar("T")


@attrs.define
class FakeClock:
    """A clock that moves only when told to."""

    wall: float = 1_800_000_000.0
    elapsed: float = 0.0

    def now(self) -> float:
        """Return the wall clock."""
        return self.wall + self.elapsed

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.elapsed += seconds


@attrs.frozen
class FakeResponse:
    """An answer for `FakeHttp`, which sets its `url`."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    url: Url = attrs.field(factory=Url)


@attrs.define
class FakeHttp:
    """Answers GETs from a table of request target (path and query) -> response or error; 404 for the rest."""

    answers: dict[str, FakeResponse | ProbeError] = attrs.field(factory=dict)
    asked: list[tuple[Url, dict[str, str]]] = attrs.field(factory=list)

    async def get(
        self,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        max_body: int = 1 << 20,
        ca_file: str = "",
        unix_socket: str = "",
    ) -> FakeResponse:
        """Return the canned answer."""
        self.asked.append((url, dict(headers or {})))
        answer = self.answers.get(url.target, FakeResponse(404))
        if isinstance(answer, ProbeError):
            raise answer
        if len(answer.body) > max_body:
            raise ProbeError("too_large", f"The body is over {max_body} bytes.")
        return attrs.evolve(answer, url=url)


@attrs.define
class FakeWebSocket:
    """Answers every handshake alike."""

    answer: int | ProbeError = 101
    asked: list[Url] = attrs.field(factory=list)

    async def handshake(
        self,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        ca_file: str = "",
    ) -> int:
        """Return the canned answer."""
        self.asked.append(url)
        if isinstance(self.answer, ProbeError):
            raise self.answer
        return self.answer


@attrs.define
class FakeTcp:
    """Accepts or refuses every connection."""

    error: ProbeError | None = None
    asked: list[tuple[str, int]] = attrs.field(factory=list)

    async def connect(self, host: str, port: int) -> None:
        """Connect, or raise the canned error."""
        self.asked.append((host, port))
        if self.error is not None:
            raise self.error


@attrs.define
class FakeRedis:
    """Answers every command alike; tells those who `watch` of changes when `change` is called."""

    reply: Any = None
    asked: list[tuple[str | bytes | int, ...]] = attrs.field(factory=list)
    watched: list[tuple[str, ...]] = attrs.field(factory=list)
    _watchers: list[Callable[[], None]] = attrs.field(factory=list, init=False)

    async def execute(
        self,
        url: Url,
        *command: str | bytes | int,
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
    ) -> Any:
        """Return the canned reply, or raise it when it is an error."""
        self.asked.append(command)
        if isinstance(self.reply, ProbeError):
            raise self.reply
        return self.reply

    async def watch(
        self,
        url: Url,
        *keys: str,
        changed: Callable[[], None],
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
    ) -> None:
        """Call `changed` now and with each `change`, until cancelled; raise the reply when it is an error."""
        self.watched.append(keys)
        if isinstance(self.reply, ProbeError):
            raise self.reply
        self._watchers.append(changed)
        try:
            changed()
            await trio.sleep_forever()
        finally:
            self._watchers.remove(changed)

    def change(self) -> None:
        """Tell everyone who watches."""
        for changed in tuple(self._watchers):
            changed()


@attrs.frozen
class FakeCompleted:
    """A finished command for `FakeContext.commands`."""

    returncode: int = 0
    stdout: bytes = b""
    stderr: bytes = b""


@attrs.define(kw_only=True)
class FakeContext:
    """A `statusd.Context` made of fakes; set the answers on its parts, then call the source's ``probe``."""

    name: str = "example"
    plugin: str = "example"
    models: tuple[str, ...] = ()
    all_models: tuple[str, ...] = attrs.field(
        default=attrs.Factory(lambda self: self.models, takes_self=True)
    )
    timeout: float = 2.0
    clock: FakeClock = attrs.field(factory=FakeClock)
    http: FakeHttp = attrs.field(factory=FakeHttp)
    websocket: FakeWebSocket = attrs.field(factory=FakeWebSocket)
    tcp: FakeTcp = attrs.field(factory=FakeTcp)
    redis: FakeRedis = attrs.field(factory=FakeRedis)
    commands: dict[str, FakeCompleted | ProbeError] = attrs.field(factory=dict)
    ran: list[tuple[str, ...]] = attrs.field(factory=list)
    log: logging.LoggerAdapter[logging.Logger] = attrs.field(
        factory=lambda: logging.LoggerAdapter(logging.getLogger("statusd.testing"), {})
    )

    async def run(self, command: Sequence[str]) -> FakeCompleted:
        """Return the canned result for the program ``command[0]``; `not_found` without one."""
        self.ran.append(tuple(command))
        result = self.commands.get(command[0], ProbeError("not_found", f"{command[0]} does not exist."))
        if isinstance(result, ProbeError):
            raise result
        return result

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Call the function right here."""
        return function(*args)
