import random
from itertools import pairwise

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from statusd import Report
from statusd.runtime.messages import Observation
from statusd.runtime.schedule import FIRST, GRID, Schedule
from statusd.runtime.supervisor import Supervisor

paces = st.floats(0.05, 100.0)


@attrs.define(eq=False)
class SlowProber:
    name: str = "x"
    takes: float = 0.0
    began: list = attrs.field(factory=list)

    async def probe(self):
        self.began.append(trio.current_time())
        await trio.sleep(self.takes)
        return (Report.ok(),)


async def run(prober, schedule, seconds):
    send, receive = trio.open_memory_channel(1000)
    supervisor = Supervisor(prober=prober, schedule=schedule, inbox=send, chance=random.Random(7))
    with trio.move_on_after(seconds):
        await supervisor.run()
    seen = []
    with pytest.raises(trio.EndOfChannel):
        while True:
            seen.append(receive.receive_nowait())
    return supervisor, seen


async def test_it_probes_at_its_pace_and_reports_each_time(autojump_clock):
    prober = SlowProber()
    supervisor, seen = await run(prober, Schedule(interval=2.0, timeout=2.0, ttl=8.0), 60)
    assert 29 <= len(seen) <= 36
    assert supervisor.has_reported.is_set()
    gaps = [after - before for before, after in zip(prober.began[1:], prober.began[2:], strict=False)]
    assert all(1.78 <= gap <= 2.0001 for gap in gaps)


async def test_a_slow_upstream_is_never_probed_twice_at_once_nor_caught_up_on(autojump_clock):
    prober = SlowProber(takes=5.0)
    await run(prober, Schedule(interval=2.0, timeout=6.0, ttl=12.0), 100)
    gaps = [after - before for before, after in zip(prober.began, prober.began[1:], strict=False)]
    assert all(gap >= 5.0 for gap in gaps)
    assert len(prober.began) >= 12


async def test_a_reading_lives_until_three_intervals_and_a_timeout_after_the_next_probe_was_due(
    autojump_clock,
):
    prober = SlowProber(takes=0.5)
    _, seen = await run(prober, Schedule(interval=2.0, timeout=2.0, ttl=8.0), 20)
    assert all(isinstance(one, Observation) for one in seen)
    assert all(8.0 < one.lifetime <= 8.0 + 2.0 for one in seen)


@given(paces, st.integers(0, 10_000), st.floats(0, 1e6))
def test_the_first_probe_begins_within_a_second_or_an_interval(interval, position, now):
    schedule = Schedule(interval=interval, timeout=1.0, ttl=1.0, position=position)
    assert now <= schedule.first_due(now) <= now + min(interval, FIRST)


@given(paces, st.floats(0, 1e6), st.floats(0, 1000.0), st.randoms(use_true_random=False))
def test_the_next_probe_is_always_in_the_future_and_at_most_an_interval_away(interval, due, late, chance):
    schedule = Schedule(interval=interval, timeout=1.0, ttl=1.0)
    now = due + late
    following = schedule.next_due(due, now, chance)
    assert now < following <= now + max(interval, GRID) + 1e-6


@given(paces, st.floats(0, 1e6), st.floats(0, 10.0), st.randoms(use_true_random=False))
def test_the_second_probe_has_a_random_phase_after_the_first(interval, first, took, chance):
    schedule = Schedule(interval=interval, timeout=1.0, ttl=1.0)
    second = schedule.second_due(first, first + took, chance)
    assert first + took < second <= first + max(interval, took + GRID) + 1e-6


@attrs.define
class Altering:
    """A supervisor at work, whose pace a test changes."""

    supervisor: Supervisor
    prober: SlowProber

    def gaps(self):
        return [after - before for before, after in pairwise(self.prober.began)]


async def altering(nursery, schedule, takes=0.0):
    prober = SlowProber(takes=takes)
    send, receive = trio.open_memory_channel(1000)
    supervisor = Supervisor(prober=prober, schedule=schedule, inbox=send, chance=random.Random(7))
    await nursery.start(supervisor.run)
    await supervisor.has_reported.wait()
    return Altering(supervisor, prober), receive


async def test_a_quicker_pace_holds_at_once(autojump_clock, nursery):
    it, _receive = await altering(nursery, Schedule(interval=3600.0, timeout=2.0, ttl=8.0))
    it.supervisor.alter(Schedule(interval=1.0, timeout=2.0, ttl=8.0), 1.0)
    await trio.sleep(30)
    assert 28 <= len(it.prober.began) <= 36
    assert max(it.gaps()) <= 1.001


async def test_a_slower_pace_holds_after_the_probe_that_was_due(autojump_clock, nursery):
    it, _receive = await altering(nursery, Schedule(interval=1.0, timeout=2.0, ttl=8.0))
    it.supervisor.alter(Schedule(interval=100.0, timeout=2.0, ttl=8.0), 1.0)
    await trio.sleep(95)
    assert len(it.prober.began) == 2


async def test_the_same_pace_moves_nothing(autojump_clock, nursery):
    it, _receive = await altering(nursery, Schedule(interval=10.0, timeout=2.0, ttl=8.0, position=3))
    for _ in range(50):
        await trio.sleep(1.0)
        it.supervisor.alter(Schedule(interval=10.0, timeout=2.0, ttl=8.0), 1.0)
    assert 5 <= len(it.prober.began) <= 8


async def test_it_is_overdue_when_what_it_should_have_sent_has_not_come(autojump_clock, nursery):
    it, _receive = await altering(nursery, Schedule(interval=1.0, timeout=2.0, ttl=8.0))
    for _ in range(20):
        await trio.sleep(0.5)
        assert it.supervisor.overdue(trio.current_time()) <= 0
    it.prober.takes = 1000.0
    await trio.sleep(50)
    assert it.supervisor.overdue(trio.current_time()) > 40
