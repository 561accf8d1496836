"""All that touches the inside of hypercorn: its HTTP/1.1 protocol, driven by our own connections.

Hypercorn's public ``serve`` ends the whole server when one connection raises, so statusd accepts and owns its
connections and uses hypercorn from the protocol upwards. Written against 0.18; `verify` says so when that changes.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import h11
import trio

from statusd.errors import StartError
from statusd.web.edge.requests import REFUSED, Requests, headers_of
from statusd.web.edge.shared import Edge
from statusd.web.edge.wire import PATIENCE, PROBES_ONLY, Wire
from statusd.web.problems import http_problem, phrase
from statusd.web.target import authority, origin_form, refusal

SUPPORTED: Final = "0.18."
_REMEDY: Final = f'install a matching one with: pip install "hypercorn=={SUPPORTED}*"'

try:
    from hypercorn.config import Config
    from hypercorn.events import Closed, Event, RawData, Updated
    from hypercorn.protocol.h11 import H11Protocol
    from hypercorn.protocol.http_stream import HTTPStream
    from hypercorn.trio.worker_context import WorkerContext
except ImportError as error:
    raise StartError(
        f"hypercorn {version('hypercorn')} is not as statusd expects it: {error.name} differs; {_REMEDY}"
    ) from error

UNKNOWN: Final = b"UNKNOWN"
"""Stands for a method that is not written in capitals: no such one is served."""

_USED: Final[Mapping[type, Mapping[str, tuple[str, ...]]]] = {
    H11Protocol: {
        "__init__": (
            *("self", "app", "config", "context", "task_group", "connection_state"),
            *("ssl", "client", "server", "send"),
        ),
        "handle": ("self", "event"),
        "_check_protocol": ("self", "event"),
        "_create_stream": ("self", "request"),
        "_send_h11_event": ("self", "event"),
        "_send_error_response": ("self", "status_code"),
    },
    HTTPStream: {"handle": ("self", "event"), "app_send": ("self", "message")},
    WorkerContext: {"__init__": ("self", "max_requests")},
}


def verify(installed: str | None = None) -> None:
    """Want the hypercorn that this file was written against.

    Args:
        installed: its version; None asks the installed distribution.

    Raises:
        StartError: when its version or what is used of its inside differs.
    """
    installed = installed or version("hypercorn")
    if not installed.startswith(SUPPORTED):
        raise StartError(
            f"hypercorn {installed} is installed, statusd is written for {SUPPORTED}*; {_REMEDY}"
        )
    for owner, methods in _USED.items():
        for name, parameters in methods.items():
            method = getattr(owner, name, None)
            if method is None or tuple(inspect.signature(method).parameters) != parameters:
                raise StartError(
                    f"hypercorn {installed} is not as statusd expects it: {owner.__name__}.{name} differs; {_REMEDY}"
                )


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("statusd.web")
    config.include_server_header = False
    config.keep_alive_max_requests = sys.maxsize  # the connection counts them itself
    return config


_CONFIG: Final = _config()


class Http:
    """HTTP/1.1 on one connection: bytes in, requests to the application, bytes out.

    Args:
        edge: what connections share.
        wire: the connection.
        nursery: runs the requests; belongs to the connection.
    """

    def __init__(self, edge: Edge, wire: Wire, nursery: trio.Nursery) -> None:
        self._edge = edge
        self._wire = wire
        parser = _Parser(h11.SERVER, max_incomplete_event_size=edge.limits.header_bytes)
        requests: Any = Requests(edge, wire, nursery)  # duck-typed as hypercorn's TaskGroup
        state: Any = {PROBES_ONLY: wire.is_probes_only, PATIENCE: wire.patience}  # a NewType of dict
        self._protocol = _Protocol(
            app=edge.app,  # type: ignore[arg-type]  # passed through to `spawn_app`, which is ours
            config=_CONFIG,
            context=WorkerContext(None),  # connections end by what the last answer said, and by themselves
            task_group=requests,
            connection_state=state,
            ssl=wire.is_tls,
            client=wire.client,
            server=wire.server,
            send=self._on_event,
        )
        self._protocol.connection = self._parser = parser
        self._protocol.wire = wire
        self._protocol.requests = requests
        self._protocol.limited = edge.traffic.limited

    @property
    def is_between(self) -> bool:
        """Whether the last request is answered, and nothing of the next one has come."""
        parser = self._parser
        return parser.our_state is parser.their_state is h11.IDLE and parser.trailing_data == (b"", False)

    @property
    def is_receiving(self) -> bool:
        """Whether the body of a request has not come whole yet."""
        return bool(self._parser.their_state is h11.SEND_BODY)

    async def feed(self, data: bytes) -> None:
        """Take what the client sent; ``b""``: it will send no more."""
        if data:
            self._wire.begun()
            self._parser.take_headers_of(self._edge.limits.header_bytes)
        await self._protocol.handle(RawData(data))

    async def close(self) -> None:
        """Tell the request in flight, if any, that the client is gone."""
        await self._protocol.handle(Closed())

    def forget(self) -> None:
        """Let go of all that refers back, so that nothing of the connection waits for a garbage collection."""
        vars(self._protocol).clear()

    async def _on_event(self, event: Event) -> None:
        if isinstance(event, RawData):
            if event.data:  # the end of a message is an empty write where the length was known
                await self._wire.write(event.data)
        elif isinstance(event, Updated):
            if event.idle:
                self._wire.idle()
                if not self.is_between:  # what has come behind the last request begins another one
                    self._wire.begun()
            else:
                self._wire.asked()
        elif isinstance(event, Closed):
            self._wire.end()


class _Parser(h11.Connection):
    """The parser, deaf after a request that asked to close.

    Stock h11 calls what follows an error, and hypercorn then cuts off the answer that is being sent; no further
    requests are to be processed (RFC 9112, section 9.6), and no more is needed.
    """

    def take_headers_of(self, size: int) -> None:
        """Take headers of `size` bytes from now on; what h11 has no public way for, unlike at its construction."""
        self._max_incomplete_event_size = size

    def receive_data(self, data: bytes) -> None:
        if self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        if self.their_state is h11.MUST_CLOSE and self.trailing_data[0]:
            return h11.NEED_DATA
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            # It is raised by a method of its own, and so refers to itself through that frame.
            error.__traceback__ = None
            raise


class _Protocol(H11Protocol):
    """Hypercorn's HTTP/1.1, without its ways to other protocols, and with whole error answers."""

    wire: Wire
    requests: Requests
    limited: Counter[str]
    asked: h11.Request | None = None
    """What is refused, where it was understood."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Switch to no other protocol: nobody needs h2c here, and it has two ways to end the server."""

    async def _create_stream(self, request: h11.Request) -> None:
        # Methods are case-sensitive (RFC 9110, section 9.1), and further on all are written in capitals.
        method = request.method if request.method.isupper() else UNKNOWN
        target = origin_form(method, request.target)
        status = refusal(request.http_version, dict(request.headers))
        if status or target is None:
            self.asked = request
            await self._refuse(status or 400, method)
            return
        plain = h11.Request(
            method=method,
            target=target,
            headers=_plain(request),
            # A higher minor version is served as ours (section 2.5).
            http_version=min(request.http_version, b"1.1"),
        )
        await super()._create_stream(plain)

    async def _refuse(self, status_code: int, method: bytes) -> None:
        await self._send_error_response(status_code, with_body=method != b"HEAD")
        await self.send(Closed())

    async def _send_error_response(self, status_code: int, *, with_body: bool = True) -> None:
        document = http_problem(status_code)
        self._note(status_code, len(document.body) if with_body else 0)
        headers = [*headers_of(document), (b"connection", b"close"), *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        if with_body:
            await self._send_h11_event(h11.Data(data=document.body))
        await self._send_h11_event(h11.EndOfMessage())

    def _note(self, status_code: int, size: int) -> None:
        """Count a request that is refused here, together with what the application does with it if that has it."""
        if status_code == 431:
            self.limited["header_bytes"] += 1
        if self.stream is not None:
            scope: Any = self.stream.scope  # a dict, into which more may be put than its type has
            scope[REFUSED] = status_code
        elif self.asked is not None:
            asked = self.asked
            self.requests.refused(status_code, size, asked.method, asked.target, asked.http_version)
        else:
            self.requests.refused(status_code, size)

    async def _send_h11_event(self, event: Any) -> None:
        if isinstance(event, h11.Response):
            headers = list(event.headers)
            if self.wire.is_last:
                headers = [pair for pair in headers if pair[0] != b"connection"] + [(b"Connection", b"close")]
            # Hypercorn leaves the reason phrase empty; simple probes look for "200 OK".
            event = h11.Response(
                status_code=event.status_code, headers=headers, reason=phrase(event.status_code)
            )
        await super()._send_h11_event(event)


def _plain(request: h11.Request) -> list[tuple[bytes, bytes]]:
    """Return the header of `request` as the application is to have it."""
    # An upgrade may be ignored (RFC 9110, section 7.8).
    headers = [pair for pair in request.headers if pair[0] != b"upgrade"]
    named = authority(request.target)
    if named is None:
        return headers
    return [(b"host", named), *(pair for pair in headers if pair[0] != b"host")]
