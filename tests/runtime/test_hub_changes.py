"""What the hub makes of thresholds, dependencies and rules, and what it tells its listeners."""

import functools
import random

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import Payload, Report, Status
from statusd.model.assembly import Assembly
from statusd.model.merge import Reading
from statusd.model.rollup import BEST, Rule
from statusd.model.tree import find, walk
from statusd.runtime.hub import pending
from statusd.runtime.messages import Observation, Statement
from tests.runtime import hubs
from tests.runtime.hubs import SetClock, tracked


@pytest.fixture
def start(nursery):
    return functools.partial(hubs.start, nursery)


async def test_rise_and_fall_of_a_source_hold_for_it_its_parts_and_its_models(start):
    running = await start([tracked("a", fall=2, rise=2, models=("m",))], {"m": ["a"]})
    await running.observe("a", Report.ok(), Report.ok(path="r"))
    snapshot = await running.observe("a", Report.down("refused", "No."))
    for path in ("sources/a", "models/m"):
        assert (snapshot.find(path).status, snapshot.find(path).message) == (
            Status.OK,
            "1 of 2 probes say down (refused): No.",
        )
    assert snapshot.find("sources/a/r").status is Status.OK
    snapshot = await running.observe("a", Report.down("refused", "No."))
    assert (snapshot.find("sources/a").reason, snapshot.find("models/m").reason) == ("refused", "refused")
    assert snapshot.find("sources/a/r") is None
    snapshot = await running.observe("a", Report.ok())
    assert snapshot.root.status is Status.DOWN
    assert (await running.observe("a", Report.ok())).root.status is Status.OK


async def test_each_step_of_a_tally_is_a_change_of_state_and_no_transition(start):
    running = await start([tracked("a", fall=3)])
    await running.observe("a", Report.ok())
    for _ in range(2):
        await running.observe("a", Report.down("refused"))
    assert [list(change.nodes) for change in running.changes[1:]] == [["sources/a"]] * 2
    assert [change.transitions for change in running.changes[1:]] == [(), ()]


async def test_silence_is_stale_when_the_lifetime_ends_whatever_fall_says(start, autojump_clock):
    running = await start([tracked("a", fall=1000, models=("m",))], {"m": ["a"]})
    await running.observe("a", Report.ok(payload=Payload(b"{}")), lifetime=8.0)
    await trio.sleep(7.9)
    assert running.hub.snapshot.root.status is Status.OK
    await trio.sleep(0.2)
    for path in ("sources/a", "models/m", ""):
        node = running.hub.snapshot.find(path)
        assert (node.status, node.reason) == (Status.UNKNOWN, "stale")
    assert running.hub.snapshot.find("sources/a").payload is None


async def test_a_failed_parent_and_all_that_depends_on_it_come_and_go_in_one_revision_each(start):
    running = await start(
        [
            tracked("worker", depends_on=("proxy",), models=("m",)),
            tracked("proxy", depends_on=("host",)),
            tracked("host"),
        ],
        {"m": ["worker"]},
    )
    for name in ("host", "proxy", "worker"):
        before = await running.observe(name, Report.ok())
    running.changes.clear()
    broken = await running.observe("host", Report.down("refused"))
    healed = await running.observe("host", Report.ok())
    revisions = [change.snapshot.revision for change in running.changes]
    assert revisions == [before.revision + 1, before.revision + 2]
    for change in running.changes:
        assert {"sources/host", "sources/proxy", "sources/worker", "models/m"} <= change.nodes.keys()
    for path in ("sources/proxy", "sources/worker", "models/m"):
        assert (broken.find(path).status, broken.find(path).reason) == (Status.UNKNOWN, "parent_down")
        assert healed.find(path).status is Status.OK
    assert {one.path for one in running.changes[0].transitions} == {
        "", "sources", "sources/host", "sources/proxy", "sources/worker", "models", "models/m",
    }  # fmt: skip


async def test_rules_hold_from_the_first_tree_on(start):
    running = await start([tracked("a"), tracked("b")], rules={"sources": BEST, "": Rule(3)})
    assert (running.hub.snapshot.find("sources").rule, running.hub.snapshot.root.rule) == (
        "best",
        "at_least(3)",
    )
    assert (running.hub.snapshot.root.status, running.hub.snapshot.root.reason) == (Status.DOWN, "too_few")
    await running.observe("a", Report.ok())
    snapshot = await running.observe("b", Report.down("refused"))
    assert (snapshot.find("sources").status, snapshot.find("sources").decided_by) == (Status.OK, ("a",))


async def test_the_first_revision_may_be_given_and_each_change_is_the_next(start):
    running = await start([tracked("a")], first_revision=7)
    assert {node.revision for _, node in walk(running.hub.snapshot.root)} == {7}
    seen = [
        (await running.observe("a", Report.down(reason))).revision
        for reason in ("refused", "refused", "timeout", "timeout", "refused")
    ]
    assert seen == [8, 8, 9, 9, 10]
    assert [change.snapshot.revision for change in running.changes] == [8, 9, 10]


@pytest.mark.parametrize("leap", [-1e9, 1e9])
async def test_each_change_is_the_next_revision_however_the_wall_clock_is_set(start, leap):
    clock = SetClock()
    running = await start([tracked("a")], clock=clock)
    first = running.hub.snapshot.revision
    assert first == 1_800_000_000_000_000
    for reason in ("refused", "timeout", "refused"):
        clock.wall += leap
        await running.observe("a", Report.down(reason))
    assert [change.snapshot.revision for change in running.changes] == [first + 1, first + 2, first + 3]


async def test_finding_nothing_new_is_told_to_nobody(start):
    running = await start([tracked("a", models=("m",))], {"m": ["a"]})
    await running.observe("a", Report.ok(), Report.ok(path="x"), Report.ok(path="y"))
    before = running.hub.snapshot
    after = await running.observe(
        "a",
        Report.ok(measurements={"latency": 1.0}, payload=Payload(b"2")),
        Report.ok(path="y"),
        Report.ok(path="x"),
    )
    assert len(running.changes) == 1
    assert after.revision == before.revision
    assert {node.revision for _, node in walk(after.root)} == {node.revision for _, node in walk(before.root)}
    assert after.find("sources/a").measurements == {"latency": 1.0}


# a long life


NAMES = ("a", "b", "c", "d")
MODELS = {"m": ["a", "b"], "n/1": ["b"]}
RULES = {"sources": Rule(2), "models/n%2F1": Rule(0), "sources/c/x": BEST}
SOURCES = (
    tracked("a", models=("m",), depends_on=("d",), fall=2),
    tracked("b", models=("m", "n/1"), rise=2, fall=3, required=False),
    tracked("c", depends_on=("a", "b")),
    tracked("d", fall=2, first=pending(is_configured=False)),
)
LONG = 100.0
STEPS = 300


def any_report(chance, **about):
    return Report(
        status=chance.choice(list(Status)),
        reason=chance.choice(["ok", "refused"]),
        facts={"n": chance.choice([0, 1, True])} if chance.random() < 0.5 else {},
        measurements={"latency": chance.random()},
        **about,
    )


def any_reports(chance, name):
    parts = [path for path in ("x/1", "x/2", "y") if chance.random() < 0.5]
    models = [model for model, names in MODELS.items() if name in names and chance.random() < 0.5]
    reports = [any_report(chance, path=path) for path in parts]
    reports += [any_report(chance, model=model) for model in models]
    if chance.random() < 0.9 or not reports:
        reports.append(any_report(chance))
    chance.shuffle(reports)
    return tuple(reports)


def content(node):
    """A tree but for what is stamped on it."""
    bare = attrs.evolve(node, since=0.0, revision=0, children={})
    return bare, {name: content(child) for name, child in node.children.items()}


def own_states(root):
    return {path: repr(attrs.evolve(node, children={}, **NO_STATE)) for path, node in walk(root)}


NO_STATE = {
    "measurements": {}, "payload": None, "basis": None, "observed_at": None, "expires_at": None, "revision": 0,
}  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 32))
def test_after_any_life_the_tree_is_the_one_built_at_once_and_every_change_was_told_whole(seed):
    chance = random.Random(seed)
    clock = trio.testing.MockClock()
    wall = SetClock()
    states = {one.info.name: one.state() for one in SOURCES}
    statements = {"daemon/loop": Report.ok()}
    fresh = set()

    async def step(running):
        dice = chance.random()
        if dice < 0.03:
            clock.jump(LONG)
            await trio.testing.wait_all_tasks_blocked()
            for name in fresh:
                states[name] = states[name].expired()
            fresh.clear()
        elif dice < 0.1:
            statements["daemon/loop"] = any_report(chance)
            await running.send(Statement(path="daemon/loop", report=statements["daemon/loop"]))
        else:
            name = chance.choice(NAMES)
            reports = any_reports(chance, name)
            wall.wall += chance.choice([0.0, 1.0, -5.0])
            reading = Reading(reports=reports, observed_at=wall.wall, expires_at=wall.wall + LONG)
            states[name] = states[name].after(reading)
            fresh.add(name)
            await running.send(Observation(source=name, reports=reports, lifetime=LONG))

    async def live():
        async with trio.open_nursery() as nursery:
            running = await hubs.start(
                nursery, SOURCES, MODELS, clock=wall, rules=RULES, first_revision=1,
                statements=[Statement(path="daemon/loop", report=Report.ok())],
            )  # fmt: skip
            told = own_states(running.hub.snapshot.root)
            revision = 1
            for _ in range(STEPS):
                await step(running)
                root = running.hub.snapshot.root
                whole = Assembly(states.values(), MODELS, RULES).tree(statements)
                assert content(root) == content(whole)
                for change in running.changes:
                    revision += 1
                    assert change.snapshot.revision == revision
                    assert change.nodes
                    for path, node in change.nodes.items():
                        assert find(change.snapshot.root, path) is node
                        told.pop(path, None)
                        if node is not None:
                            told |= {path: own_states(node)[""]}
                running.changes.clear()
                assert running.hub.snapshot.revision == root.revision == revision
                assert told == own_states(root)
            nursery.cancel_scope.cancel()

    trio.run(live, clock=clock)
