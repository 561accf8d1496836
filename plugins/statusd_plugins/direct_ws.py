"""A model server that is reached by WebSocket directly, such as FlashHead: is it there?"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import attrs

from statusd import (
    ProbeError,
    Report,
    Source,
    SourceRegistry,
    Status,
    Url,
    expect_success,
    hookimpl,
    option,
    schemes,
)

LABEL: Final = "explicit_enabled"
HTTP: Final = {"ws": "http", "wss": "https"}
WEBSOCKET: Final = {"http": "ws", "https": "wss"}
PORTS: Final = {"ws": 80, "http": 80, "wss": 443, "https": 443}

_KEY: Final = ("unauthorized", "the server wants a key, or another one")
_FAILED: Final = ("unexpected_answer", "it failed, and its own log knows why")
_NO_WEBSOCKET: Final = ("unexpected_answer", "correct the URL, or another kind of server listens there")
_REFUSALS: Final = {401: _KEY, 403: _KEY, 503: ("unavailable", "it is not available")}


@attrs.frozen(kw_only=True)
class DirectWsSource(Source):
    """A WebSocket server, asked over HTTP, by a handshake or by a plain connection.

    A server that accepts the connection and never answers is not connected (except to ``check = "tcp"``, which
    asks nothing).
    """

    default_interval: ClassVar[float] = 5.0

    url: Url = option(
        Url(),
        validator=schemes("ws", "wss", "http", "https"),
        help='Address of the server, such as "ws://127.0.0.1:8765/v1"; empty = not configured.',
    )
    check: Literal["http", "handshake", "tcp"] = option(
        "http",
        help='How to ask: "http" = GET the URL\'s path with a slash, any answer below 500 is good; "handshake" = open '
        'and close a WebSocket, which may take the only slot of a single-session server; "tcp" = connect.',
    )
    assume_connected: bool = option(
        False,
        help="Show the models as connected whatever the probe finds; the source itself keeps showing the truth.",
    )
    ca_file: str = option(
        "", help="PEM file with the certificate authorities to trust, instead of the system's."
    )

    @property
    def is_configured(self) -> bool:
        """Whether there is something to ask, or to assume without asking."""
        return bool(self.url) or self.assume_connected

    async def probe(self) -> list[Report]:
        """Ask once, in the configured way."""
        if not self.url:
            return self._with_models(
                Report.off("not_configured", "No URL is configured, so nothing is asked.")
            )
        if self.check == "handshake":
            return self._with_models(await self._open_websocket())
        if self.check == "tcp":
            await self.context.tcp.connect(self.url.host, self.url.port or PORTS[self.url.scheme])
            return self._with_models(Report.ok(message="The server accepts connections."))
        return self._with_models(await self._ask())

    def on_failure(self, failure: Report) -> list[Report]:
        """Return the failure, and the models as connected where the configuration assumes so."""
        return self._with_models(failure)

    async def _ask(self) -> Report:
        scheme = HTTP.get(self.url.scheme, self.url.scheme)
        response = await self.context.http.get(
            self.url.with_scheme(scheme).with_path("/"), ca_file=self.ca_file
        )
        if response.status >= 500:
            expect_success(response)
        return Report.ok(message=f"The server answered {response.status}.", facts={"answer": response.status})

    async def _open_websocket(self) -> Report:
        scheme = WEBSOCKET.get(self.url.scheme, self.url.scheme)
        code = await self.context.websocket.handshake(self.url.with_scheme(scheme), ca_file=self.ca_file)
        if code == 101:
            return Report.ok(message="The server opened a WebSocket.", facts={"answer": code})
        reason, remedy = _REFUSALS.get(code, _FAILED if code >= 500 else _NO_WEBSOCKET)
        raise ProbeError(
            reason, f"{self.url.bare} answered the WebSocket handshake with {code}, not 101: {remedy}."
        )

    def _with_models(self, found: Report) -> list[Report]:
        if not self.assume_connected:
            return [found]
        is_ok = found.status is Status.OK
        assumed = Report(
            status=Status.OK if is_ok else Status.DEGRADED,
            reason="ok" if is_ok else "assume_connected",
            message=found.message if is_ok else "Shown as connected because the configuration says so.",
            label=LABEL,
        )
        return [found, *(attrs.evolve(assumed, model=model) for model in self.context.models)]


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register the source type."""
    registry.add(DirectWsSource)
