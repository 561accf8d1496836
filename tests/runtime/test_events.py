"""What records say to programs: the events at the places that log."""

import logging
import time

import attrs
import pytest
import trio
import trio.testing

from statusd import Sink, Snapshot, Status, Transition
from statusd.events import LOOP_BLOCKED, PLUGIN_FAILED, STATE_NOT_KEPT, TRANSITION, Event, event
from statusd.model.snapshot import Change
from statusd.model.tree import Node
from statusd.runtime.context import SourceLog
from statusd.runtime.lag import PATH, LagWatch
from statusd.runtime.probing import FaultLog
from statusd.runtime.revisions import RevisionFile
from statusd.runtime.sinks import PARTS, SinkRunner, log_transitions


def changed(*transitions):
    model = Node(status=Status.OK, source="queue")
    models = Node(status=Status.OK, children={"m": model})
    root = Node(status=Status.OK, children={"models": models})
    return Change(snapshot=Snapshot(root=root, revision=7, version=1, at=0.0), transitions=transitions)


def transition(**changes):
    made = Transition(
        path="sources/queue",
        before=Status.OK,
        after=Status.DOWN,
        reason="refused",
        message="Nothing listens there.",
        at=0.0,
        revision=7,
    )
    return attrs.evolve(made, **changes)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, {"source": "queue", "path": "sources/queue"}),
        ({"path": "sources/queue/readers/a"}, {"source": "queue", "path": "sources/queue/readers/a"}),
        ({"path": "models/m"}, {"source": "queue", "path": "models/m"}),
        ({"path": "models/gone"}, {"path": "models/gone"}),
        ({"path": "sources"}, {"path": "sources"}),
        ({"path": ""}, {"path": "/"}),
        ({"before": None}, {"source": "queue", "path": "sources/queue", "from": "new"}),
        (
            {"after": None, "reason": "", "message": ""},
            {"source": "queue", "path": "sources/queue", "to": "gone", "reason": "gone"},
        ),
    ],
)
def test_a_transition_says_where_from_what_to_what_and_why(changes, fields, caplog):
    caplog.set_level(logging.INFO)
    log_transitions(changed(transition(**changes)))
    [record] = caplog.records
    assert record.event.kind is TRANSITION
    assert record.event.fields == {"from": "ok", "to": "down", "reason": "refused", "revision": "7"} | fields


def test_parts_that_are_only_counted_are_one_record_without_a_kind(caplog):
    caplog.set_level(logging.INFO)
    log_transitions(changed(*(transition(path=f"sources/queue/r/{number}") for number in range(PARTS + 3))))
    assert len(caplog.records) == PARTS + 1
    assert caplog.records[-1].event == Event(
        None, {"source": "queue", "path": "sources/queue", "revision": "7"}
    )


def test_a_source_names_itself_in_every_record_and_no_plugin_can_speak_for_another(caplog):
    log = SourceLog("queue")
    log.warning("one")
    log.warning("two", extra={"shade": "blue"})
    log.warning("three", extra=event(PLUGIN_FAILED, source="other", before="ok", revision=3))
    log.warning("four", extra={"event": "not one of ours"})
    one, two, three, four = caplog.records
    assert one.event == two.event == four.event == Event(None, {"source": "queue"})
    assert two.shade == "blue"
    assert three.event == Event(PLUGIN_FAILED, {"source": "queue", "from": "ok", "revision": "3"})
    assert three.getMessage() == "source queue: three"


def test_faults_of_plugins_are_events_once_each(caplog):
    faults = FaultLog(SourceLog("queue"))
    for _ in range(2):
        faults.add("bad_report", "It is none.")
        faults.add_exception(ValueError("x"))
        faults.end_of_probe()
    assert [record.event for record in caplog.records] == [
        Event(PLUGIN_FAILED, {"source": "queue", "reason": "bad_report"}),
        Event(PLUGIN_FAILED, {"source": "queue", "reason": "plugin_failed"}),
    ]


async def test_a_sink_that_fails_is_an_event(nursery, caplog):
    class Failing(Sink):
        name = "failing"

        async def consume(self, transition):
            raise RuntimeError(transition.path)

    runner = SinkRunner(Failing())
    await nursery.start(runner.run)
    runner.take(changed(transition()))
    await trio.testing.wait_all_tasks_blocked()
    [record] = caplog.records
    assert record.event == Event(PLUGIN_FAILED, {"sink": "failing", "reason": "plugin_failed"})


async def test_a_blocked_loop_says_who_did_it(nursery, caplog):
    send, receive = trio.open_memory_channel(10)
    await nursery.start(LagWatch(send).run)

    async def slow():
        time.sleep(0.3)  # noqa: ASYNC251  # to block is what is tried
        await trio.lowlevel.checkpoint()

    nursery.start_soon(slow, name="source queue")
    while not caplog.records:
        await receive.receive()
    told = caplog.records[0].event
    assert told.kind is LOOP_BLOCKED
    assert float(told.fields["seconds"]) >= 0.3
    assert dict(told.fields, seconds="") == {
        "source": "queue",
        "path": PATH,
        "reason": "loop_blocked",
        "culprit": "source queue",
        "seconds": "",
    }


def test_what_is_not_kept_over_restarts_says_which_file(tmp_path, caplog):
    (tmp_path / "revision").write_text("junk")
    RevisionFile.under_systemd({"STATE_DIRECTORY": str(tmp_path)}).first(1.0)
    [record] = caplog.records
    assert record.event == Event(STATE_NOT_KEPT, {"file": str(tmp_path / "revision")})
