"""One request and its answer, over h11."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import h11

from statusd.client.connection import Connection
from statusd.client.faults import ClientError, hung_up

MAX_HEADER: Final = 64 * 1024
"""Bytes of an answer's header, and of a chunk's."""


@attrs.frozen(kw_only=True)
class Head:
    """The beginning of an answer.

    Attributes:
        status: its code.
        headers: by name in lower case; of several with one name, the values joined by commas.
    """

    status: int
    headers: dict[str, str]

    @property
    def media_type(self) -> str:
        """``Content-Type`` in lower case, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Exchange:
    """One request on a connection of its own, so that no answer is ever another request's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._where = str(connection.address)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER)
        self._has_ended = False

    async def open(self, target: str, headers: Sequence[tuple[str, str]]) -> Head:
        """Connect, ask, and return the answer's beginning.

        Raises:
            ClientError: when there is none.
        """
        try:
            request = h11.Request(
                method="GET", target=target, headers=[*self._connection.address.headers(), *headers]
            )
        except h11.LocalProtocolError:
            raise ClientError(
                "bad_address",
                f"The address {self._where} cannot stand in a request; take special characters out of it.",
            ) from None
        await self._connection.connect()
        sent = self._http.send(request) or b""
        await self._connection.send(sent + (self._http.send(h11.EndOfMessage()) or b""))
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return Head(status=event.status_code, headers=_joined(event.headers.raw_items()))
            if not isinstance(event, h11.InformationalResponse):
                raise hung_up(self._where)

    async def piece(self) -> bytes:
        """Return some bytes of the body; none at its end.

        Raises:
            ClientError: when the answer ends too early.
        """
        while isinstance(event := await self._event(), h11.Data):
            if event.data:
                return bytes(event.data)
        return b""

    async def body(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            ClientError: ``too_large`` when it is over `limit` bytes, or when it ends too early.
        """
        whole = bytearray()
        while data := await self.piece():
            whole += data
            if len(whole) > limit:
                raise ClientError(
                    "too_large",
                    f"The answer of {self._where} is over {limit} bytes: ask for a branch of the tree.",
                )
        return bytes(whole)

    async def _event(self) -> h11.Event | None:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._connection.receive()
                self._has_ended = not data
                self._http.receive_data(data)
        except h11.RemoteProtocolError:
            if self._has_ended:
                raise hung_up(self._where) from None
            raise ClientError(
                "not_statusd",
                f"{self._where} does not speak HTTP/1.1 as statusd does: correct the address (https://?).",
            ) from None
        return event if isinstance(event, h11.Event) else None  # None: the answer is over


def _joined(items: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw, value in items:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers
