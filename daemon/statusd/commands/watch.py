"""`statusd watch`: the tree of a running daemon, as it changes."""

from __future__ import annotations

import select
import signal
import stat
from collections.abc import Callable, Mapping
from os import fstat
from typing import Protocol, TextIO

import trio

from statusd.client import ClientError, TrioClient, Update
from statusd.commands.faces import JsonLines, Lines
from statusd.commands.rendering import has_colours, is_terminal
from statusd.commands.screen import Screen
from statusd.commands.show import no_such_node
from statusd.commands.where import Where
from statusd.errors import only


class Face(Protocol):
    """What shows the updates."""

    def take(self, update: Update) -> None:
        """Take the next update."""


def watch(path: str, where: Where, output: TextIO, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Show the branch at `path` and every change of it, until Ctrl-C; return the exit code.

    Args:
        path: of the branch.
        where: the daemon.
        output: where to; on a terminal the tree is drawn in place, elsewhere each change is a line.
        environ: the environment.
        as_json: whether each update is a JSON object on a line of its own.

    Raises:
        ClientError: when the daemon cannot be reached at first, or there is no such node.
        BrokenPipeError: when nobody reads the output any more.
    """
    try:
        client = where.trio_client()
        return trio.run(_watch, path, client, output, environ, as_json, strict_exception_groups=True)
    except ClientError as error:
        raise where.blamed(error) from None
    except BaseExceptionGroup as group:
        if (
            group.split(BrokenPipeError)[1] is None
        ):  # who writes and who watches the pipe may find out together
            raise BrokenPipeError from None
        raise _told(only(group), path, where) from None


def _told(error: BaseException, path: str, where: Where) -> BaseException:
    if not isinstance(error, ClientError):
        return error
    if error.reason == "no_such_node":
        with where.client() as client:
            error = no_such_node(path, client)
    return where.blamed(error)


async def _watch(
    path: str, client: TrioClient, output: TextIO, environ: Mapping[str, str], as_json: bool
) -> int:
    if as_json:
        return await _run(path, client, JsonLines(output), output)
    if not is_terminal(output, environ):
        return await _run(path, client, Lines(output), output)
    # Not the URL as given: that may hold a password.
    screen = Screen(output, is_coloured=has_colours(output, environ), title=str(client.address))
    try:
        return await _run(path, client, screen, output, screen)
    finally:
        screen.leave()


async def _run(
    path: str, client: TrioClient, face: Face, output: TextIO, screen: Screen | None = None
) -> int:
    ended = _Ended()
    async with trio.open_nursery() as nursery:
        end = nursery.cancel_scope.cancel
        await nursery.start(_signals, ended, end, screen)
        nursery.start_soon(_follow, path, client, face)
        if screen is not None:
            nursery.start_soon(screen.keep_drawn)
        else:
            nursery.start_soon(_end_with_reader, output)
    return ended.code


class _Ended:
    """Which exit code a signal means: 0 for Ctrl-C, the way to end a command that never ends by itself."""

    code = 0


async def _follow(path: str, client: TrioClient, face: Face) -> None:
    async with client:
        async for update in client.events(path):
            face.take(update)


async def _signals(
    ended: _Ended,
    end: Callable[[], None],
    screen: Screen | None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if screen is not None:  # it must be left whatever ends or suspends the process
        numbers += [signal.SIGHUP, signal.SIGWINCH, signal.SIGTSTP]
    with trio.open_signal_receiver(*numbers) as received:
        task_status.started()
        async for number in received:
            if number == signal.SIGWINCH and screen is not None:
                screen.refresh()
            elif number == signal.SIGTSTP and screen is not None:
                screen.leave()
                signal.raise_signal(signal.SIGSTOP)
                screen.refresh()
            else:
                ended.code = 0 if number == signal.SIGINT else 128 + number
                end()


async def _end_with_reader(output: TextIO) -> None:
    """End when the reader of a pipe has gone, as `grep -m1` does, also while there is nothing to write."""
    try:
        descriptor = output.fileno()
        if not stat.S_ISFIFO(fstat(descriptor).st_mode):
            return
    except (OSError, ValueError):
        return
    await trio.lowlevel.wait_readable(descriptor)  # which an error on the writing end is, too
    poll = select.poll()
    poll.register(descriptor, 0)
    if any(events & select.POLLERR for _, events in poll.poll(0)):
        raise BrokenPipeError
