"""What the daemon hands to sources and views: clients with every cap in place, and who else is configured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import attrs

from statusd.values import Secret, Url

T = TypeVar("T")


class Clock(Protocol):
    """The time, as a source may read it; a fake in tests."""

    def now(self) -> float:
        """Return the wall clock, in seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow, for measuring how long something took."""
        ...


class HttpResponse(Protocol):
    """A complete answer to a GET."""

    @property
    def url(self) -> Url:
        """What was asked."""
        ...

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields, names in lower case; of repeated ones the values joined by ``", "``."""
        ...

    @property
    def body(self) -> bytes:
        """The body, without transfer coding."""
        ...


class HttpClient(Protocol):
    """HTTP/1.1 GET with every cap in place: one deadline, wire, header and body bytes, no redirects."""

    async def get(
        self,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        max_body: int = 1 << 20,
        ca_file: str = "",
        unix_socket: str = "",
    ) -> HttpResponse:
        """Send one GET and return the answer, whatever its status code.

        Args:
            url: http or https; its userinfo is sent as Basic credentials (RFC 7617).
            headers: further header fields; ``Host``, ``Accept``, ``Accept-Encoding`` and ``User-Agent`` are set.
            max_body: bytes of body after which the answer is ``too_large``.
            ca_file: PEM file with the certificate authorities to trust, instead of the system's.
            unix_socket: path of a Unix socket to connect to, instead of the URL's host and port.

        Raises:
            ProbeError: reason ``timeout``, ``refused``, ``unreachable``, ``name_not_resolved``, ``tls_failed``,
                ``connection_lost``, ``permission_denied``, ``not_found``, ``protocol_error`` or ``too_large``.
        """
        ...


class WebSocketClient(Protocol):
    """The opening and closing handshake of a WebSocket (RFC 6455)."""

    async def handshake(
        self, url: Url, *, headers: Mapping[str, str] | None = None, ca_file: str = ""
    ) -> int:
        """Open a WebSocket and close it with 1000; return the upgrade's status code, 101 when it opened.

        Raises:
            ProbeError: as `HttpClient.get`.
        """
        ...


class TcpClient(Protocol):
    """A plain connection attempt."""

    async def connect(self, host: str, port: int) -> None:
        """Connect and close.

        Raises:
            ProbeError: as `HttpClient.get`.
        """
        ...


class RedisClient(Protocol):
    """Commands to a Redis server, one connection a server, no retries."""

    async def execute(
        self,
        url: Url,
        *command: str | bytes | int,
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
    ) -> Any:
        """Send one command and return its reply: bytes for strings, dict for HGETALL, as redis-py gives them.

        Args:
            url: ``redis://``, ``rediss://`` (TLS) or ``unix://``; userinfo and ``/database`` are honoured.
            command: the command and its arguments.
            username: ACL user, where the URL names none.
            password: password, where the URL holds none.
            ca_file: PEM file with the certificate authorities to trust.

        Raises:
            ProbeError: as `HttpClient.get`, and ``unauthorized``, ``wrong_type`` or ``unexpected_answer``.
        """
        ...

    async def watch(
        self,
        url: Url,
        *keys: str,
        changed: Callable[[], None],
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
    ) -> None:
        """Listen for changes of keys until cancelled, on a connection of its own; for ``Source.watch``.

        Uses client tracking in broadcasting mode (Redis 6 and later), which needs nothing set up in the server and
        the permission ``+client|tracking``. A server that does not answer a PING, sent every 5 s, within the source's
        timeout is lost.

        Args:
            url: as for `execute`; a key of the same name in another database counts too.
            keys: their names; of another key's change nothing is heard.
            changed: called in the event loop's thread: once listening has begun, and again whenever it begins
                anew, since what changed before that was told to nobody; then after a key was written, deleted
                or expired. It may be called once for several changes.
            username: ACL user, where the URL names none.
            password: password, where the URL holds none.
            ca_file: PEM file with the certificate authorities to trust.

        Raises:
            ProbeError: as `execute`; ``unexpected_answer`` where the server knows no client tracking. Listening has
                ended; begin anew after a pause.
        """
        ...


class Completed(Protocol):
    """A finished command."""

    @property
    def returncode(self) -> int:
        """The exit code; negative: ended by that signal."""
        ...

    @property
    def stdout(self) -> bytes:
        """Standard output, cut at 64 KiB."""
        ...

    @property
    def stderr(self) -> bytes:
        """Standard error, cut at 64 KiB."""
        ...


class Context(Protocol):
    """What the daemon hands to a source."""

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        ...

    @property
    def plugin(self) -> str:
        """The plugin's (entry point's) name."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of the models in ``[models]`` that name this source, in the configured order; a reload may change them."""
        ...

    @property
    def all_models(self) -> tuple[str, ...]:
        """The ids of every model in ``[models]``, whoever serves it, in the configured order; a reload may change them."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds for a whole probe; the supervisor enforces it."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger bound to this source; masks known secrets."""
        ...

    @property
    def http(self) -> HttpClient:
        """Capped HTTP."""
        ...

    @property
    def websocket(self) -> WebSocketClient:
        """WebSocket handshakes."""
        ...

    @property
    def tcp(self) -> TcpClient:
        """Plain connection attempts."""
        ...

    @property
    def redis(self) -> RedisClient:
        """Redis commands."""
        ...

    async def run(self, command: Sequence[str]) -> Completed:
        """Run a command without a shell, in its own process group, which is killed when the probe ends early.

        Raises:
            ProbeError: reason ``not_found`` or ``permission_denied`` when it cannot be started.
        """
        ...

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Call a blocking function in this source's own thread, which is given up when the probe ends early.

        A source's `watch` has another one, so what it blocks in keeps no probe waiting.
        """
        ...


@attrs.frozen(kw_only=True)
class SourceInfo:
    """A configured source, as views and sinks see it.

    Attributes:
        name: its name in the configuration.
        plugin: its plugin's name.
        backend: what ``/models`` calls it.
        required: whether it takes part in rollups.
        interval: seconds between two probes.
        timeout: seconds for a whole probe.
        rise: good probes in a row after which a bad source counts as good.
        fall: bad probes in a row after which a good source counts as bad.
        depends_on: names of the sources without which it cannot work.
        max_age: seconds of age beyond which every request has it probed; None = only where a request says so.
    """

    name: str
    plugin: str
    backend: str
    required: bool = True
    interval: float = 2.0
    timeout: float = 2.0
    rise: int = 1
    fall: int = 1
    depends_on: tuple[str, ...] = ()
    max_age: float | None = None


@attrs.frozen(kw_only=True)
class ViewContext:
    """What the daemon hands to a view.

    Attributes:
        sources: every configured source, in order.
        models: every id of ``[models]``, in order.
        serving: each of those ids -> the names of the sources that can serve it, best first.
    """

    sources: tuple[SourceInfo, ...]
    models: tuple[str, ...]
    serving: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def sources_of(self, plugin: str) -> tuple[str, ...]:
        """Return the names of the sources with ``plugin = "<plugin>"``, in order."""
        return tuple(source.name for source in self.sources if source.plugin == plugin)
