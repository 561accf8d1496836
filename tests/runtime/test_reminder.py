"""The hourly record of what is still not ok."""

import logging

import trio

from statusd import Snapshot, Status
from statusd.events import STILL_NOT_OK
from statusd.model.tree import Node
from statusd.runtime.reminder import NAMED, Reminder, remind


def node(status=Status.OK, reason="ok", **more):
    return Node(status=status, reason=reason, **more)


def snapshot(**branches):
    children = {name: node(children=nodes) for name, nodes in branches.items()}
    return Snapshot(root=node(children=children), revision=77, version=1, at=0.0)


def test_nothing_is_said_while_all_is_well_or_off_or_counts_for_nothing(caplog):
    caplog.set_level(logging.DEBUG)
    spare = node(Status.DOWN, "refused", counts=False)
    remind(snapshot(models={"a": node()}, sources={"b": node(Status.OFF, "drained"), "c": spare}, daemon={}))
    remind(Snapshot(root=node(), revision=1, version=1, at=0.0))
    assert not caplog.records


def test_one_record_names_what_is_not_ok_the_worst_first_and_since_when(caplog):
    parts = {"disk": node(Status.DOWN, "full")}
    remind(
        snapshot(
            models={"m": node(Status.DEGRADED, "slow", since=86_400.0)},
            sources={
                "late": node(Status.DOWN, "timeout", since=7200.5),
                "queue": node(Status.DOWN, "refused", source="queue", since=3600.0, children=parts),
                "fine": node(),
            },
            daemon={"loop": node(Status.UNKNOWN, "unknown", since=60.0)},
        )
    )
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "still not ok: sources/queue is down (refused) since 1970-01-01T01:00:00Z; "
        "sources/late is down (timeout) since 1970-01-01T02:00:00Z; "
        "daemon/loop is unknown since 1970-01-01T00:01:00Z; "
        "models/m is degraded (slow) since 1970-01-02T00:00:00Z"
    )
    assert record.event.kind is STILL_NOT_OK
    assert record.event.fields == {
        "source": "queue",
        "path": "sources/queue",
        "to": "down",
        "reason": "refused",
        "revision": "77",
        "paths": "sources/queue sources/late daemon/loop models/m",
        "nodes": "4",
    }


def test_of_many_nodes_some_are_named_and_the_others_counted(caplog):
    many = {f"s{number}": node(Status.DOWN, "refused", since=float(number)) for number in range(NAMED + 5)}
    remind(snapshot(sources=many))
    [record] = caplog.records
    assert record.getMessage().count("sources/") == NAMED
    assert record.getMessage().endswith(
        f"sources/s{NAMED - 1} is down (refused) since 1970-01-01T00:00:19Z; and 5 more"
    )
    assert record.event.fields["nodes"] == str(NAMED + 5)


async def test_it_reminds_every_hour_of_how_things_are_then(nursery, autojump_clock, caplog):
    states = [snapshot(sources={"queue": node(Status.DOWN, "refused")})]
    await nursery.start(Reminder(lambda: states[-1]).run)
    await trio.sleep(3599)
    assert not caplog.records
    await trio.sleep(2)
    assert len(caplog.records) == 1
    states.append(snapshot(sources={"queue": node()}))
    await trio.sleep(3600)
    assert len(caplog.records) == 1
    states.append(snapshot(sources={"queue": node(Status.UNKNOWN, "stale")}))
    await trio.sleep(3600)
    assert "unknown (stale)" in caplog.records[-1].getMessage()
