"""The client for programs without an event loop: the core on blocking sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self, TypeVar

from statusd.client.access import Access
from statusd.client.answers import Explanation, TreeState
from statusd.client.asking import Question, about_explanation, about_state, ask
from statusd.client.connection import run
from statusd.client.following import Following
from statusd.client.sockets import SocketConnection
from statusd.client.updates import Update

T = TypeVar("T")


class Events:
    """The updates of a tree, for ever: an iterator that opens its stream again whenever it is lost.

    The first connection is not tried again: where it fails, the first `next` raises. Close it, or its client, when
    done.
    """

    def __init__(self, following: Following) -> None:
        self._following = following

    @property
    def is_closed(self) -> bool:
        """Whether there are no further updates."""
        return self._following.is_closed

    def __iter__(self) -> Iterator[Update]:
        return self

    def __next__(self) -> Update:
        """Wait for the next update.

        Raises:
            ClientError: when the first stream does not begin.
        """
        try:
            update = run(self._following.next())
        except (
            BaseException
        ):  # Ctrl-C, say: it may have come after bytes were taken and before they were read
            self._following.drop()
            raise
        if update is None:
            raise StopIteration
        return update

    def close(self) -> None:
        """Close the stream; there are no further updates."""
        self._following.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Client:
    """Asks a running statusd, for programs without an event loop.

    Each request has a connection of its own, so one client may serve several threads; an iterator of `events` belongs
    to one.

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
        self._streams: list[Events] = []

    def state(
        self,
        path: str = "",
        *,
        since: int | None = None,
        wait: float | None = None,
        max_age: float | None = None,
        no_cache: bool = False,
    ) -> TreeState:
        """Return the tree, or the branch at `path`.

        Args:
            path: of the node, percent-encoded segments joined by ``/``; ``""`` is the whole tree.
            since: a revision; the answer waits until the branch has a newer one.
            wait: seconds to wait for it at most; then the answer is the present state. The daemon waits 60 at most.
            max_age: seconds; where the answer would be older, the sources behind it are probed first.
            no_cache: whether they are probed first in any case.

        Raises:
            ClientError: ``no_such_node`` when there is none, and see there for the rest.
        """
        return self._ask(about_state(path, since=since, wait=wait, max_age=max_age, no_cache=no_cache))

    def explain(self, path: str = "", *, max_age: float | None = None, no_cache: bool = False) -> Explanation:
        """Return why the node at `path` has its status, and what would change it.

        Args:
            path: as in `state`.
            max_age: as in `state`.
            no_cache: as in `state`.

        Raises:
            ClientError: as `state`.
        """
        return self._ask(about_explanation(path, max_age=max_age, no_cache=no_cache))

    def events(self, path: str = "") -> Events:
        """Return an iterator over the updates of the tree, or of the branch at `path`.

        Args:
            path: as in `state`.
        """
        events = Events(Following(SocketConnection(self.address, self._ca_file), path, self._timeout))
        self._streams = [*(stream for stream in self._streams if not stream.is_closed), events]
        return events

    def close(self) -> None:
        """Close the streams that are still open."""
        for stream in self._streams:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _ask(self, question: Question[T]) -> T:
        connection = SocketConnection(self.address, self._ca_file)
        try:
            return run(ask(question, connection, self._timeout))
        finally:
            connection.close()
