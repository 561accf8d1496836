import time

import pytest
import trio

from statusd import Status
from statusd.runtime import lag
from statusd.runtime.hub import Hub
from tests.runtime.clocks import TrioClock


@pytest.fixture
async def hub(nursery):
    hub = Hub([], {}, clock=TrioClock())
    await nursery.start(hub.run)
    await nursery.start(lag.LagWatch(hub.inbox()).run)
    await hub.settled()
    return hub


async def block():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_step_for_too_long)


async def _step_for_too_long():
    until = time.perf_counter() + lag.THRESHOLD + 0.05
    while time.perf_counter() < until:
        pass


async def test_a_task_that_blocks_the_loop_is_named_by_its_source(hub, nursery, autojump_clock, caplog):
    assert hub.snapshot.find("daemon/loop").status is Status.OK
    nursery.start_soon(block, name="source greedy")
    await trio.sleep(1)
    node = hub.snapshot.find("daemon/loop")
    assert (node.status, node.reason) == (Status.DEGRADED, "loop_blocked")
    assert node.facts == {"culprit": "source greedy"}
    assert "source greedy blocked the event loop for" in caplog.text


async def test_a_source_that_blocks_again_and_again_is_one_line(hub, nursery, autojump_clock, caplog):
    for _ in range(3):
        nursery.start_soon(block, name="source greedy")
        await trio.sleep(1)
    nursery.start_soon(block, name="source other")
    await trio.sleep(1)
    assert caplog.text.count("source greedy blocked the event loop") == 1
    assert caplog.text.count("source other blocked the event loop") == 1


async def test_after_a_quiet_minute_the_loop_is_ok_again(hub, nursery, autojump_clock):
    nursery.start_soon(block, name="source greedy")
    await trio.sleep(lag.REMEMBER - 1)
    assert hub.snapshot.find("daemon/loop").status is Status.DEGRADED
    await trio.sleep(2)
    assert hub.snapshot.find("daemon/loop").status is Status.OK


async def test_blocking_again_within_the_minute_keeps_it_degraded(hub, nursery, autojump_clock):
    nursery.start_soon(block, name="source greedy")
    await trio.sleep(lag.REMEMBER / 2)
    nursery.start_soon(block, name="other")
    await trio.sleep(lag.REMEMBER - 1)
    node = hub.snapshot.find("daemon/loop")
    assert node.status is Status.DEGRADED
    assert "task" in node.facts["culprit"]
