"""The composition root: owns the nurseries, and keeps the order of start and stop."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import trio

from statusd.building import Daemon, Plan, build
from statusd.listening import about, listen, load_certificates, watch
from statusd.model.snapshot import Change
from statusd.runtime.hub import ChangeListener
from statusd.runtime.lag import SOURCE_TASK, LagWatch
from statusd.runtime.schedule import Schedule
from statusd.runtime.supervisor import Supervisor
from statusd.runtime.watching import Watcher
from statusd.web.edge.listener import serve
from statusd.web.edge.sockets import Listener

FIRST_CHANCE: Final = 0.5
"""Seconds for which the first requests wait in the backlog while sources report for the first time."""


async def run_daemon(
    plan: Plan,
    *,
    stop: trio.Event,
    listeners: Sequence[ChangeListener] = (),
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the daemon until `stop` is set; the started value is the addresses where it serves everything.

    Start: sockets listen, the hub runs, sources get their first chance, requests are taken, ready.
    Stop, in reverse: no more probes, requests in flight finish, the hub ends.

    Args:
        plan: what to run.
        stop: ends it in order.
        listeners: called with the first tree, and after each change of state.
        task_status: takes the addresses once the daemon is ready.

    Raises:
        StartError: when an address cannot be listened on, its certificate cannot be used, or two views claim one path.
        ConfigError: when options of a source, view or sink do not go together.
    """
    daemon = build(plan)
    async with AsyncExitStack() as exits:
        exits.push_async_callback(daemon.net.aclose)
        daemon.edge.certificates = certificates = load_certificates(plan.configuration.http)
        sockets = listen(plan.configuration.http)
        for socket in sockets:
            exits.push_async_callback(socket.close)
        async with trio.open_nursery() as core:
            await core.start(daemon.hub.run)
            for listener in listeners:
                listener(Change(snapshot=daemon.hub.snapshot))
                daemon.hub.listen(listener)
            await core.start(LagWatch(daemon.hub.inbox()).run)
            await core.start(daemon.pulse.run)
            if certificates is not None:
                await core.start(watch, certificates, daemon.hub.inbox())
            for sink in daemon.sinks:
                await core.start(sink.run)
            await _run_edge(daemon, sockets, stop, task_status)
            core.cancel_scope.cancel()


async def _run_edge(
    daemon: Daemon,
    sockets: Sequence[Listener],
    stop: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    """Probe and serve until `stop`; no source probes any more while the requests in flight finish."""
    async with daemon.hub.inbox() as inbox:
        await inbox.send(about(sockets, daemon.plan.configuration.http))
    stop_serving = trio.Event()
    async with trio.open_nursery() as edge, trio.open_nursery() as sources:
        await _start_sources(daemon, sources)
        await edge.start(partial(serve, daemon.edge, sockets, stop=stop_serving))
        task_status.started([socket.address for socket in sockets if not socket.is_probes_only])
        await stop.wait()
        sources.cancel_scope.cancel()
        daemon.edge.is_stopping = (
            True  # before anybody who waits is answered, and told that it is the last answer
        )
        daemon.service.feed.close()
        stop_serving.set()  # in here, for a source may refuse to end
    if daemon.edge.traffic.log is not None:
        daemon.edge.traffic.log.close()


async def _start_sources(daemon: Daemon, nursery: trio.Nursery) -> None:
    """Start a supervisor a source, and wait a moment for their first reports.

    So a restart does not answer for a moment that every backend is away; a hung one costs the moment, once.
    """
    supervisors = [
        Supervisor(
            prober=built.prober,
            schedule=Schedule(
                interval=built.config.interval,
                timeout=built.config.timeout,
                ttl=built.config.ttl,
                position=position,
            ),
            inbox=daemon.hub.inbox(),
            floor=daemon.plan.configuration.http.refresh_floor,
            stats=daemon.stats,
        )
        for position, built in enumerate(daemon.sources)
        if built.prober is not None
    ]
    daemon.refresher.know(supervisors)
    for supervisor in supervisors:
        name = f"{SOURCE_TASK}{supervisor.prober.name}"
        nursery.start_soon(supervisor.run, name=name)
        source = supervisor.prober.source
        if Watcher.can_watch(source):
            watcher = Watcher(source=source, changed=supervisor.changed, log=supervisor.prober.log)
            nursery.start_soon(watcher.run, name=name)
    with trio.move_on_after(FIRST_CHANCE):
        for supervisor in supervisors:
            await supervisor.has_reported.wait()
        await daemon.hub.settled()
