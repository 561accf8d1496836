"""The composition root: owns the nurseries, and keeps the order of start and stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeAlias

import attrs
import trio

from statusd.building import Daemon, build
from statusd.listening import Doors, about
from statusd.model.snapshot import Change
from statusd.planning import Plan
from statusd.runtime.hub import ChangeListener
from statusd.runtime.lag import LagWatch
from statusd.runtime.log_watch import LogWatch
from statusd.sources import first_chance
from statusd.systemd.activation import Inherited
from statusd.systemd.logs import dropped
from statusd.turning import Turned, turn


@attrs.frozen
class Running:
    """A running daemon, for what runs beside it.

    Attributes:
        daemon: all of it.
        doors: where it listens.
    """

    daemon: Daemon
    doors: Doors

    async def turn(self, plan: Plan) -> Turned:
        """Turn to another plan, one at a time; see `turning.turn`."""
        return await turn(self.daemon, self.doors, plan)


Companion: TypeAlias = Callable[..., Awaitable[object]]
"""Runs beside the daemon, from before it is ready to its end: takes a `Running`, and ``task_status``."""


async def run_daemon(
    plan: Plan,
    *,
    stop: trio.Event,
    listeners: Sequence[ChangeListener] = (),
    companions: Sequence[Companion] = (),
    inherited: Sequence[Inherited] = (),
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the daemon until `stop` is set; the started value is the addresses where it serves everything.

    Start: sockets listen, the hub runs, sources get their first chance, requests are taken, ready.
    Stop, in reverse: no more probes, requests in flight finish, the hub ends.

    Args:
        plan: what to run.
        stop: ends it in order.
        listeners: called with the first tree, and after each change of state.
        companions: started with the daemon, in this order, as `trio.Nursery.start` does.
        inherited: sockets that systemd handed over, to be served on.
        task_status: takes the addresses once the daemon is ready.

    Raises:
        StartError: when an address cannot be listened on, its certificate cannot be used, or two views claim one path.
        ConfigError: when options of a source, view or sink do not go together.
    """
    daemon = build(plan)
    doors = Doors(daemon.edge, daemon.hub, inherited)
    async with AsyncExitStack() as exits:
        exits.push_async_callback(daemon.net.aclose)
        exits.push_async_callback(doors.aclose)
        http = plan.configuration.http
        place = doors.prepare(http, await doors.certificates(http))
        async with trio.open_nursery() as core:
            daemon.nursery = core
            await core.start(daemon.hub.run)
            for listener in listeners:
                listener(Change(snapshot=daemon.hub.snapshot))
                daemon.hub.listen(listener)
            await core.start(LagWatch(daemon.hub.inbox()).run)
            await core.start(LogWatch(daemon.hub.inbox(), dropped).run)
            await core.start(daemon.running.pulse.run)
            await core.start(daemon.revisions.run)
            await core.start(daemon.keeper.run, daemon.hub)
            await core.start(daemon.drains.run)
            await doors.open(place, core)
            for sink in daemon.parts.sinks.values():
                await core.start(sink.run)
            await _run_edge(Running(daemon, doors), companions, stop, task_status)
            core.cancel_scope.cancel()


async def _run_edge(
    running: Running,
    companions: Sequence[Companion],
    stop: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    """Probe and serve until `stop`; no source probes any more while the requests in flight finish."""
    daemon, doors = running.daemon, running.doors
    http = daemon.plan.configuration.http
    await daemon.hub.send(about(doors.listeners, http))
    stop_serving = trio.Event()
    async with trio.open_nursery() as edge, trio.open_nursery() as sources:
        daemon.sources.nursery = sources
        built = enumerate(daemon.parts.sources)
        started = daemon.sources.start(built, daemon.hub.inbox(), http.refresh_floor)
        daemon.sources.adopt(started)
        await first_chance(started)
        await daemon.hub.settled()
        await edge.start(partial(doors.server.run, doors.listeners, stop=stop_serving))
        for companion in companions:
            await daemon.nursery.start(companion, running)
        task_status.started([socket.address for socket in doors.listeners if not socket.is_probes_only])
        await stop.wait()
        sources.cancel_scope.cancel()
        daemon.edge.is_stopping = (
            True  # before anybody who waits is answered, and told that it is the last answer
        )
        daemon.service.feed.close()
        stop_serving.set()  # in here, for a source may refuse to end
    if daemon.edge.traffic.log is not None:
        daemon.edge.traffic.log.close()
