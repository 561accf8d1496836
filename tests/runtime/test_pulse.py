import pytest
import trio
import trio.testing

from statusd import Status
from statusd.model.report import Report
from statusd.runtime import pulse
from statusd.runtime.hub import Hub
from statusd.runtime.messages import INBOX, Statement
from statusd.runtime.pulse import PATIENCE, REMEMBER, Pulse
from tests.runtime.clocks import TrioClock

FINE = Statement(path="daemon/loop", report=Report.ok())


@pytest.fixture
async def hub():
    return Hub([], {}, clock=TrioClock())


@pytest.fixture
async def beat(hub, nursery):
    made = Pulse(hub)
    await nursery.start(made.run)
    return made


async def test_while_the_hub_runs_it_is_alive_for_hours(hub, beat, nursery, autojump_clock):
    await nursery.start(hub.run)
    for _ in range(100):
        await trio.sleep(61.7)
        assert beat.is_alive
        assert beat.silence <= pulse.PERIOD
    assert beat.lag < 0.001


async def test_it_is_alive_at_once_and_not_for_ever_when_nobody_runs_it(hub, autojump_clock):
    beat = Pulse(hub)
    assert beat.is_alive
    assert beat.lag == 0.0
    await trio.sleep(PATIENCE + 0.1)
    assert not beat.is_alive
    assert beat.silence == pytest.approx(PATIENCE + 0.1)


async def test_a_hub_that_has_ended_is_noticed(hub, beat, nursery, autojump_clock):
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as own:
            await own.start(hub.run)
            await trio.sleep(10)
            assert beat.is_alive
            scope.cancel()
    await trio.sleep(PATIENCE - pulse.PERIOD - 0.1)
    assert beat.is_alive
    await trio.sleep(pulse.PERIOD + 0.2)
    assert not beat.is_alive


async def test_a_full_inbox_is_noticed_and_no_barrier_adds_to_it(hub, beat, autojump_clock):
    async with hub.inbox() as inbox:
        for _ in range(INBOX - 1):  # the first barrier is in there already
            await inbox.send(FINE)
        await trio.sleep(3600)
        assert not beat.is_alive
        statistics = inbox.statistics()
        assert (statistics.current_buffer_used, statistics.tasks_waiting_send) == (INBOX, 0)


async def test_a_hub_that_hangs_for_an_hour_is_alive_again_once_it_goes_on(
    hub, beat, nursery, autojump_clock
):
    await trio.sleep(3600)
    assert not beat.is_alive
    await nursery.start(hub.run)
    await hub.settled()
    await trio.testing.wait_all_tasks_blocked()
    assert beat.is_alive
    assert beat.silence == 0.0


async def test_a_closed_inbox_is_no_progress_and_no_end(hub, beat, nursery, autojump_clock):
    hub._receive.close()
    await trio.sleep(PATIENCE + 1.1)
    assert not beat.is_alive
    assert beat.lag < 0.001


async def test_a_listener_that_blocks_the_loop_shows_as_lag_for_a_minute(hub, beat, nursery, autojump_clock):
    def block(_change):
        autojump_clock.jump(3.0)

    await nursery.start(hub.run)
    await trio.sleep(0.5)
    hub.listen(block)
    async with hub.inbox() as inbox:
        await inbox.send(Statement(path="daemon/loop", report=Report(status=Status.DEGRADED, reason="x")))
    await trio.sleep(5)
    assert beat.lag == pytest.approx(2.5)
    assert beat.is_alive
    await trio.sleep(REMEMBER - 6)
    assert beat.lag == pytest.approx(2.5)
    await trio.sleep(2)
    assert beat.lag < 0.001


async def test_what_is_overdue_counts_before_the_pulse_has_woken(hub, beat, autojump_clock):
    await trio.sleep(0.5)
    autojump_clock.jump(8.0)
    assert beat.lag == pytest.approx(7.5)
    assert not beat.is_alive


async def test_the_worst_of_the_minute_is_shown_not_the_newest(hub, beat, nursery, autojump_clock):
    await nursery.start(hub.run)
    for seconds in (1.2, 4.0, 1.5):
        await trio.sleep(0.001)
        autojump_clock.jump(seconds)
        await trio.sleep(2.0)
    assert 2.9 < beat.lag < 4.0


async def test_a_hub_with_more_to_do_than_it_can_is_alive(hub, beat, nursery, autojump_clock):
    hub.listen(lambda _change: autojump_clock.jump(0.5))  # merging takes so long
    poor = Statement(path="daemon/loop", report=Report.degraded("slow", "Slow."))
    silences = []
    async with hub.inbox() as inbox:
        for number in range(INBOX - 1):  # the first barrier is in there already
            await inbox.send((poor, FINE)[number % 2])
        began = trio.current_time()
        await nursery.start(hub.run)
        for number in range(2 * INBOX):
            await inbox.send((poor, FINE)[number % 2])
            silences.append(beat.silence)
    assert trio.current_time() - began > 10 * PATIENCE
    assert max(silences) < PATIENCE
