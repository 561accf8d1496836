"""What a start and a reload wait for: each source's first chance to report, also where there are very many."""

import random

import attrs
import pytest
import trio

from statusd import Report
from statusd.runtime.schedule import Schedule
from statusd.runtime.supervisor import Supervisor
from statusd.sources import FIRST_CHANCE, Probed, first_chance

MANY = 400


@attrs.define(eq=False)
class Prober:
    """Takes its time, or for ever."""

    takes: float
    name: str = "x"

    async def probe(self):
        await trio.sleep(self.takes)
        return (Report.ok(),)


async def began(nursery, *, takes):
    """Begin to probe many sources as a start does; return them."""
    send, _receive = trio.open_memory_channel(MANY)
    started = [
        Probed(
            built=None,
            supervisor=Supervisor(
                prober=Prober(takes),
                schedule=Schedule(interval=60.0, timeout=90.0, ttl=90.0, position=position),
                inbox=send.clone(),
                chance=random.Random(7),
            ),
        )
        for position in range(MANY)
    ]
    for one in started:
        nursery.start_soon(one.supervisor.run)
    return started


async def test_the_last_of_many_sources_has_its_chance_too(autojump_clock, nursery):
    started = await began(nursery, takes=FIRST_CHANCE * 0.8)
    await first_chance(started)
    assert all(one.supervisor.has_reported.is_set() for one in started)


async def test_hung_sources_cost_that_time_once(autojump_clock, nursery):
    began_at = trio.current_time()
    last = Schedule(interval=60.0, timeout=90.0, ttl=90.0, position=MANY - 1).first_due(began_at)
    await first_chance(await began(nursery, takes=80.0))
    assert trio.current_time() == pytest.approx(last + FIRST_CHANCE, abs=0.01)
    assert trio.current_time() - began_at <= 1.0 + FIRST_CHANCE


async def test_where_there_is_no_source_nobody_waits(autojump_clock):
    began_at = trio.current_time()
    await first_chance([])
    assert trio.current_time() == began_at
