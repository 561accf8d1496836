import logging

import attrs
import pytest
import trio
import trio.testing

from statusd import Sink, Snapshot, Status, Transition
from statusd.model.snapshot import Change
from statusd.model.tree import Node
from statusd.runtime.sinks import PARTS, QUEUE, SinkRunner, as_line, log_transitions


def change(*transitions):
    snapshot = Snapshot(root=Node(status=Status.OK), revision=1, version=1, at=0.0)
    return Change(snapshot=snapshot, transitions=transitions)


def transition(number=0, **changes):
    made = Transition(
        path="sources/queue",
        before=Status.OK,
        after=Status.DOWN,
        reason="refused",
        message="Nothing listens there.",
        at=0.0,
        revision=number,
    )
    return attrs.evolve(made, **changes)


@attrs.frozen(kw_only=True)
class Collecting(Sink):
    name = "collecting"
    seen: list = attrs.field(factory=list)
    fail_on: tuple = ()
    gate: trio.Event | None = None

    async def consume(self, transition):
        if self.gate is not None:
            await self.gate.wait()
        if transition.revision in self.fail_on:
            raise RuntimeError
        self.seen.append(transition.revision)


async def test_a_sink_gets_every_transition_in_order(nursery):
    runner = SinkRunner(Collecting())
    await nursery.start(runner.run)
    runner.take(change(transition(1), transition(2)))
    runner.take(change(transition(3)))
    await trio.testing.wait_all_tasks_blocked()
    assert runner.sink.seen == [1, 2, 3]


async def test_a_sink_that_raises_loses_that_transition_only_and_is_logged_once(nursery, caplog):
    runner = SinkRunner(Collecting(fail_on=(2, 3)))
    await nursery.start(runner.run)
    runner.take(change(*(transition(number) for number in range(1, 5))))
    await trio.testing.wait_all_tasks_blocked()
    assert runner.sink.seen == [1, 4]
    assert caplog.text.count("sink collecting failed") == 1


async def test_a_sink_whose_own_task_exits_the_process_only_loses_that_transition(nursery, caplog):
    async def exit_process():
        raise SystemExit(1)

    @attrs.frozen(kw_only=True)
    class Exiting(Collecting):
        async def consume(self, transition):
            if transition.revision == 1:
                async with trio.open_nursery() as own:
                    own.start_soon(exit_process)
            await Collecting.consume(self, transition)

    runner = SinkRunner(Exiting())
    await nursery.start(runner.run)
    runner.take(change(transition(1), transition(2)))
    await trio.testing.wait_all_tasks_blocked()
    assert runner.sink.seen == [2]
    assert "sink collecting failed" in caplog.text


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), GeneratorExit(), BaseExceptionGroup("", [SystemExit()])]
)
async def test_a_sink_that_raises_what_ends_processes_only_loses_that_transition(nursery, error):
    @attrs.frozen(kw_only=True)
    class Interrupting(Collecting):
        async def consume(self, transition):
            if transition.revision == 1:
                raise error
            await Collecting.consume(self, transition)

    runner = SinkRunner(Interrupting())
    await nursery.start(runner.run)
    runner.take(change(transition(1), transition(2)))
    await trio.testing.wait_all_tasks_blocked()
    assert runner.sink.seen == [2]


async def test_a_sink_that_hangs_loses_the_oldest_and_never_holds_the_hub(nursery, caplog):
    gate = trio.Event()
    runner = SinkRunner(Collecting(gate=gate))
    await nursery.start(runner.run)
    for number in range(QUEUE + 10):
        runner.take(change(transition(number)))
    assert runner.dropped == 10
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert runner.sink.seen == list(range(10, QUEUE + 10))
    assert caplog.text.count("too slow") == 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "sources/queue: ok -> down (refused): Nothing listens there."),
        ({"path": "", "after": Status.OK, "reason": "ok", "message": ""}, "statusd: ok -> ok"),
        ({"after": None, "reason": "", "message": ""}, "sources/queue: ok -> gone"),
        ({"before": None, "message": ""}, "sources/queue: new -> down (refused)"),
    ],
)
def test_a_transition_is_one_line(changes, line):
    assert as_line(transition(**changes)) == line


def test_the_parts_of_each_source_are_counted_for_themselves(caplog):
    caplog.set_level(logging.INFO)
    log_transitions(
        change(
            *(
                transition(path=f"sources/{source}/readers/{number}")
                for source in "ab"
                for number in range(PARTS + 2)
            )
        )
    )
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("sources/b/readers/") for line in lines) == PARTS
    assert lines[-2:] == ["sources/a: 2 more parts changed", "sources/b: 2 more parts changed"]


def test_of_a_thousand_parts_the_first_are_named_and_the_others_counted(caplog):
    caplog.set_level(logging.INFO)
    parts = [transition(path=f"sources/tk/readers/{number}") for number in range(1000)]
    log_transitions(change(*parts, transition(path="sources/tk"), transition(path="")))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == PARTS + 3
    assert lines[PARTS - 1].startswith(f"sources/tk/readers/{PARTS - 1}: ")
    assert lines[PARTS:] == [
        "sources/tk: ok -> down (refused): Nothing listens there.",
        "statusd: ok -> down (refused): Nothing listens there.",
        f"sources/tk: {1000 - PARTS} more parts changed",
    ]


def test_what_counts_in_no_rollup_is_information(caplog):
    caplog.set_level(logging.INFO)
    log_transitions(change(transition(), transition(counts=False), transition(after=Status.DEGRADED)))
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO", "WARNING"]
