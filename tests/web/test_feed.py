"""The feed and its event streams: whatever readers do, they see the server's tree, every change once."""

import contextlib
import gc
import itertools
import json
import weakref

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from statusd import Payload, Report, SourceInfo, Status
from statusd.runtime.hub import Hub, pending
from statusd.runtime.messages import Observation, Tracked
from statusd.web.bodies import encode, state_body
from statusd.web.events import BEAT, CHUNK, RETRY, event_stream, last_event_id
from statusd.web.feed import Feed
from tests.runtime.clocks import TrioClock

SOURCES = ("a", "b", "c")
MODELS = {"m": ("a", "b"), "n/1": ("c",)}
PATHS = ("", "sources", "sources/a", "models/n%2F1", "sources/b/parts")

reports = st.builds(
    Report,
    status=st.sampled_from(Status),
    reason=st.sampled_from(["ok", "refused", "loading"]),
    facts=st.dictionaries(st.sampled_from("xy"), st.integers(0, 2), max_size=1),
)
observations = st.builds(
    lambda source, own, parts: (
        "report",
        source,
        (own, *(attrs.evolve(part, path=f"parts/{name}") for name, part in parts.items())),
    ),
    st.sampled_from(SOURCES),
    reports,
    st.dictionaries(st.sampled_from("pqr"), reports, max_size=3),
)
readers = st.integers(0, 3)
actions = st.one_of(
    observations,
    observations,
    st.tuples(st.just("read"), readers, st.integers(1, 3)),
    st.tuples(st.just("leave"), readers, st.just(0)),
    st.tuples(st.just("return"), readers, st.booleans()),
)


def timeless(node):
    """A node as in /state, without what is exempt from revisions."""
    state = {
        key: value for key, value in node.items() if key not in {"observed_at", "expires_at", "children"}
    }
    if "children" in node:
        state["children"] = {name: timeless(child) for name, child in node["children"].items()}
    return state


def tree(snapshot, path):
    body = state_body(snapshot, path)
    return None if body is None else timeless(json.loads(encode(body))["node"])


@attrs.define(eq=False)
class Mirror:
    """Rebuilds a branch out of events; written apart from the client that is shipped."""

    path: str
    node: dict | None = None

    def snapshot(self, data):
        assert data["path"] == self.path
        self.node = timeless(data["node"])

    def change(self, data):
        for change in data["changes"]:
            assert change["path"] == self.path or change["path"].startswith(f"{self.path}/") or not self.path
            below = change["path"][len(self.path) :].strip("/")
            segments = below.split("/") if below else []
            new = None if change["node"] is None else timeless(change["node"])
            self.node = put(self.node, segments, new)


def put(node, segments, new):
    if not segments:
        return None if new is None else {**new, "children": (node or {}).get("children", {})}
    head, *rest = segments
    children = dict(node["children"])
    child = put(children.get(head), rest, new) if head in children or new is not None else None
    if child is None:
        children.pop(head, None)
    else:
        children[head] = child
    return {**node, "children": children}


@attrs.define(eq=False)
class Reader:
    """A client of one branch that reads when it is told to."""

    feed: Feed
    path: str
    history: dict
    mirror: Mirror = None
    last_id: int | None = None
    changes: list = attrs.field(factory=list)
    restarts: int = 0
    scope: trio.CancelScope | None = None
    allowed: trio.Semaphore = None

    def begin(self, nursery):
        self.scope, self.allowed = trio.CancelScope(), trio.Semaphore(0)
        nursery.start_soon(self.run, self.scope, self.allowed)

    async def run(self, scope, allowed):
        with scope:
            stream = event_stream(self.feed, self.path, self.last_id)
            assert await anext(stream) == RETRY
            try:
                while True:
                    await allowed.acquire()
                    self.take(await anext(stream))
            except StopAsyncIteration:
                pass
            finally:
                with trio.CancelScope(shield=True):
                    await stream.aclose()

    def take(self, piece):
        if piece == BEAT:
            return
        assert piece.endswith(b"\n\n")
        for event in piece.decode().removesuffix("\n\n").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in event.split("\n"))
            self.event(int(fields["id"]), fields["event"], json.loads(fields["data"]))

    def event(self, revision, name, data):
        assert data["revision"] == revision
        if name == "snapshot":
            self.restarts += 1
            self.mirror.snapshot(data)
            assert self.last_id is None or revision > self.last_id
        else:
            assert data["changes"], "an empty change"
            assert len({change["path"] for change in data["changes"]}) == len(data["changes"])
            assert revision > self.last_id
            self.changes.append(revision)
            self.mirror.change(data)
        self.last_id = revision
        assert self.mirror.node == self.history[revision][self.path]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(actions, max_size=40),
    st.lists(st.sampled_from(PATHS), min_size=4, max_size=4),
    st.integers(1, 6),
)
def test_every_readers_tree_is_the_servers_at_the_same_revision(actions, paths, ring):
    """Random reports; readers that stall, leave and come back: nothing missed, nothing twice, ids only grow."""
    trio.run(play, actions, paths, ring, clock=MockClock(autojump_threshold=0))


async def play(actions, paths, ring):
    tracked = [
        Tracked(
            info=SourceInfo(name=name, plugin="p", backend=name),
            models=tuple(model for model, names in MODELS.items() if name in names),
            first=(pending(is_configured=True),),
        )
        for name in SOURCES
    ]
    hub = Hub(tracked, MODELS, clock=TrioClock())
    feed = Feed(lambda: hub.snapshot, changes=ring, size=15_000)
    history, touched = {}, {}

    def remember(change):
        history[change.snapshot.revision] = {path: tree(change.snapshot, path) for path in PATHS}
        touched[change.snapshot.revision] = set(change.nodes)

    history[hub.snapshot.revision] = {path: tree(hub.snapshot, path) for path in PATHS}
    hub.listen(remember)
    hub.listen(feed.take)
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        people = [Reader(feed, path, history, Mirror(path)) for path in paths if hub.snapshot.find(path)]
        for reader in people:
            reader.begin(nursery)
        for action, who, what in actions:
            if action == "report":
                async with hub.inbox() as inbox:
                    await inbox.send(Observation(source=who, reports=what, lifetime=1e6))
                await hub.settled()
            elif who < len(people):
                act(people[who], action, what, nursery)
            await wait_all_tasks_blocked()
        for reader in people:
            act(reader, "return", False, nursery)
            for _ in range(200):
                reader.allowed.release()
        await wait_all_tasks_blocked()
        for reader in people:
            assert reader.mirror.node == tree(hub.snapshot, reader.path)
            if reader.restarts == 1:  # never started anew: then it has seen every change of its branch since
                first = min([*reader.changes, hub.snapshot.revision + 1])
                inside = [
                    revision
                    for revision, nodes in touched.items()
                    if revision >= first and any(is_in(path, reader.path) for path in nodes)
                ]
                assert reader.changes == inside
        feed.close()
        await wait_all_tasks_blocked()
        assert feed.readers == 0
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def growing(**limits):
    """A hub whose one source says what it is told, and its feed."""
    source = Tracked(info=SourceInfo(name="a", plugin="p", backend="a"), models=(), first=(Report.ok(),))
    hub = Hub([source], {}, clock=TrioClock())
    feed = Feed(lambda: hub.snapshot, **limits)
    hub.listen(feed.take)

    async def say(*reports):
        async with hub.inbox() as inbox:
            await inbox.send(Observation(source="a", reports=reports, lifetime=1e6))
        await hub.settled()

    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        yield hub, feed, say, nursery
        nursery.cancel_scope.cancel()


def large(number):
    """Reports that take some 200 KB as JSON, other ones for each number."""
    parts = (Report.ok(path=f"part-{part}", message=str(number) * 90) for part in range(500))
    return Report.ok(facts={"number": number}, payload=Payload(b"x" * 1000)), *parts


async def read(feed, path, pieces):
    async for piece in event_stream(feed, path, None):
        pieces.append(piece)


@pytest.mark.usefixtures("autojump_clock")
async def test_neither_the_ring_nor_who_waits_keeps_old_trees():
    """A node holds its whole branch with payloads: a megabyte a revision, a thousand revisions."""
    old, pieces = [], []
    async with growing() as (hub, feed, say, nursery):
        for number in range(4):
            await say(*large(number))
            old += [weakref.ref(hub.snapshot), weakref.ref(hub.snapshot.find("sources/a").payload)]
            nursery.start_soon(read, feed, "", pieces)
            nursery.start_soon(read, feed, "sources/a/part-1", pieces)
            nursery.start_soon(feed.change_of, "plugins", hub.snapshot.revision)
            await wait_all_tasks_blocked()
        revision = hub.snapshot.revision
        await say(*large(number))  # nothing new but the payload, so all wait on
        gc.collect()
        assert (hub.snapshot.revision, feed.readers) == (revision, 8)
        assert feed.after(hub.snapshot.revision - 4) is not None
        assert [ref() for ref in old] == [None] * len(old)


@pytest.mark.usefixtures("autojump_clock")
async def test_the_ring_is_bounded_by_what_it_takes():
    async with growing(size=500_000) as (hub, feed, say, _):
        for number in range(6):
            await say(*large(number))
        newest = hub.snapshot.revision
        assert feed.after(newest - 1) is not None
        assert feed.after(newest - 4) is None


@pytest.mark.usefixtures("autojump_clock")
async def test_large_events_come_whole_in_small_pieces():
    pieces = []
    async with growing() as (hub, feed, say, nursery):
        await say(*large(1))
        nursery.start_soon(read, feed, "", pieces)
        await wait_all_tasks_blocked()
        await say(*large(2))
        await wait_all_tasks_blocked()
        assert max(map(len, pieces)) == CHUNK
        _retry, snapshot, change, end = b"".join(pieces).split(b"\n\n")
        assert end == b""
        assert snapshot.startswith(b"id: %d\nevent: snapshot\ndata: {" % (hub.snapshot.revision - 1))
        changes = json.loads(change.partition(b"data: ")[2])
        assert changes["revision"] == hub.snapshot.revision
        assert {one["path"] for one in changes["changes"]} >= {
            "sources/a",
            "sources/a/part-0",
            "sources/a/part-499",
        }


@pytest.mark.usefixtures("autojump_clock")
async def test_however_many_readers_a_change_wakes_others_get_in_between():
    pieces, seen = [], []
    async with growing() as (_, feed, say, nursery):
        for _ in range(100):
            nursery.start_soon(read, feed, "", pieces)
            nursery.start_soon(poll, feed, pieces)
        await wait_all_tasks_blocked()
        pieces.clear()
        await say(Report.ok(facts={"x": 1}))
        while len(pieces) < 200:
            seen.append(len(pieces))
            await trio.lowlevel.checkpoint()
        assert max(after - before for before, after in itertools.pairwise(seen)) <= 2


async def poll(feed, answers):
    await feed.change_of("", feed.snapshot.revision)
    answers.append(b"changed")


def act(reader, action, what, nursery):
    if action == "read":
        for _ in range(what):
            reader.allowed.release()
    elif action == "leave":
        reader.scope.cancel()
    elif action == "return" and reader.scope.cancel_called:
        if what:  # a browser that was closed remembers nothing
            reader.last_id, reader.mirror = None, Mirror(reader.path)
            reader.restarts = 5
        reader.begin(nursery)


def is_in(path, branch):
    return not branch or path == branch or path.startswith(f"{branch}/")


@pytest.mark.parametrize("text", [None, "", "x", "-1", "1.5", "٣", "1" * 21, "0x10"])
def test_what_was_never_an_id_of_ours_is_none(text):
    assert last_event_id(text) is None


def test_an_id_is_a_decimal_number():
    assert last_event_id(" 1795303629794271 ") == 1795303629794271


@pytest.mark.usefixtures("autojump_clock")
async def test_a_reader_of_a_quiet_branch_is_told_its_next_change_and_not_disturbed_before():
    pieces = []
    async with growing(changes=3) as (hub, feed, say, nursery):
        await say(Report.ok(), Report.ok(path="quiet"), Report.ok(path="loud"))
        nursery.start_soon(read, feed, "sources/a/quiet", pieces)
        await wait_all_tasks_blocked()
        before = len(pieces)
        for number in range(10):
            await say(Report.ok(), Report.ok(path="quiet"), Report.ok(path="loud", facts={"number": number}))
        await wait_all_tasks_blocked()
        assert len(pieces) == before
        await say(Report.ok(), Report.ok(path="quiet", message="now"), Report.ok(path="loud"))
        await wait_all_tasks_blocked()
        assert pieces[before].startswith(b"id: %d\nevent: change\n" % hub.snapshot.revision)


@pytest.mark.usefixtures("autojump_clock")
async def test_the_ring_knows_what_came_after_as_many_revisions_as_it_keeps_and_not_one_more():
    async with growing(changes=3) as (hub, feed, say, _):
        first = hub.snapshot.revision
        for number in range(5):
            await say(Report.ok(facts={"number": number}))
        assert hub.snapshot.revision == first + 5
        assert [entry.revision for entry in feed.after(first + 2)] == [first + 3, first + 4, first + 5]
        assert [*feed.after(first + 5)] == []
        assert feed.after(first + 1) is None
        assert feed.after(first + 6) is None
