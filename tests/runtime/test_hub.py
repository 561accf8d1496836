import functools

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import Payload, Report, Status
from statusd.model.tree import walk
from statusd.runtime.hub import Hub, pending
from statusd.runtime.messages import Observation, Statement
from tests.model.strategies import reports
from tests.runtime import hubs
from tests.runtime.clocks import TrioClock
from tests.runtime.hubs import SetClock, tracked


@pytest.fixture
def start(nursery):
    return functools.partial(hubs.start, nursery)


async def test_before_any_probe_the_tree_is_whole(start):
    running = await start(
        [tracked("a", models=("m",)), tracked("b", first=pending(is_configured=False))], {"m": ["a"]}
    )
    snapshot = running.hub.snapshot
    assert {path for path, _ in walk(snapshot.root)} == {
        "", "sources", "sources/a", "sources/b", "models", "models/m", "plugins", "daemon",
    }  # fmt: skip
    assert (snapshot.find("sources/a").status, snapshot.find("sources/a").reason) == (
        Status.UNKNOWN,
        "pending",
    )
    assert (snapshot.find("sources/b").status, snapshot.find("sources/b").reason) == (
        Status.OFF,
        "not_configured",
    )
    assert snapshot.find("sources/a").observed_at is None
    assert 0 <= snapshot.revision - 1_800_000_000_000_000 < 1_000_000


async def test_a_report_reaches_its_node_its_models_and_the_root(start):
    running = await start([tracked("a", models=("m/1",))], {"m/1": ["a"]})
    snapshot = await running.observe("a", Report.down("refused", "No."))
    assert snapshot.find("sources/a").reason == "refused"
    assert snapshot.find("models/m%2F1").status is Status.DOWN
    assert snapshot.root.status is Status.DOWN
    assert snapshot.root.message == "1 of 1 not ok: models (down, refused)."


async def test_a_source_that_serves_models_counts_through_them_only(start):
    running = await start([tracked("a", models=("m",)), tracked("b", models=("m",))], {"m": ["a", "b"]})
    await running.observe("a", Report.down("refused"))
    snapshot = await running.observe("b", Report.ok())
    assert snapshot.root.status is Status.OK
    facts = snapshot.find("models/m").facts
    assert (facts["source"], facts["backend"]) == ("b", "b")
    assert [one["reason"] for one in facts["candidates"]] == ["refused", "ok"]


async def test_what_is_not_required_shows_and_does_not_count(start):
    running = await start([tracked("a", required=False), tracked("b")])
    await running.observe("a", Report.down("refused"))
    snapshot = await running.observe("b", Report.ok())
    assert snapshot.find("sources/a").status is Status.DOWN
    assert snapshot.root.status is Status.OK


async def test_a_model_of_a_source_that_is_not_required_does_not_count_either(start):
    running = await start([tracked("a", required=False, models=("m",)), tracked("b")], {"m": ["a"]})
    await running.observe("a", Report.down("refused"))
    snapshot = await running.observe("b", Report.ok())
    assert snapshot.find("models/m").status is Status.DOWN
    assert snapshot.root.status is Status.OK


async def test_finding_nothing_new_raises_the_version_and_not_the_revision(start):
    running = await start([tracked("a")])
    first = await running.observe("a", Report.ok(measurements={"latency": 1.0}, payload=Payload(b"1")))
    second = await running.observe("a", Report.ok(measurements={"latency": 2.0}, payload=Payload(b"2")))
    assert second.revision == first.revision
    assert second.version > first.version
    assert second.find("sources/a").payload == Payload(b"2")
    assert len(running.transitions) == 1


async def test_a_reading_past_its_lifetime_is_stale_and_loses_its_payload(start, autojump_clock):
    running = await start([tracked("a", models=("m",))], {"m": ["a"]})
    await running.observe(
        "a", Report.ok(payload=Payload(b"{}")), Report.ok(path="part"), Report.ok(model="m", label="word")
    )
    await trio.sleep(7.9)
    assert running.hub.snapshot.root.status is Status.OK
    await trio.sleep(0.2)
    snapshot = running.hub.snapshot
    for path in ("sources/a", "sources/a/part", "models/m", ""):
        assert (snapshot.find(path).status, snapshot.find(path).reason) == (Status.UNKNOWN, "stale")
    assert snapshot.find("sources/a").payload is None
    assert snapshot.find("models/m").facts["candidates"][0]["label"] == ""


@pytest.mark.parametrize("leap", [-1e9, -60.0, 60.0, 1e9])
async def test_setting_the_wall_clock_changes_neither_the_order_of_revisions_nor_any_lifetime(
    start, autojump_clock, leap
):
    clock = SetClock()
    running = await start([tracked("a")], clock=clock)
    await running.observe("a", Report.ok(), lifetime=8.0)
    clock.wall += leap
    await running.observe("a", Report.down("refused"), lifetime=8.0)
    clock.wall -= 2 * leap
    await trio.sleep(7.9)
    assert running.hub.snapshot.find("sources/a").reason == "refused"
    await trio.sleep(0.2)
    assert running.hub.snapshot.find("sources/a").reason == "stale"
    revisions = [revision for revision, _ in running.transitions]
    assert len(revisions) == 3
    assert revisions == sorted(set(revisions))


async def test_a_first_probe_that_does_not_end_is_stale_in_the_tree_and_told_once(
    start, autojump_clock, caplog
):
    running = await start([tracked("a", patience=5.0, models=("m",)), tracked("b")], {"m": ["a"]})
    await trio.sleep(4.9)
    assert running.hub.snapshot.find("sources/a").reason == "pending"
    await trio.sleep(60)
    assert running.hub.snapshot.find("sources/a").reason == "stale"
    assert running.hub.snapshot.find("models/m").reason == "stale"
    assert running.hub.snapshot.find("sources/b").reason == "pending"
    assert caplog.messages == ["source a: its first probe does not end"]


async def test_a_new_report_renews_the_lifetime(start, autojump_clock):
    running = await start([tracked("a")])
    for _ in range(5):
        await running.observe("a", Report.ok())
        await trio.sleep(5)
    assert running.hub.snapshot.find("sources/a").status is Status.OK


async def test_a_late_report_revives_a_stale_source(start, autojump_clock):
    running = await start([tracked("a")])
    await running.observe("a", Report.ok())
    await trio.sleep(20)
    assert running.hub.snapshot.find("sources/a").reason == "stale"
    assert (await running.observe("a", Report.ok())).find("sources/a").status is Status.OK


async def test_a_part_that_a_report_no_longer_mentions_goes_with_a_transition(start):
    running = await start([tracked("a")])
    await running.observe("a", Report.ok(), Report.ok(path="readers/r1"))
    snapshot = await running.observe("a", Report.ok())
    assert snapshot.find("sources/a/readers") is None
    gone = [one.path for one in running.transitions[-1][1] if one.after is None]
    assert gone == ["sources/a/readers/r1", "sources/a/readers"]


async def test_the_daemons_own_parts_have_their_say(start):
    running = await start([], statements=[Statement(path="daemon/loop", report=Report.ok())])
    async with running.hub.inbox() as inbox:
        await inbox.send(Statement(path="daemon/loop", report=Report.degraded("loop_blocked", "x")))
    await running.hub.settled()
    assert running.hub.snapshot.find("daemon").status is Status.DEGRADED
    assert running.hub.snapshot.root.status is Status.DEGRADED


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), reports()), max_size=12))
def test_the_order_of_reports_about_different_sources_does_not_matter(steps):
    def settle_all(order):
        async def main():
            hub = Hub([tracked("a"), tracked("b")], {}, clock=TrioClock())
            async with trio.open_nursery() as nursery:
                await nursery.start(hub.run)
                async with hub.inbox() as inbox:
                    for name, report in order:
                        await inbox.send(Observation(source=name, reports=(report,), lifetime=9.0))
                await hub.settled()
                nursery.cancel_scope.cancel()
            return {
                path: (node.status, node.reason, node.message, dict(node.facts))
                for path, node in walk(hub.snapshot.root)
            }

        return trio.run(main)

    assert settle_all(steps) == settle_all(sorted(steps, key=lambda step: step[0]))


async def test_every_revision_is_told_once_and_only_grows(start):
    running = await start([tracked("a")])
    for reason in ("refused", "refused", "timeout", "timeout", "refused"):
        await running.observe("a", Report.down(reason))
    revisions = [revision for revision, _ in running.transitions]
    assert revisions == sorted(set(revisions))
    assert len(revisions) == 3
