"""Probes for a reason: somebody asks, or the upstream says that there is something new."""

import logging
import random
import threading
from itertools import pairwise

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from statusd import ProbeError, Report, Source, SourceInfo, Status
from statusd.runtime.context import SourceContext, SourceLog
from statusd.runtime.hub import Hub, pending
from statusd.runtime.messages import Tracked
from statusd.runtime.refreshing import Refresher
from statusd.runtime.schedule import Schedule
from statusd.runtime.supervisor import BREATH, JOIN, MERGE, Supervisor
from statusd.runtime.watching import PAUSES, QUIET, STEADY, Watcher
from tests.runtime.clocks import TrioClock


@attrs.define(eq=False)
class Prober:
    """Takes a while, and remembers when it began."""

    name: str = "x"
    takes: float = 0.01
    timeout: float = 2.0
    began: list = attrs.field(factory=list)

    async def probe(self):
        self.began.append(trio.current_time())
        await trio.sleep(self.takes)
        return (Report.ok(facts={"began": self.began[-1]}),)


@pytest.fixture
def start(nursery, autojump_clock):
    async def begin(prober, *, interval=1000.0, floor=1.0, stats=None):
        send, receive = trio.open_memory_channel(10_000)
        schedule = Schedule(interval=interval, timeout=prober.timeout, ttl=3 * interval)
        supervisor = Supervisor(
            prober=prober,
            schedule=schedule,
            inbox=send,
            floor=floor,
            stats=stats,
            chance=random.Random(1),
        )
        await nursery.start(supervisor.run)
        await supervisor.has_reported.wait()
        await trio.sleep(5)
        prober.began.clear()
        return supervisor, receive

    return begin


async def test_a_hundred_that_ask_at_once_cause_one_probe_and_all_get_it(start, nursery, autojump_clock):
    prober = Prober(takes=0.2)
    supervisor, _ = await start(prober)
    ended = []

    async def ask():
        await supervisor.probe_now()
        ended.append(trio.current_time())

    asked = trio.current_time()
    async with trio.open_nursery() as people:
        for _ in range(100):
            people.start_soon(ask)
    assert prober.began == [asked]
    assert {round(moment - asked, 6) for moment in ended} == {0.2}


@pytest.mark.parametrize(
    ("later", "probes", "waits"), [(JOIN * 0.9, 1, True), (JOIN * 1.1, 1, False), (1.1, 2, True)]
)
async def test_a_probe_in_flight_is_joined_only_when_it_has_just_begun(
    start, nursery, later, probes, waits, autojump_clock
):
    prober = Prober(takes=0.5)
    supervisor, _ = await start(prober)
    nursery.start_soon(supervisor.probe_now)
    await trio.sleep(later)
    asked = trio.current_time()
    await supervisor.probe_now()
    assert len(prober.began) == probes
    assert (trio.current_time() > asked) is waits  # within the floor the answer is the one there is


async def test_one_that_began_long_ago_ends_before_the_next_begins_and_all_who_wait_share_that(
    start, nursery, autojump_clock
):
    prober = Prober(takes=0.5)
    supervisor, _ = await start(prober)
    supervisor.changed()
    await trio.sleep(0.2)
    asked = trio.current_time()
    async with trio.open_nursery() as people:
        for _ in range(10):
            people.start_soon(supervisor.probe_now)
    assert len(prober.began) == 2
    assert prober.began[1] >= asked
    assert trio.current_time() == pytest.approx(asked + 0.3 + 0.5)


async def test_nobody_waits_longer_than_a_probe_may_take(start, autojump_clock):
    prober = Prober(takes=1.9)
    supervisor, _ = await start(prober)
    supervisor.changed()
    await trio.sleep(0.1)
    asked = trio.current_time()
    await supervisor.probe_now()
    assert trio.current_time() - asked == pytest.approx(prober.timeout + MERGE)


async def test_when_probing_ends_nobody_waits_for_it_any_more(nursery, autojump_clock):
    prober = Prober(takes=100, timeout=1000)
    send, _receive = trio.open_memory_channel(10)
    supervisor = Supervisor(prober=prober, schedule=Schedule(interval=10, timeout=1000, ttl=1), inbox=send)
    ended = []

    async def ask():
        await supervisor.probe_now()
        ended.append(trio.current_time())

    with trio.move_on_after(5):
        async with trio.open_nursery() as daemon:
            await daemon.start(supervisor.run)
            await trio.sleep(1)
            nursery.start_soon(ask)
            supervisor._turn.began = trio.current_time()
            nursery.start_soon(ask)
    stopped = trio.current_time()
    await wait_all_tasks_blocked()
    await ask()
    assert ended == [stopped] * 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 0.7), max_size=60), st.sampled_from([0.3, 1.0]), st.floats(0.001, 0.4))
def test_nobody_raises_the_rate_above_the_floor(pauses, floor, takes):
    """However often and whenever it is asked for: probes that were asked for begin `floor` apart."""

    async def play():
        prober = Prober(takes=takes)
        send, _receive = trio.open_memory_channel(10_000)
        schedule = Schedule(interval=10_000, timeout=2, ttl=1)
        supervisor = Supervisor(prober=prober, schedule=schedule, inbox=send, floor=floor)
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            await supervisor.has_reported.wait()
            prober.began.clear()
            for pause in pauses:
                nursery.start_soon(supervisor.probe_now)
                await trio.sleep(pause)
            await trio.sleep(3)
            nursery.cancel_scope.cancel()
        assert all(later - began >= floor - 1e-9 for began, later in pairwise(prober.began))
        assert len(prober.began) >= bool(pauses)

    trio.run(play, clock=MockClock(autojump_threshold=0))


async def test_one_that_ran_early_takes_the_place_of_the_one_that_was_due(start, autojump_clock):
    prober = Prober()
    supervisor, _ = await start(prober, interval=10.0)
    await trio.sleep(20)
    due = prober.began[-1] + 10
    await trio.sleep_until(due - 5)
    await supervisor.probe_now()
    early = prober.began[-1]
    await trio.sleep_until(early + 10.5)
    assert len([began for began in prober.began if began > early]) == 1
    assert prober.began[-1] - early > 8.5


async def test_a_change_is_probed_at_once_and_what_comes_meanwhile_once_more(start, autojump_clock):
    prober = Prober(takes=0.1)
    supervisor, _ = await start(prober)
    told = trio.current_time()
    supervisor.changed()
    await trio.sleep(0.05)
    for _ in range(50):
        supervisor.changed()
    await trio.sleep(1)
    assert prober.began == pytest.approx([told, told + 0.1])


async def test_changes_without_end_leave_the_upstream_room_to_breathe(start, autojump_clock):
    prober = Prober(takes=0.0)
    supervisor, _ = await start(prober)
    began = trio.current_time()
    while trio.current_time() < began + 1:
        supervisor.changed()
        await trio.sleep(0.0005)
    assert 1 / BREATH * 0.8 <= len(prober.began) <= 1 / BREATH + 1


async def test_what_probes_found_and_how_long_they_took_is_counted(start, autojump_clock):
    noted = []

    class Stats:
        def note(self, *probe):
            noted.append(probe)

    supervisor, _ = await start(Prober(takes=0.25), stats=Stats())
    await supervisor.probe_now()
    assert noted == [("x", Status.OK, pytest.approx(0.25))] * 2


async def test_whoever_asks_finds_in_the_tree_what_was_found(nursery, autojump_clock):
    names = ("a", "b", "c")
    tracked = [
        Tracked(
            info=SourceInfo(name=name, plugin="p", backend="b"),
            models=(),
            first=(pending(is_configured=True),),
        )
        for name in names
    ]
    hub = Hub(tracked, {}, clock=TrioClock())
    await nursery.start(hub.run)
    refresher = Refresher(hub)
    probers = {name: Prober(name=name, takes=0.3) for name in names}
    supervisors = [
        Supervisor(prober=prober, schedule=Schedule(interval=1000, timeout=2, ttl=1), inbox=hub.inbox())
        for prober in probers.values()
    ]
    refresher.know(supervisors)
    for supervisor in supervisors:
        await nursery.start(supervisor.run)
    await trio.sleep(100)
    asked = trio.current_time()
    await refresher.refresh(["a", "b", "nobody"])
    assert trio.current_time() == pytest.approx(asked + 0.3)
    assert hub.snapshot.find("sources/a").facts == {"began": asked}
    assert hub.snapshot.find("sources/b").facts == {"began": asked}
    assert hub.snapshot.find("sources/c").facts["began"] < asked
    await refresher.refresh(["nobody"])


# Listening


@attrs.define(eq=False)
class Listening:
    """A source whose `watch` does what a test says."""

    attempts: list = attrs.field(factory=list)
    does: object = None

    async def watch(self, changed):
        self.attempts.append(trio.current_time())
        await self.does(changed)


async def listen(does, seconds, changed=lambda: None):
    source = Listening(does=does)
    watcher = Watcher(source=source, changed=changed, log=SourceLog("x"), chance=random.Random(3))
    with trio.move_on_after(seconds):
        await watcher.run()
    return source.attempts


def test_only_a_source_that_overrides_watch_is_listened_to():
    class Quiet(Source):
        pass

    class Loud(Source):
        async def watch(self, changed):
            pass

    assert not Watcher.can_watch(Quiet(context=None))
    assert Watcher.can_watch(Loud(context=None))


@pytest.mark.parametrize(
    "failure",
    [ProbeError("refused", "It was refused."), ValueError("x"), SystemExit(1), KeyboardInterrupt(), None],
    ids=lambda failure: type(failure).__name__,
)
async def test_listening_that_ends_begins_again_after_growing_pauses_and_is_logged_once(
    autojump_clock, caplog, failure
):
    caplog.set_level(logging.INFO)

    async def fail(_changed):
        if failure is not None:
            raise failure

    attempts = await listen(fail, 60)
    pauses = [later - began for began, later in pairwise(attempts)]
    for number, pause in enumerate(pauses):
        usual = PAUSES[min(number, len(PAUSES) - 1)]
        assert usual * 0.7 < pause < usual * 1.3
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("source x: ")


async def test_after_long_listening_the_pause_is_short_again_and_its_return_is_told(autojump_clock, caplog):
    caplog.set_level(logging.INFO)
    heard = []

    async def listen_a_while(changed):
        changed()
        await trio.sleep(STEADY + 1)
        raise ProbeError("connection_lost", "It went.")

    attempts = await listen(listen_a_while, STEADY * 3 + 8, lambda: heard.append(trio.current_time()))
    assert heard[::2] == attempts
    assert all(later - began < STEADY + 1.4 for began, later in pairwise(attempts))
    texts = [record.getMessage() for record in caplog.records]
    assert [text.partition(" (")[0] for text in texts] == [
        "source x: it cannot listen for changes",
        "source x: it listens for changes again",
    ] * 3


async def test_listening_that_is_lost_again_and_again_is_told_every_ten_minutes_at_most(
    autojump_clock, caplog
):
    caplog.set_level(logging.INFO)
    attempts = 0

    async def begin_and_lose(changed):
        nonlocal attempts
        attempts += 1
        if attempts % 3:
            raise ProbeError("refused", "It was refused.")
        changed()
        await trio.sleep(1)
        raise ProbeError("connection_lost", "It went.")

    await listen(begin_and_lose, QUIET * 3 + 60)
    assert attempts > 100
    texts = [record.getMessage().partition(" (")[0] for record in caplog.records]
    assert (
        texts
        == [
            "source x: it cannot listen for changes",
            "source x: it listens for changes again",
        ]
        * 4
    )


async def test_changed_in_another_thread_is_refused_each_time_and_named(caplog):
    news = []

    async def call_elsewhere(changed):
        await trio.to_thread.run_sync(changed)

    attempts = await listen(call_elsewhere, 1.5, lambda: news.append(1))
    assert len(attempts) > 1
    assert news == []
    [record] = caplog.records
    assert "changed() was called in another thread" in str(record.exc_info[1])


async def test_what_listening_blocks_in_keeps_no_probe_waiting():
    unused = dict.fromkeys(("clock", "http", "websocket", "tcp", "redis", "run_command"))
    context = SourceContext(
        name="x", plugin="x", models=(), every_model=lambda: (), timeout=2.0, log=SourceLog("x"), **unused
    )
    is_blocked, release = trio.Event(), threading.Event()

    def block():
        trio.from_thread.run_sync(is_blocked.set)
        release.wait(10)

    async def block_for_long(_changed):
        await context.in_thread(block)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, block_for_long, 20)
        with trio.fail_after(10):
            await is_blocked.wait()
            assert await context.in_thread(len, "1234") == 4
        release.set()
        nursery.cancel_scope.cancel()


async def test_the_end_of_listening_is_news_only_where_it_had_begun(autojump_clock):
    news = []

    async def listen_a_second(changed):
        changed()
        await trio.sleep(1)
        raise ProbeError("connection_lost", "It went.")

    async def be_refused(_changed):
        raise ProbeError("refused", "It was refused.")

    began = trio.current_time()
    await listen(listen_a_second, 1.1, lambda: news.append(trio.current_time() - began))
    assert news == pytest.approx([0, 1])
    await listen(be_refused, 60, lambda: news.append(-1))
    assert len(news) == 2


async def test_a_plugin_that_swallows_the_daemons_cancellation_is_not_called_again(autojump_clock):
    async def swallow(_changed):
        with trio.CancelScope(shield=True):
            await trio.sleep(1)

    assert len(await listen(swallow, 0.5)) == 1


async def test_listening_ends_with_the_daemon(autojump_clock):
    async def for_ever(_changed):
        await trio.sleep_forever()

    assert len(await listen(for_ever, 1)) == 1
    await wait_all_tasks_blocked()
