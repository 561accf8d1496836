"""Turns a running daemon to another plan: what both have in common goes on, and nobody is turned away meanwhile."""

from __future__ import annotations

import logging

import attrs
import trio

from statusd.building import Daemon, ViewFaults, about, served, tracked
from statusd.config.mistakes import ConfigError
from statusd.errors import StartError
from statusd.listening import Doors, Place
from statusd.listening import about as about_listeners
from statusd.model.tree import walk
from statusd.parts import Builder, BuiltSource, Parts
from statusd.planning import Plan
from statusd.runtime.messages import INBOX, Message, Observation, Reconfiguration
from statusd.serving import build_common, build_documents, build_log, build_service, refit
from statusd.sources import Probed, first_chance
from statusd.web.answering import Service
from statusd.web.documents import Documents
from statusd.web.edge.certificates import Certificates
from statusd.web.edge.common import Common

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Turned:
    """What became of the sources.

    Attributes:
        started: names of those that are new, or not what they were.
        stopped: names of those that are not there any more.
        kept: names of those that go on with all that was read from them.
    """

    started: tuple[str, ...]
    stopped: tuple[str, ...]
    kept: tuple[str, ...]


@attrs.frozen(kw_only=True)
class _Next:
    """All that another plan makes, before anything is turned to it."""

    plan: Plan
    parts: Parts
    documents: Documents
    faults: ViewFaults
    common: Common
    service: Service
    place: Place


async def turn(daemon: Daemon, doors: Doors, plan: Plan) -> Turned:
    """Turn `daemon` to `plan`; either whole or, when this raises, not at all.

    New sources get their first chance before the tree shows them; it then becomes another one in one step, together
    with all that is served.

    Args:
        daemon: runs.
        doors: where it listens.
        plan: what it is to become.

    Raises:
        ConfigError: when options of a source, view or sink do not go together.
        StartError: when an address cannot be listened on, its certificate cannot be used, or two views claim one path.
    """
    try:
        certificates = await doors.certificates(plan.configuration.http)
        following = _prepared(daemon, doors, plan, certificates)
    except (ConfigError, StartError):
        raise
    except Exception as error:  # noqa: BLE001  # containment: plugins' parts are built; nothing is touched yet
        raise unforeseen(error) from None
    try:
        return await _turned(daemon, doors, following)
    except BaseException:  # the daemon stops meanwhile
        await doors.give_up(following.place)
        raise


async def _turned(daemon: Daemon, doors: Doors, following: _Next) -> Turned:
    plan = following.plan
    kept = _kept(daemon.parts, following.parts)
    leaving = [one for one in daemon.parts.sources if one.config.name not in kept]
    send, waiting_room = trio.open_memory_channel[Message](INBOX)
    daemon.net.models = tuple(plan.configuration.models)
    new = [one for one in enumerate(following.parts.sources) if one[1].config.name not in kept]
    floor = plan.configuration.http.refresh_floor
    started = daemon.sources.start(new, send, floor)
    await first_chance(started)
    await daemon.sources.stop(one.config.name for one in leaving)
    await _rebuild_tree(daemon, following, kept, waiting_room)
    await _let_in(daemon, started, waiting_room)
    daemon.sources.alter((one for one in daemon.parts.sources if one.config.name in kept), floor)
    await doors.change(following.place, daemon.nursery)
    await _tidy(daemon, leaving)
    names = {one.config.name for one in following.parts.sources}
    return Turned(
        started=tuple(one.config.name for _, one in new),
        stopped=tuple(one.config.name for one in leaving if one.config.name not in names),
        kept=tuple(sorted(kept)),
    )


def unforeseen(error: BaseException) -> StartError:
    """Return what to say of an `error` that has no words of its own; the log gets its traceback."""
    log.error("the configuration could not be put to use", exc_info=error)
    return StartError(
        f"The configuration could not be put to use ({type(error).__name__}); the log has the traceback. "
        "See whether all packages of plugins are whole, and report it where they are."
    )


def _prepared(daemon: Daemon, doors: Doors, plan: Plan, certificates: Certificates | None) -> _Next:
    """Make all that may fail, in one step."""
    http = plan.configuration.http
    parts = Builder(plan, daemon.net).parts(daemon.plan, daemon.parts)
    documents, faults = daemon.documents, daemon.faults
    if parts.views is not daemon.parts.views:
        faults = ViewFaults(daemon.hub, plan, parts.plugin_nodes, is_shown=False)
        documents = build_documents(parts.views, daemon.running.snapshot, faults)
    common = build_common(http, daemon.common)
    service = build_service(served(plan, parts, documents, common), daemon.running)
    return _Next(
        plan=plan,
        parts=parts,
        documents=documents,
        faults=faults,
        common=common,
        service=service,
        place=doors.prepare(http, certificates),
    )


def _kept(before: Parts, after: Parts) -> frozenset[str]:
    """Return the names of the sources that go on."""
    probers = {one.prober for one in before.sources if one.prober is not None}
    return frozenset(one.config.name for one in after.sources if one.prober in probers)


async def _rebuild_tree(
    daemon: Daemon,
    following: _Next,
    kept: frozenset[str],
    waiting_room: trio.MemoryReceiveChannel[Message],
) -> None:
    configuration = following.plan.configuration
    if following.faults is daemon.faults:  # views that go on may have failed, or worked again, until now
        following.parts.plugin_nodes.inherit(daemon.parts.plugin_nodes, "view ")
    statements = (
        about(following.plan, daemon.generation + 1),
        about_listeners(following.place.listeners, configuration.http),
        *following.parts.plugin_nodes.statements(),
    )
    await daemon.hub.send(
        Reconfiguration(
            sources=tuple(tracked(built) for built in following.parts.sources),
            kept=kept,
            models=configuration.models,
            rules=configuration.rollup,
            statements=statements,
            gone=following.place.silent,
            observations=tuple(one for one in _waiting(waiting_room) if isinstance(one, Observation)),
            turn=lambda: _become(daemon, following),
        )
    )


def _become(daemon: Daemon, following: _Next) -> None:
    """Serve what follows, from this step on."""
    before, http = daemon.plan.configuration.http, following.plan.configuration.http
    gone = [sink for name, sink in daemon.parts.sinks.items() if following.parts.sinks.get(name) is not sink]
    come = [sink for name, sink in following.parts.sinks.items() if daemon.parts.sinks.get(name) is not sink]
    for sink in gone:
        daemon.hub.unlisten(sink.take)
        sink.leave()
    for sink in come:
        daemon.hub.listen(sink.take)
        daemon.nursery.start_soon(sink.run)
    for built in following.parts.sources:
        built.serve()
    daemon.plan, daemon.parts = following.plan, following.parts
    daemon.faults.is_shown = False
    daemon.documents, daemon.faults = following.documents, following.faults
    daemon.faults.plan, daemon.faults.nodes = following.plan, following.parts.plugin_nodes
    daemon.faults.is_shown = True
    daemon.generation += 1
    daemon.service.become(following.service)
    if (before.limits, before.front_stage) != (http.limits, http.front_stage):
        refit(daemon.edge, daemon.service, http, following.common)
    daemon.common = following.common
    if before.access_log != http.access_log:
        traffic = daemon.edge.traffic
        if traffic.log is not None:
            traffic.log.close()
        traffic.log = build_log(http)


async def _let_in(
    daemon: Daemon, started: list[Probed], waiting_room: trio.MemoryReceiveChannel[Message]
) -> None:
    """Let what new sources find go straight to the hub, from where they have a place in the tree."""
    with daemon.hub.inbox() as inbox:
        while left := _waiting(waiting_room):
            for message in left:
                await inbox.send(message)
    for probed in started:  # in the step that found the waiting room empty
        probed.supervisor.inbox.close()
        probed.supervisor.inbox = daemon.hub.inbox()
    daemon.sources.adopt(started)


def _waiting(waiting_room: trio.MemoryReceiveChannel[Message]) -> list[Message]:
    found = []
    try:
        while True:
            found.append(waiting_room.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return found


async def _tidy(daemon: Daemon, leaving: list[BuiltSource]) -> None:
    """Close what nobody uses any more, and forget what is not there any more."""
    for built in leaving:
        if built.context is not None:
            await daemon.net.release(built.context)
    configuration = daemon.plan.configuration
    daemon.running.stats.keep(
        (config.name for config in configuration.sources),
        (path for path, _ in walk(daemon.hub.snapshot.root)),
    )
