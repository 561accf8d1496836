"""Contexts for the conformance checks: every call hangs, fails or answers garbage, and is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

import attrs
import trio

from statusd.errors import ProbeError
from statusd.testing.behaviours import HTML_PAGE
from statusd.testing.fakes import FakeCompleted, FakeContext, FakeResponse
from statusd.values import Secret, Url

T = TypeVar("T")

FAILURES: Final[Mapping[str, str]] = {
    "timeout": "No complete answer within the timeout.",
    "refused": "The connection was refused.",
    "unreachable": "There is no route to the host.",
    "name_not_resolved": "The host name could not be resolved.",
    "tls_failed": "The TLS handshake failed.",
    "connection_lost": "The connection broke before the answer was complete.",
    "permission_denied": "The operating system refused access.",
    "not_found": "It does not exist.",
    "protocol_error": "The answer breaks the protocol.",
    "too_large": "The answer is over a size limit.",
}
"""Reason -> message of everything that the probe clients raise."""


@attrs.frozen(kw_only=True)
class Garbage:
    """What every call answers, by kind of client.

    Attributes:
        http: the answer to a GET.
        handshake: the status code of a WebSocket handshake.
        redis: the reply to a command.
        command: the result of a command.
    """

    http: FakeResponse
    handshake: int = 200
    redis: Any = None
    command: FakeCompleted = attrs.field(factory=lambda: FakeCompleted(returncode=1))


def garbage(echo: str = "") -> dict[str, Garbage]:
    """Return every kind of garbage by name.

    Args:
        echo: text that error pages contain, as servers do that repeat the credentials they were sent.
    """
    page = HTML_PAGE + echo.encode()
    blame = f'{{"detail":"not valid: {echo}"}}'.encode()
    return {
        "empty_body": Garbage(http=FakeResponse(200, b""), redis=b""),
        "binary_body": Garbage(http=FakeResponse(200, bytes(range(256))), redis=bytes(range(256))),
        "html_page": Garbage(http=FakeResponse(200, page, {"content-type": "text/html"}), redis=page),
        "cut_json": Garbage(http=FakeResponse(200, b'{"status":{"live_readers":{"'), redis=["flashtalk"]),
        "json_null": Garbage(http=FakeResponse(200, b"null")),
        "json_list": Garbage(http=FakeResponse(200, b"[[], 1, null]"), redis=[[], 1, None]),
        "json_text": Garbage(http=FakeResponse(200, b'"ok"'), redis="ok"),
        "json_nan": Garbage(http=FakeResponse(200, b'{"status":NaN,"models":[NaN]}'), redis=float("nan")),
        "deep_json": Garbage(http=FakeResponse(200, b"[" * 100_000 + b"]" * 100_000), redis=[[[[[]]]]]),
        "redirect": Garbage(http=FakeResponse(302, page, {"location": "/login"}), handshake=302, redis=0),
        "bad_request": Garbage(http=FakeResponse(400, blame), handshake=400, redis=-1),
        "unauthorized": Garbage(http=FakeResponse(401, blame), handshake=401, redis=blame),
        "not_found": Garbage(http=FakeResponse(404, page), handshake=404, redis=True),
        "server_error": Garbage(
            http=FakeResponse(500, blame),
            handshake=500,
            redis={1: 2},
            command=FakeCompleted(returncode=-11, stderr=page),
        ),
        "unavailable": Garbage(
            http=FakeResponse(503, page),
            handshake=503,
            redis=[b"odd"],
            command=FakeCompleted(returncode=127, stdout=page, stderr=blame),
        ),
    }


MOST_CALLS: Final = 1000
"""Calls after which each further one hangs, so that a loop without a pause ends nobody's test run."""


class Call:
    """What a hostile context does at every call; base of the three kinds."""

    def __init__(self) -> None:
        self.count = 0

    async def _begin(self) -> None:
        self.count += 1
        await trio.lowlevel.checkpoint()
        if self.count > MOST_CALLS:
            await trio.sleep_forever()

    async def http(self) -> FakeResponse:
        """Answer a GET."""
        raise NotImplementedError

    async def handshake(self) -> int:
        """Answer a WebSocket handshake."""
        raise NotImplementedError

    async def connect(self) -> None:
        """Answer a connection attempt."""
        raise NotImplementedError

    async def redis(self) -> Any:
        """Answer a Redis command."""
        raise NotImplementedError

    async def command(self) -> FakeCompleted:
        """Answer a command."""
        raise NotImplementedError

    async def thread(self, function: Callable[..., T], *args: object) -> T:
        """Call a blocking function."""
        return function(*args)


class Failing(Call):
    """Every call raises `error`."""

    def __init__(self, error: ProbeError) -> None:
        super().__init__()
        self.error = error

    async def _fail(self) -> NoReturn:
        await self._begin()
        raise self.error

    http = handshake = connect = redis = command = _fail


class Hanging(Call):
    """Every call hangs, until cancelled or until `release`."""

    def __init__(self) -> None:
        super().__init__()
        self._released = trio.Event()

    def release(self) -> None:
        """Let every call, past and future, end with a timeout."""
        self._released.set()

    @property
    def is_released(self) -> bool:
        """Whether `release` was called."""
        return self._released.is_set()

    async def _hang(self) -> NoReturn:
        self.count += 1
        await self._released.wait()
        raise ProbeError("timeout", FAILURES["timeout"])

    http = handshake = connect = redis = command = _hang

    async def thread(self, function: Callable[..., T], *args: object) -> T:
        """Hang as the rest."""
        del function, args
        return await self._hang()


class Answering(Call):
    """Every call answers the same garbage; a plain connection succeeds."""

    def __init__(self, answers: Garbage) -> None:
        super().__init__()
        self.answers = answers

    async def http(self) -> FakeResponse:
        """Answer a GET."""
        await self._begin()
        return self.answers.http

    async def handshake(self) -> int:
        """Answer a WebSocket handshake."""
        await self._begin()
        return self.answers.handshake

    async def connect(self) -> None:
        """Accept; not counted, because a connection that opens is not garbage."""
        await trio.lowlevel.checkpoint()

    async def redis(self) -> Any:
        """Answer a Redis command."""
        await self._begin()
        return self.answers.redis

    async def command(self) -> FakeCompleted:
        """Answer a command."""
        await self._begin()
        return self.answers.command


@attrs.frozen
class _Http:
    call: Call

    async def get(
        self,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        max_body: int = 1 << 20,
        ca_file: str = "",
        unix_socket: str = "",
    ) -> FakeResponse:
        answer = await self.call.http()
        if len(answer.body) > max_body:
            raise ProbeError("too_large", FAILURES["too_large"])
        return attrs.evolve(answer, url=url)


@attrs.frozen
class _WebSocket:
    call: Call

    async def handshake(
        self,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        ca_file: str = "",
    ) -> int:
        return await self.call.handshake()


@attrs.frozen
class _Tcp:
    call: Call

    async def connect(self, host: str, port: int) -> None:
        await self.call.connect()


@attrs.frozen
class _Redis:
    call: Call

    async def execute(
        self,
        url: Url,
        *command: str | bytes | int,
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
    ) -> Any:
        return await self.call.redis()

    async def watch(
        self,
        url: Url,
        *keys: str,
        changed: Callable[[], None],
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
    ) -> None:
        await self.call.redis()


@attrs.define(kw_only=True)
class HostileContext(FakeContext):
    """A `statusd.Context` whose every call does what `call` does."""

    call: Call
    http: Any = attrs.field(init=False)
    websocket: Any = attrs.field(init=False)
    tcp: Any = attrs.field(init=False)
    redis: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.http, self.websocket = _Http(self.call), _WebSocket(self.call)
        self.tcp, self.redis = _Tcp(self.call), _Redis(self.call)

    async def run(self, command: Sequence[str]) -> FakeCompleted:
        """Do what `call` does, whatever the command."""
        self.ran.append(tuple(command))
        return await self.call.command()

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Do what `call` does with a blocking function."""
        return await self.call.thread(function, *args)
