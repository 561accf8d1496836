"""The client for trio programs: scripts run on trio streams."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self, TypeVar

import trio

from statusd.client.address import Address, named_by
from statusd.client.answers import Explanation, TreeState
from statusd.client.asking import Asking, Patience
from statusd.client.faults import ClientError, InterruptedStepError
from statusd.client.steps import Emit, Pause, Receive, Run, Script, Step
from statusd.client.streams import StreamConnection
from statusd.client.updates import Update

T = TypeVar("T")


class TrioEvents:
    """The updates of a tree, for ever: an async iterator that opens its stream again whenever it is lost.

    The first connection is not tried again: where it fails, the first `__anext__` raises. Cancelling one loses no
    update. Close it, or its client, when done.

    Attributes:
        is_closed: whether there are no further updates.
    """

    def __init__(self, script: Script[None], connection: StreamConnection) -> None:
        self._script = script
        self._run: Run[None] | None = None
        self._connection = connection
        self.is_closed = False

    def __aiter__(self) -> AsyncIterator[Update]:
        return self

    async def __anext__(self) -> Update:
        """Wait for the next update.

        Raises:
            ClientError: when the first stream does not begin.
        """
        if self.is_closed:
            raise StopAsyncIteration
        try:
            return await self._next()
        except ClientError:
            if self.is_closed:  # meanwhile, by another task
                raise StopAsyncIteration from None
            await self.aclose()
            raise

    async def _next(self) -> Update:
        if self._run is None:
            self._run = Run(self._script)
        while (step := self._run.step) is not None:
            if isinstance(step, Emit):
                await (
                    trio.lowlevel.checkpoint()
                )  # before the update is taken: cancelled here, it comes next time
                self._run.give()
                return step.update
            await _advance(self._run, step, self._connection)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the stream; there are no further updates."""
        self.is_closed = True
        self._script.close()
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _advance(run: Run[T], step: Step, connection: StreamConnection) -> None:
    try:
        answer = await connection.perform(step)
    except ClientError as error:
        run.fail(error)
    except BaseException:
        if not isinstance(
            step, Pause | Receive
        ):  # cancelled, these have taken nothing, and can be begun again
            await connection.close()
            with contextlib.suppress(ClientError):
                run.fail(InterruptedStepError())
        raise
    else:
        run.give(answer)


class TrioClient:
    """Asks a running statusd, for trio programs.

    Each request has a connection of its own, so one client may serve many tasks; an iterator of `events` belongs to
    one.

    Args:
        url: where the daemon is: a URL (``http://``, ``https://``), or what ``[http] bind`` takes
            (``127.0.0.1:8000``, ``unix:/run/statusd/http.sock``); None for ``$STATUSD_URL``, else port 8000 of this host.
        timeout: seconds for an answer, from looking the name up to its last byte.
        ca_file: PEM file with the certificate authorities to trust, instead of the system's.

    Raises:
        ClientError: ``bad_address``.
    """

    def __init__(self, url: str | None = None, *, timeout: float = 5.0, ca_file: str = "") -> None:
        self.address = Address.parse(named_by(os.environ) if url is None else url)
        self._ca_file = ca_file
        self._asking = Asking(
            address=self.address, timeout=timeout, clock=trio.current_time, patience=Patience()
        )
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
        return await self._ask(
            self._asking.state(path, since=since, wait=wait, max_age=max_age, no_cache=no_cache)
        )

    async def explain(
        self, path: str = "", *, max_age: float | None = None, no_cache: bool = False
    ) -> Explanation:
        """Return why the node at `path` has its status; the arguments and errors are those of `Client.explain`."""
        return await self._ask(self._asking.explain(path, max_age=max_age, no_cache=no_cache))

    def events(self, path: str = "") -> TrioEvents:
        """Return an async iterator over the updates of the tree, or of the branch at `path`.

        Args:
            path: as in `Client.state`.
        """
        events = TrioEvents(self._asking.follow(path), StreamConnection(self.address, self._ca_file))
        self._streams = [stream for stream in self._streams if not stream.is_closed]
        self._streams.append(events)
        return events

    async def aclose(self) -> None:
        """Close the streams that are still open."""
        for stream in self._streams:
            await stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, script: Script[T]) -> T:
        connection = StreamConnection(self.address, self._ca_file)
        try:
            run = Run(script)
            while run.step is not None:
                await _advance(run, run.step, connection)
        finally:
            await connection.close()
        assert run.result is not None
        return run.result
