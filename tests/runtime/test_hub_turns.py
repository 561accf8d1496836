"""Another configuration, and drains: what the tree keeps, what it loses, and that it is another one in one step."""

import functools

import pytest
import trio

from statusd import Report, Status
from statusd.model.drains import Drain
from statusd.model.tree import Since, walk
from statusd.runtime.messages import Draining, Observation, Reconfiguration, Statement
from tests.runtime import hubs
from tests.runtime.clocks import TrioClock
from tests.runtime.hubs import tracked


@pytest.fixture
def start(nursery):
    return functools.partial(hubs.start, nursery)


def another(*sources, kept=(), models=None, **rest):
    rest = {"statements": (), "rules": {}} | rest
    return Reconfiguration(sources=sources, kept=frozenset(kept), models=models or {}, **rest)


def drain(path, reason="maintenance"):
    return Drain(path=path, reason=reason, since=1_800_000_000.0)


async def test_a_source_that_goes_on_keeps_its_reading_and_its_age(start, autojump_clock):
    running = await start([tracked("a"), tracked("b")])
    before = (await running.observe("a", Report.ok(facts={"size": 3}))).find("sources/a")
    await trio.sleep(2)
    snapshot = await running.send(another(tracked("a"), kept=("a",)))
    after = snapshot.find("sources/a")
    assert (after.since, after.observed_at, after.expires_at) == (
        before.since, before.observed_at, before.expires_at,
    )  # fmt: skip
    assert (after.facts, after.revision) == (before.facts, before.revision)
    assert snapshot.find("sources/b") is None


async def test_a_reading_that_went_on_still_turns_stale_in_its_time(start, autojump_clock):
    running = await start([tracked("a")])
    await running.observe("a", Report.ok(), lifetime=8.0)
    await trio.sleep(5)
    await running.send(another(tracked("a"), kept=("a",)))
    await trio.sleep(2.9)
    assert running.hub.snapshot.find("sources/a").reason == "ok"
    await trio.sleep(0.2)
    assert running.hub.snapshot.find("sources/a").reason == "stale"


async def test_a_count_of_fall_goes_on(start):
    running = await start([tracked("a", fall=3)])
    await running.observe("a", Report.ok())
    await running.observe("a", Report.down("refused", "No."))
    snapshot = await running.send(another(tracked("a", fall=2), kept=("a",)))
    assert snapshot.find("sources/a").status is Status.OK
    snapshot = await running.observe("a", Report.down("refused", "No."))
    assert snapshot.find("sources/a").status is Status.DOWN


async def test_what_is_new_shows_what_it_found_in_the_very_revision_that_brings_it(start):
    running = await start([tracked("a")])
    found = Observation(source="b", reports=(Report.ok(),), lifetime=8.0)
    await running.send(another(tracked("a"), tracked("b"), kept=("a",), observations=(found,)))
    (transitions,) = [each for _, each in running.transitions]
    assert [(one.path, one.before, one.after) for one in transitions if one.path.startswith("sources/")] == [
        ("sources/b", None, Status.OK)
    ]


async def test_what_waited_for_its_place_is_as_old_as_it_is(start, autojump_clock):
    running = await start([tracked("a")], clock=TrioClock())
    at = trio.current_time()
    await trio.sleep(3)
    found = Observation(source="b", reports=(Report.ok(),), lifetime=8.0, at=at)
    snapshot = await running.send(another(tracked("b"), observations=(found,)))
    node = snapshot.find("sources/b")
    assert (snapshot.at - node.observed_at, node.expires_at - snapshot.at) == (
        pytest.approx(3), pytest.approx(5),
    )  # fmt: skip
    await trio.sleep(5.1)
    assert running.hub.snapshot.find("sources/b").reason == "stale"


async def test_a_model_that_is_new_to_a_source_is_as_the_source_says(start):
    running = await start([tracked("a", models=("m",))], {"m": ["a"]})
    await running.observe("a", Report.ok(), Report.down("worker_lost", "Gone.", model="m"))
    moved = another(tracked("a", models=("m", "n")), kept=("a",), models={"n": ["a"], "m": ["a"]})
    snapshot = await running.send(moved)
    assert list(snapshot.find("models").children) == ["n", "m"]
    assert (snapshot.find("models/n").status, snapshot.find("models/m").status) == (
        Status.OK, Status.DOWN,
    )  # fmt: skip


async def test_what_the_daemon_says_of_itself_stays_and_what_it_says_of_plugins_is_said_anew(start):
    first = (
        Statement(path="daemon/loop", report=Report.degraded("loop_blocked", "It is.")),
        Statement(path="daemon/tls", report=Report.ok()),
        Statement(path="plugins/old", report=Report.ok()),
    )
    running = await start([tracked("a")], statements=first)
    new = (Statement(path="plugins/new", report=Report.ok()),)
    snapshot = await running.send(
        another(tracked("a"), kept=("a",), statements=new, gone=frozenset({"daemon/tls"}))
    )
    assert {path for path, _ in walk(snapshot.root) if path.count("/")} == {
        "sources/a", "daemon/loop", "plugins/new",
    }  # fmt: skip
    assert snapshot.find("daemon/loop").reason == "loop_blocked"


async def test_what_is_served_turns_in_the_step_in_which_the_tree_does(start):
    running = await start([tracked("a")])
    seen = []
    running.hub.listen(lambda change: seen.append(change.snapshot.find("sources/b") is not None))
    was = []

    def turn():
        was.append((running.hub.snapshot.find("sources/b"), list(seen)))

    version = running.hub.snapshot.version
    await running.send(another(tracked("b"), turn=turn))
    assert was == [(None, [])]
    assert seen == [True]
    assert running.hub.snapshot.version > version


async def test_nothing_new_is_no_new_revision_and_a_new_version_all_the_same(start):
    running = await start([tracked("a")])
    before = await running.observe("a", Report.ok())
    after = await running.send(another(tracked("a"), kept=("a",)))
    assert (after.revision, after.version) == (before.revision, before.version + 1)


async def test_a_drained_source_is_off_and_its_models_go_to_the_next_one(start):
    running = await start([tracked("a", models=("m",)), tracked("b", models=("m",))], {"m": ["a", "b"]})
    await running.observe("a", Report.ok())
    await running.observe("b", Report.ok())
    snapshot = await running.send(Draining((drain("sources/a"),)))
    node = snapshot.find("sources/a")
    assert (node.status, node.reason) == (Status.OFF, "drained")
    assert "maintenance" in node.message
    assert snapshot.find("models/m").source == "b"
    snapshot = await running.send(Draining((drain("sources/a"), drain("sources/b"))))
    assert (snapshot.find("models/m").status, snapshot.find("models/m").reason) == (Status.OFF, "drained")
    snapshot = await running.send(Draining(()))
    assert snapshot.find("models/m").source == "a"


async def test_what_a_drained_source_reports_shows_once_it_is_back(start):
    running = await start([tracked("a")])
    await running.send(Draining((drain("sources/a"),)))
    snapshot = await running.observe("a", Report.down("refused", "No."))
    assert snapshot.find("sources/a").status is Status.OFF
    assert snapshot.root.status is Status.OFF
    snapshot = await running.send(Draining(()))
    assert snapshot.find("sources/a").reason == "refused"


async def test_what_depends_on_a_drained_source_is_not_blamed_on_it(start):
    running = await start([tracked("host"), tracked("worker", depends_on=("host",))])
    await running.observe("host", Report.down("refused", "No."))
    await running.observe("worker", Report.ok())
    assert running.hub.snapshot.find("sources/worker").reason == "parent_down"
    snapshot = await running.send(Draining((drain("sources/host"),)))
    assert snapshot.find("sources/worker").status is Status.OK


@pytest.mark.parametrize("path", ["", "sources", "models", "models/m", "sources/a/readers/r"])
async def test_any_place_can_be_drained_and_says_so(start, path):
    running = await start([tracked("a", models=("m",))], {"m": ["a"]})
    await running.observe("a", Report.ok(), Report.ok(path="readers/r"), Report.ok(path="readers/s"))
    before = running.hub.snapshot.find(path)
    snapshot = await running.send(Draining((drain(path),)))
    node = snapshot.find(path)
    assert (node.status, node.reason, node.facts) == (Status.OFF, "drained", before.facts)
    assert list(node.children) == list(before.children)
    snapshot = await running.send(Draining(()))
    assert (snapshot.find(path).status, snapshot.find(path).reason) == (before.status, before.reason)


async def test_drains_hold_over_another_configuration_and_over_what_is_not_there(start):
    running = await start([tracked("a")], drains=(drain("sources/a"), drain("sources/later")))
    assert running.hub.snapshot.find("sources/a").reason == "drained"
    snapshot = await running.send(another(tracked("a"), tracked("later"), kept=("a",)))
    assert snapshot.find("sources/a").reason == "drained"
    assert snapshot.find("sources/later").reason == "drained"


async def test_a_node_that_stands_as_an_earlier_process_left_it_has_done_so_since_then(start):
    known = {
        "sources/a": Since(Status.UNKNOWN, 1_700_000_000.0),
        "sources": Since(Status.OK, 1_600_000_000.0),
    }
    running = await start([tracked("a")], known=known)
    assert running.hub.snapshot.find("sources/a").since == 1_700_000_000.0
    assert running.hub.snapshot.find("sources").since == running.hub.snapshot.at
