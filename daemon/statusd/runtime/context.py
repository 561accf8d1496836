"""What a source gets from the daemon, put together."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import attrs
import trio

from statusd.events import ATTRIBUTE, Event
from statusd.plugin.context import Clock, Completed, HttpClient, RedisClient, TcpClient, WebSocketClient

T = TypeVar("T")

LISTENS: Final[ContextVar[bool]] = ContextVar("statusd_listens", default=False)
"""Whether this task listens: what it blocks in must not keep the source's probes waiting."""


class SourceLog(logging.LoggerAdapter[logging.Logger]):
    """A logger that names its source in each line, and to programs."""

    def __init__(self, source: str) -> None:
        super().__init__(logging.getLogger("statusd.sources"), {"source": source})
        self._source = source
        self._prefix = f"source {source}: "

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the source's name in front, and into the record's event."""
        extra = kwargs.get("extra") or {}
        told = extra.get(ATTRIBUTE)
        own = {"source": self._source}
        event = Event(told.kind, {**told.fields, **own}) if isinstance(told, Event) else Event(None, own)
        kwargs["extra"] = {**extra, ATTRIBUTE: event}
        # The name's alphabet has no %, so it cannot be taken for a placeholder.
        return f"{self._prefix}{msg}", kwargs


@attrs.define(eq=False, kw_only=True)
class SourceContext:
    """The `statusd.Context` of one source.

    Attributes:
        name: the source's name.
        plugin: its plugin's name.
        models: ids of the models it is configured to serve; a reload may change them.
        every_model: returns the ids of all configured models.
        timeout: seconds for a whole probe.
        clock: the time.
        log: a logger bound to the source.
        http, websocket, tcp, redis: the capped clients.
        run_command: runs a command in its own process group.
    """

    name: str
    plugin: str
    models: tuple[str, ...]
    every_model: Callable[[], tuple[str, ...]]
    timeout: float
    clock: Clock
    log: SourceLog
    http: HttpClient
    websocket: WebSocketClient
    tcp: TcpClient
    redis: RedisClient
    run_command: Callable[[Sequence[str]], Awaitable[Completed]]
    _thread: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    _listening_thread: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    @property
    def all_models(self) -> tuple[str, ...]:
        """Ids of every configured model; a reload may change them."""
        return self.every_model()

    async def run(self, command: Sequence[str]) -> Completed:
        """Run a command; see `statusd.Context.run`."""
        return await self.run_command(command)

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Call a blocking function in this source's own thread; see `statusd.Context.in_thread`."""
        limiter = self._listening_thread if LISTENS.get() else self._thread
        return await trio.to_thread.run_sync(lambda: function(*args), abandon_on_cancel=True, limiter=limiter)
