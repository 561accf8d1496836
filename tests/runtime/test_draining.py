import errno
import json
import logging
import os
import threading

import attrs
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from statusd import Node, Report, Status
from statusd.events import DRAINED, STATE_NOT_KEPT, STATE_SET_ASIDE, UNDRAINED
from statusd.model.drains import Drain
from statusd.model.tree import find
from statusd.runtime import drain_file, drainable
from statusd.runtime.drain_file import DrainFile
from statusd.runtime.drainable import DrainError, is_drainable, place_of, spellings
from statusd.runtime.draining import LOOK, Drains
from statusd.runtime.messages import Draining
from tests.runtime.clocks import TrioClock
from tests.runtime.hubs import SetClock, start, tracked

NOW = 1_800_000_000.0
MODELS = {"org/one": ["a", "b"], "two": ["b"]}


def kinds(caplog):
    return [record.event.kind for record in caplog.records if hasattr(record, "event")]


def stored(path):
    return {one["path"]: one["reason"] for one in json.loads((path / "drains.json").read_bytes())["drains"]}


@attrs.define
class Rig:
    """A hub with two sources and two models, and drains over it."""

    drains: Drains
    running: object

    def node(self, path):
        return self.running.hub.snapshot.find(path)


@pytest.fixture
async def rig(tmp_path, nursery):
    return await rigged(tmp_path, nursery)


async def until(condition):
    """Return once `condition` holds; a thread may have a part in it, which no mock clock knows of."""
    while not condition():
        await trio.lowlevel.checkpoint()


async def jumping(clock, condition):
    """Return once `condition` holds, while time goes by: a look that a thread holds up is then not waited for."""
    while not condition():
        clock.jump(LOOK)
        await trio.testing.wait_all_tasks_blocked()


async def rigged(folder, nursery, clock=None):
    clock = clock or TrioClock()
    file = DrainFile.under_systemd({"STATE_DIRECTORY": str(folder)})
    kept = file.read(clock.now())
    sources = [tracked("a", models=("org/one",)), tracked("b", models=("org/one", "two"))]
    running = await start(nursery, sources, MODELS, clock=clock, drains=kept)
    if not kept:
        await running.observe(
            "a", Report.ok(), Report.ok(model="org/one"), Report.ok(path="readers/r%201"), lifetime=9e9
        )
        await running.observe(
            "b", Report.ok(), Report.ok(model="org/one"), Report.ok(model="two"), lifetime=9e9
        )
    hub = running.hub
    drains = Drains(
        kept,
        file=file,
        clock=clock,
        snapshot=lambda: hub.snapshot,
        apply=lambda new: hub.send(Draining(new)),
    )
    await nursery.start(drains.run)
    return Rig(drains, running)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/", ""),
        ("sources", "sources"),
        ("/models/", "models"),
        ("sources/a", "sources/a"),
        ("sources/a/readers/r 1", "sources/a/readers/r%201"),
        ("sources/a/readers/r%201", "sources/a/readers/r%201"),
        ("models/two", "models/two"),
        ("models/org/one", "models/org%2Fone"),
        ("models/org%2fone", "models/org%2Fone"),
    ],
)
async def test_a_place_is_drained_by_its_path_or_its_id_and_shows_it(rig, tmp_path, text, path):
    outcome = await rig.drains.drain(text, "new disks")
    assert outcome.drain.path == path
    assert outcome.not_kept == ""
    node = rig.node(path)
    assert (node.status, node.reason, node.message) == (
        "off",
        "drained",
        "Drained by an operator: new disks.",
    )
    assert stored(tmp_path) == {path: "new disks"}
    ended = await rig.drains.undrain(text)
    assert ended.drain == outcome.drain
    assert rig.node(path).reason != "drained"
    assert stored(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("sources/c", "no_such_node", "Near it: sources/b, sources/a"),
        ("sourcs/a", "no_such_node", "Near it: sources/a"),
        ("two", "no_such_node", "Near it: models/two"),
        ("models/org/on", "no_such_node", "Near it: models/org%2Fone"),
        ("nothing/alike/at/all", "no_such_node", "There is: sources/a, sources/b"),
        ("daemon", "not_drainable", "cannot be drained"),
        ("plugins", "not_drainable", "cannot be drained"),
        ("", "bad_path", 'write "/" for the whole tree'),
        ("  ", "bad_path", 'write "/" for the whole tree'),
        ("sources/\n", "bad_path", "printable"),
        ("sources/" + "x" * 5000, "bad_path", "printable"),
    ],
)
async def test_what_cannot_be_drained_is_refused_in_words_and_changes_nothing(
    rig, tmp_path, text, reason, message
):
    with pytest.raises(DrainError) as caught:
        await rig.drains.drain(text, "new disks")
    assert caught.value.reason == reason
    assert message in caught.value.message
    assert rig.drains.current == ()
    assert not (tmp_path / "drains.json").exists()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan"), 1e300])
async def test_a_time_that_is_none_is_refused(rig, seconds):
    with pytest.raises(DrainError, match="time"):
        await rig.drains.drain("sources/a", "x", seconds)


async def test_a_reason_that_is_none_is_refused(rig):
    for text in ("", "a\nb", "x" * 201):
        with pytest.raises(DrainError, match="printable") as caught:
            await rig.drains.drain("sources/a", text)
        assert caught.value.reason == "bad_reason"


async def test_a_drained_source_leaves_its_models_to_the_others(rig):
    outcome = await rig.drains.drain("sources/a", "x")
    assert outcome.before.find("models/org%2Fone").source == "a"
    assert rig.node("models/org%2Fone").source == "b"
    await rig.drains.drain("sources/b", "x")
    assert rig.node("models/two").status == "off"
    assert rig.node("models/two").reason == "drained"


async def test_draining_again_replaces_what_was_said(rig, caplog, mock_clock):
    first = (await rig.drains.drain("sources/a", "first", 60)).drain
    second = await rig.drains.drain("sources/a", "second")
    assert second.replaced == first
    assert [one.reason for one in rig.drains.current] == ["second"]
    mock_clock.jump(120)
    await trio.testing.wait_all_tasks_blocked()
    assert rig.node("sources/a").message == "Drained by an operator: second."
    assert kinds(caplog) == [DRAINED, DRAINED]


async def test_a_drain_ends_when_its_time_has_come(rig, tmp_path, caplog, mock_clock):
    await rig.drains.drain("sources/a", "short", 90, by="uid 0")
    await rig.drains.drain("sources/b", "long", 3600)
    mock_clock.jump(89.9)
    await trio.testing.wait_all_tasks_blocked()
    assert rig.node("sources/a").reason == "drained"
    mock_clock.jump(0.2)
    await until(lambda: UNDRAINED in kinds(caplog))
    assert stored(tmp_path) == {"sources/b": "long"}
    assert rig.node("sources/a").status == "ok"
    assert rig.node("sources/b").reason == "drained"
    assert kinds(caplog) == [DRAINED, DRAINED, UNDRAINED]
    assert "sources/a undrained: its time is over" in caplog.text
    assert "(uid 0)" in caplog.text


async def test_a_clock_that_is_set_forward_ends_a_drain_within_half_a_minute(
    tmp_path, nursery, mock_clock, caplog
):
    clock = SetClock()
    rig = await rigged(tmp_path, nursery, clock)
    await rig.drains.drain("sources/a", "x", 86_400)
    clock.wall += 90_000
    assert rig.drains.current == ()
    await (
        trio.testing.wait_all_tasks_blocked()
    )  # it sleeps until the next look, and not from after the jump on
    mock_clock.jump(LOOK)
    await until(lambda: UNDRAINED in kinds(caplog))  # the last that is done: the change is carried through
    assert rig.node("sources/a").status == "ok"


async def test_a_clock_that_is_set_back_does_not_end_it_early(tmp_path, nursery, mock_clock):
    clock = SetClock()
    rig = await rigged(tmp_path, nursery, clock)
    await rig.drains.drain("sources/a", "x", 60)
    clock.wall -= 10_000
    for _ in range(20):
        mock_clock.jump(LOOK)
        await trio.testing.wait_all_tasks_blocked()
    assert rig.node("sources/a").reason == "drained"


async def test_drains_hold_from_the_first_tree_after_a_restart(rig, tmp_path, nursery):
    await rig.drains.drain("models/two", "x", 3600)
    await rig.drains.drain("sources/a", "y")
    again = await rigged(tmp_path, nursery)
    assert again.node("models/two").reason == "drained"
    assert again.node("sources/a").reason == "drained"
    assert again.drains.current == rig.drains.current
    await again.drains.undrain("sources/a")
    assert stored(tmp_path) == {"models/two": "x"}


async def test_a_time_that_ends_while_the_daemon_does_not_run_is_over_at_once(rig, tmp_path, caplog):
    await rig.drains.drain("sources/a", "x", 10)
    await rig.drains.drain("sources/b", "y")
    file = DrainFile.under_systemd({"STATE_DIRECTORY": str(tmp_path)})
    for _ in range(2):
        assert [one.path for one in file.read(NOW + 1e6)] == ["sources/b"]
    assert stored(tmp_path) == {"sources/b": "y"}
    assert kinds(caplog).count(UNDRAINED) == 1


async def test_a_drain_of_a_node_that_goes_stays_and_can_be_ended(rig, tmp_path):
    await rig.drains.drain("sources/a/readers/r 1", "x")
    await rig.running.observe("a", Report.ok(), lifetime=9e9)
    (kept,) = rig.drains.current
    assert not rig.drains.is_there(kept)
    await rig.running.observe("a", Report.ok(), Report.ok(path="readers/r%201"), lifetime=9e9)
    assert rig.drains.is_there(kept)
    assert rig.node("sources/a/readers/r%201").reason == "drained"
    await rig.running.observe("a", Report.ok(), lifetime=9e9)
    await rig.drains.undrain("sources/a/readers/r 1")
    assert stored(tmp_path) == {}


async def test_what_is_not_drained_cannot_be_undrained_and_what_is_gets_named(rig):
    with pytest.raises(DrainError, match="Nothing is"):
        await rig.drains.undrain("sources/a")
    await rig.drains.drain("/", "x")
    with pytest.raises(DrainError, match=r"Drained: /\.") as caught:
        await rig.drains.undrain("sources/a")
    assert caught.value.reason == "not_drained"


async def test_a_disk_that_is_full_drains_all_the_same_and_says_that_it_does_not_last(
    rig, caplog, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(drain_file, "write_atomically", full)
    outcome = await rig.drains.drain("sources/a", "x")
    assert "No space left" in outcome.not_kept
    assert rig.node("sources/a").reason == "drained"
    assert kinds(caplog) == [STATE_NOT_KEPT, DRAINED]


async def test_what_a_full_disk_did_not_take_is_written_once_there_is_room(
    rig, tmp_path, caplog, monkeypatch, mock_clock
):
    caplog.set_level("INFO")
    await rig.drains.drain("sources/a", "x")
    tries = []

    def full(*_):
        tries.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(drain_file, "write_atomically", full)
        await rig.drains.undrain("sources/a")
        await rig.drains.drain("sources/b", "y")
        await jumping(mock_clock, lambda: len(tries) >= 6)
        assert stored(tmp_path) == {"sources/a": "x"}
    await jumping(mock_clock, lambda: "is kept in" in caplog.text)
    assert stored(tmp_path) == {"sources/b": "y"}
    assert kinds(caplog).count(STATE_NOT_KEPT) == 2
    mock_clock.jump(10 * LOOK)
    await trio.testing.wait_all_tasks_blocked()
    assert caplog.text.count("is kept in") == 1


async def test_without_a_state_directory_it_lasts_until_the_process_ends(nursery):
    file = DrainFile.under_systemd({})
    assert file.read(NOW) == ()
    running = await start(nursery, [tracked("a")])
    hub = running.hub
    drains = Drains(
        (),
        file=file,
        clock=TrioClock(),
        snapshot=lambda: hub.snapshot,
        apply=lambda new: hub.send(Draining(new)),
    )
    outcome = await drains.drain("sources/a", "x")
    assert "STATE_DIRECTORY" in outcome.not_kept
    assert find(hub.snapshot.root, "sources/a").reason == "drained"


async def test_there_is_a_bound(rig, monkeypatch):
    monkeypatch.setattr("statusd.runtime.draining.MOST_DRAINS", 2)
    await rig.drains.drain("sources/a", "x")
    await rig.drains.drain("sources/b", "x")
    with pytest.raises(DrainError, match="undrain some") as caught:
        await rig.drains.drain("/", "x")
    assert caught.value.reason == "too_many"
    await rig.drains.drain("sources/b", "y")  # takes no further place


async def test_a_slow_disk_holds_up_neither_the_loop_nor_the_order(rig, tmp_path, monkeypatch):
    write, gate = drain_file.write_atomically, threading.Event()

    def slow(*arguments):
        gate.wait(10)
        write(*arguments)

    monkeypatch.setattr(drain_file, "write_atomically", slow)
    done = []

    async def drain(path):
        await rig.drains.drain(path, "x")
        done.append(path)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, "sources/a")
        nursery.start_soon(drain, "sources/b")
        await rig.running.observe("b", Report.down("refused"), lifetime=9e9)  # the loop goes on
        assert rig.node("sources/b").status == "down"
        assert not done  # no answer before it is on the disk
        gate.set()
    assert sorted(done) == ["sources/a", "sources/b"]
    assert stored(tmp_path) == {"sources/a": "x", "sources/b": "x"}


async def test_who_asked_may_go_and_it_is_carried_through(rig, tmp_path, monkeypatch, caplog):
    write, gate = drain_file.write_atomically, threading.Event()

    def slow(*arguments):
        gate.wait(10)
        write(*arguments)

    monkeypatch.setattr(drain_file, "write_atomically", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.drains.drain, "sources/a", "x")
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
        gate.set()
    assert stored(tmp_path) == {"sources/a": "x"}
    assert rig.node("sources/a").reason == "drained"
    assert kinds(caplog) == [DRAINED]


GOOD = {"version": 1, "drains": [{"path": "sources/a", "reason": "x", "since": 1.0, "until": None}]}


def other(**changes):
    return json.dumps({"version": 1, "drains": [{**GOOD["drains"][0], **changes}]}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps(GOOD | {"version": 2}).encode(),
        json.dumps(GOOD | {"more": 1}).encode(),
        json.dumps({"version": 1}).encode(),
        other(path="daemon/loop"),
        other(path="sources//a"),
        other(path="sources/ä"),
        other(path="models/a/b"),
        other(path=3),
        other(reason="a\nb"),
        other(reason=""),
        other(since=-1.0),
        other(until=1e300),
        other(reason="\ud800"),
        json.dumps(GOOD).encode()[:-5],
        json.dumps(
            {
                "version": 1,
                "drains": [{**GOOD["drains"][0], "path": f"sources/{number}"} for number in range(1001)],
            }
        ).encode(),
    ],
)
def test_a_damaged_file_is_set_aside_and_said_and_never_fatal(tmp_path, caplog, content):
    (tmp_path / "drains.json").write_bytes(content)
    file = DrainFile(tmp_path / "drains.json")
    assert file.report() == Report.ok()
    assert file.read(NOW) == ()
    assert (file.report().status, file.report().reason) == (Status.DEGRADED, "state_set_aside")
    assert "Drain again" in file.report().message
    assert [path.name for path in tmp_path.iterdir()] == ["drains.json.damaged"]
    assert (tmp_path / "drains.json.damaged").read_bytes() == content
    assert kinds(caplog) == [STATE_SET_ASIDE]
    assert caplog.records[0].levelno == logging.WARNING


@given(content=st.binary(max_size=200))
def test_no_content_is_fatal(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("state") / "drains.json"
    path.write_bytes(content)
    assert DrainFile(path).read(NOW) == ()
    assert not path.exists()


def test_a_pipe_or_a_directory_in_its_place_is_set_aside(tmp_path):
    path = tmp_path / "drains.json"
    os.mkfifo(path)
    assert DrainFile(path).read(NOW) == ()
    assert not path.exists()


drains = st.builds(
    Drain,
    path=st.sampled_from(["", "sources", "models", "models/a%2Fb", "sources/a/x/y"])
    | st.integers(0, 9).map("sources/{}".format),
    reason=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200),
    since=st.floats(0, 2e9),
    until=st.none() | st.floats(2e9, 3e9),
)


@given(given=st.lists(drains, max_size=20, unique_by=lambda one: one.path))
def test_what_is_written_is_read_again(tmp_path_factory, given):
    file = DrainFile(tmp_path_factory.mktemp("state") / "drains.json")
    trio.run(file.write, given)
    assert file.read(1e9) == tuple(given)
    assert msgspec.json.decode(file.path.read_bytes())["version"] == 1


@given(st.text(max_size=60))
def test_whatever_an_operator_writes_is_a_canonical_path_or_refused(text):
    try:
        found = spellings(text)
    except DrainError:
        return
    for path in found:
        assert not path or spellings(path)[0] == path
        parts = path.split("/")
        assert is_drainable(path) or parts[0] not in {"sources", "models"} or "" in parts or len(parts) > 2


def test_a_large_tree_is_searched_for_near_paths_within_bounds():
    children = {f"source-{number}": Node(status=Status.OK) for number in range(20_000)}
    root = Node(status=Status.OK, children={"sources": Node(status=Status.OK, children=children)})
    with pytest.raises(DrainError, match="Near it: sources/source-1"):
        place_of("sources/sorce-1", root)


def test_long_names_are_compared_only_as_far_as_there_is_time(monkeypatch):
    compared = []

    def counting(word, possibilities, _number):
        compared.append(sum(len(word) * len(path) for path in possibilities))
        return []

    monkeypatch.setattr(drainable.difflib, "get_close_matches", counting)
    children = {f"{'a' * 150}{number}": Node(status=Status.OK) for number in range(500)}
    root = Node(status=Status.OK, children={"sources": Node(status=Status.OK, children=children)})
    with pytest.raises(DrainError, match="There is: sources/aaa"):
        place_of(f"sources/{'a' * 150}b", root)
    assert 0 < compared[0] <= 1_000_000
