"""The client for trio programs: the core on trio's streams."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Self, TypeVar

import trio

from statusd.client.access import Access
from statusd.client.answers import Explanation, TreeState
from statusd.client.asking import Question, about_explanation, about_state, ask
from statusd.client.following import Following
from statusd.client.streams import StreamConnection
from statusd.client.updates import Update

T = TypeVar("T")


class TrioEvents:
    """The updates of a tree, for ever: an async iterator that opens its stream again whenever it is lost.

    The first connection is not tried again: where it fails, the first `__anext__` raises. Cancelling one loses no
    update. Close it, or its client, when done.
    """

    def __init__(self, following: Following) -> None:
        self._following = following

    @property
    def is_closed(self) -> bool:
        """Whether there are no further updates."""
        return self._following.is_closed

    def __aiter__(self) -> AsyncIterator[Update]:
        return self

    async def __anext__(self) -> Update:
        """Wait for the next update.

        Raises:
            ClientError: when the first stream does not begin.
        """
        await trio.lowlevel.checkpoint()  # before an update is taken: cancelled here, it comes next time
        update = await self._following.next()
        if update is None:
            raise StopAsyncIteration
        return update

    async def aclose(self) -> None:
        """Close the stream; there are no further updates."""
        self._following.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()


class TrioClient:
    """Asks a running statusd, for trio programs.

    Each request has a connection of its own, so one client may serve many tasks; an iterator of `events` belongs to
    one.

    Args:
        url: where the daemon is: a URL (``http://``, ``https://``), or what ``[http] bind`` takes
            (``127.0.0.1:8000``, ``tls:127.0.0.1:8443``, ``unix:/run/statusd/http.sock``); None for ``$STATUSD_URL``,
            else port 8000 of this host.
        token: bearer token that the daemon wants, which goes nowhere else; None for ``$STATUSD_TOKEN`` where `url` is
            None, else for none.
        timeout: seconds for an answer, from looking the name up to its last byte.
        ca_file: PEM file with the certificate authorities to trust, instead of the system's; None for
            ``$STATUSD_CA_FILE`` where `url` is None, else for the system's.

    Raises:
        ClientError: ``bad_address``; ``bad_token`` for one that no request can carry.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 5.0,
        ca_file: str | None = None,
    ) -> None:
        access = Access.given(url, token, ca_file, os.environ)
        self.address = access.address
        self._timeout = timeout
        self._ca_file = access.ca_file
        self._streams: list[TrioEvents] = []

    async def state(
        self,
        path: str = "",
        *,
        since: int | None = None,
        wait: float | None = None,
        max_age: float | None = None,
        no_cache: bool = False,
    ) -> TreeState:
        """Return the tree, or the branch at `path`; the arguments and errors are those of `Client.state`."""
        return await self._ask(about_state(path, since=since, wait=wait, max_age=max_age, no_cache=no_cache))

    async def explain(
        self, path: str = "", *, max_age: float | None = None, no_cache: bool = False
    ) -> Explanation:
        """Return why the node at `path` has its status; the arguments and errors are those of `Client.explain`."""
        return await self._ask(about_explanation(path, max_age=max_age, no_cache=no_cache))

    def events(self, path: str = "") -> TrioEvents:
        """Return an async iterator over the updates of the tree, or of the branch at `path`.

        Args:
            path: as in `Client.state`.
        """
        events = TrioEvents(Following(StreamConnection(self.address, self._ca_file), path, self._timeout))
        self._streams = [*(stream for stream in self._streams if not stream.is_closed), events]
        return events

    async def aclose(self) -> None:
        """Close the streams that are still open."""
        for stream in self._streams:
            await stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def _ask(self, question: Question[T]) -> T:
        connection = StreamConnection(self.address, self._ca_file)
        try:
            return await ask(question, connection, self._timeout)
        finally:
            connection.close()
