"""The HTTP probe client: GET, one kept connection an origin, nothing that an upstream could stretch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs
import trio

from statusd.errors import ProbeError
from statusd.net.http_parser import ResponseParser
from statusd.net.http_request import TLS_SCHEMES, endpoint_of, get_request, masked
from statusd.net.limits import MAX_KEPT_AGE, MAX_KEPT_CONNECTIONS
from statusd.net.names import Resolver
from statusd.net.streams import Connection, Endpoint, open_connection
from statusd.net.tls import tls_target
from statusd.net.trace import Trace
from statusd.values import Url

_Origin: TypeAlias = tuple[Endpoint, bool, str]


@attrs.frozen(kw_only=True)
class HttpResponse:
    """A complete answer.

    Attributes:
        url: what was asked.
        status: the status code, 200 to 999.
        headers: names in lower case; values of repeated fields joined by ``", "``.
        body: without transfer coding.
    """

    url: Url
    status: int
    headers: Mapping[str, str]
    body: bytes


@attrs.define(eq=False)
class HttpClient:
    """HTTP/1.1 GET for one source (RFC 9110, RFC 9112).

    The caller sets the deadline, as a trio cancel scope: there is none in here, and everything waits cancellably.
    Every other cap stands in `limits`. No redirect is followed, nothing is decompressed, no answer is shared.

    A connection is kept when its answer was complete and said so; it is used again when nothing has come over it
    since, and closed after `MAX_KEPT_AGE` seconds. One whose request failed or was cancelled is closed at once, for
    the next answer on it would be that to the old question. A kept connection that breaks before the first byte of
    an answer was closed by the server in the meantime, so the request is sent again, once, on a new one
    (RFC 9112, section 9.3.1).
    """

    _resolver: Resolver
    _trace: Trace
    _kept: dict[_Origin, Connection] = attrs.field(factory=dict, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

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
            url: http or https; its userinfo is sent as Basic credentials, unless `headers` hold others.
            headers: further header fields, or others than the usual ``Host``, ``Accept`` and ``User-Agent``.
            max_body: bytes of body after which the answer is ``too_large``.
            ca_file: PEM file with the certificate authorities to trust, instead of the system's.
            unix_socket: path of a Unix socket to connect to, instead of the URL's host and port.

        Raises:
            ProbeError: as `statusd.HttpClient.get`.
        """
        if url.scheme not in {"http", "https"}:
            raise ProbeError(
                "protocol_error", f'The URL has the scheme "{url.scheme}"; expected http:// or https://.'
            )
        request = get_request(url, headers)
        origin = (endpoint_of(url, unix_socket), url.scheme in TLS_SCHEMES, ca_file)
        kept = self._take(origin)
        if kept is not None:
            parser = ResponseParser(where=kept.where, max_body=max_body)
            try:
                return await self._exchange(url, origin, kept, request, parser)
            except ProbeError as error:
                if error.reason != "connection_lost" or parser.has_begun:
                    raise
                self._trace.enter(
                    f"the kept connection to {kept.where} has been closed: asking again on a new one"
                )
        connection = await self._connect(origin)
        parser = ResponseParser(where=connection.where, max_body=max_body)
        return await self._exchange(url, origin, connection, request, parser)

    async def aclose(self) -> None:
        """Close the kept connections; those in use are closed when their answers are in."""
        self._is_closed = True
        while self._kept:
            self._kept.popitem()[1].close()

    async def _connect(self, origin: _Origin) -> Connection:
        endpoint, is_tls, ca_file = origin
        target = None
        if is_tls:
            self._trace.enter(f"loading the certificate authorities for {endpoint}")
            target = await tls_target(endpoint.host, ca_file)
        return await open_connection(endpoint, self._resolver, self._trace, tls=target)

    async def _exchange(
        self, url: Url, origin: _Origin, connection: Connection, request: bytes, parser: ResponseParser
    ) -> HttpResponse:
        try:
            await self._send(connection, request)
            await self._receive(connection, parser)
        except BaseException:
            connection.close()
            raise
        finally:
            parser.dispose()
        if parser.is_reusable:
            self._keep(origin, connection)
        else:
            connection.close()
        return HttpResponse(url=url, status=parser.status, headers=parser.headers, body=parser.body)

    async def _send(self, connection: Connection, request: bytes) -> None:
        self._trace.enter(f"sending the request to {connection.where}")
        if self._trace.is_recording:
            self._trace.sent(masked(request))
        await connection.send(request)

    async def _receive(self, connection: Connection, parser: ResponseParser) -> None:
        where = connection.where
        phase = ""
        while not parser.is_complete:
            waiting = (
                "reading the body"
                if parser.has_head
                else "reading the header"
                if parser.has_begun
                else "waiting for the first byte"
            )
            if waiting != phase:
                phase = waiting
                self._trace.enter(f"{phase} of the answer from {where}")
            data = await connection.receive()
            if not data:
                parser.end()
                return
            self._trace.received(data)
            parser.feed(data)

    def _take(self, origin: _Origin) -> Connection | None:
        connection = self._kept.pop(origin, None)
        if connection is None:
            return None
        if connection.is_quiet and trio.current_time() - connection.opened_at <= MAX_KEPT_AGE:
            return connection
        connection.close()
        return None

    def _keep(self, origin: _Origin, connection: Connection) -> None:
        if self._is_closed or origin in self._kept:
            connection.close()
            return
        while len(self._kept) >= MAX_KEPT_CONNECTIONS:
            self._kept.pop(next(iter(self._kept))).close()
        self._kept[origin] = connection
