"""The watchdog on a clock that tests turn: what feeds it, what starves it, and what must not."""

import gc
import logging
import random

import attrs
import pytest
import trio
import trio.testing

from statusd.events import ATTRIBUTE, STALLED
from statusd.runtime.hub import Hub
from statusd.runtime.pulse import Pulse
from statusd.runtime.watchdog import EXTENSION, LOOK, PATIENCE, Watchdog, extend_stop, schedule_silence
from tests.runtime.clocks import TrioClock


@attrs.define
class Manager:
    """A service manager: when it was pinged, and by how much it was asked to wait."""

    pings: list = attrs.field(factory=list)
    extensions: list = attrs.field(factory=list)
    resends: int = 0
    is_full: bool = False

    def watchdog(self):
        if not self.is_full:
            self.pings.append(trio.current_time())
        return not self.is_full

    def extend_timeout(self, seconds):
        self.extensions.append((trio.current_time(), seconds))
        return not self.is_full

    def resend(self):
        self.resends += 1
        return not self.is_full

    def gaps(self):
        """Return the seconds between one ping and the next."""
        return [after - before for before, after in zip(self.pings, self.pings[1:], strict=False)]


@attrs.define
class Sign:
    """A sign that is silent from a moment on."""

    since: float = float("inf")

    def __call__(self):
        return max(0.0, trio.current_time() - self.since)


@pytest.fixture
def manager():
    return Manager()


def stalls(caplog):
    """Return what was logged about stalls: (level, reason)."""
    return [
        (record.levelno, getattr(record, ATTRIBUTE).fields["reason"])
        for record in caplog.records
        if getattr(getattr(record, ATTRIBUTE, None), "kind", None) is STALLED
    ]


@pytest.mark.parametrize("interval", [0.5, 3.0, 7.3, 30.0, 1000.0])
async def test_while_all_is_well_each_half_of_the_interval_is_a_ping(
    manager, nursery, autojump_clock, interval
):
    watchdog = Watchdog(manager=manager, interval=interval, signs={"hub": Sign()})
    await nursery.start(watchdog.run)
    await trio.sleep(20 * interval)
    assert len(manager.pings) >= 40
    assert manager.gaps() == pytest.approx([interval / 2] * (len(manager.pings) - 1))


@pytest.mark.parametrize("interval", [1e-6, 1e12])
async def test_no_interval_makes_it_spin_or_sleep(manager, nursery, autojump_clock, interval):
    await nursery.start(Watchdog(manager=manager, interval=interval, signs={}).run)
    await trio.sleep(10)
    assert 1 <= len(manager.pings) <= 1002
    assert manager.resends >= 10


async def test_a_silent_sign_ends_the_pings_until_it_is_heard_again(manager, nursery, autojump_clock, caplog):
    hub = Sign()
    watchdog = Watchdog(
        manager=manager, interval=30.0, signs={"hub": hub, "accept loop": Sign()}, limits={"hub": 4.0}
    )
    await nursery.start(watchdog.run)
    await trio.sleep(50.5)
    hub.since = trio.current_time()
    await trio.sleep(200)
    assert max(manager.pings) <= hub.since + 4.0 + LOOK
    assert not watchdog.is_fed
    assert stalls(caplog) == [(logging.CRITICAL, "hub")]
    assert "systemd restarts statusd within 30 s" in caplog.text
    began = trio.current_time()
    hub.since = float("inf")
    await trio.sleep(LOOK)
    assert watchdog.is_fed
    assert began < manager.pings[-1] <= began + LOOK  # it does not wait for the next half of the interval
    assert stalls(caplog) == [(logging.CRITICAL, "hub"), (logging.WARNING, "hub")]


async def test_each_sign_has_its_own_patience(manager, nursery, autojump_clock, caplog):
    signs = {"hub": Sign(0.0), "schedule": Sign(0.0), "accept loop": Sign(0.0)}
    limits = {"hub": 3.5, "schedule": 5.5}
    origin = trio.current_time()
    for sign in signs.values():
        sign.since = origin
    await nursery.start(Watchdog(manager=manager, interval=2.0, signs=signs, limits=limits).run)
    await trio.sleep(4.5)
    assert [name for _, name in stalls(caplog)] == ["hub"]
    await trio.sleep(2)
    assert [name for _, name in stalls(caplog)] == ["hub", "schedule"]
    await trio.sleep(PATIENCE)
    assert [name for _, name in stalls(caplog)] == ["hub", "schedule", "accept loop"]
    assert max(manager.pings) <= origin + 3.5 + LOOK


async def test_without_a_watchdog_nothing_is_sent_and_stalls_are_still_logged(
    manager, nursery, autojump_clock, caplog
):
    hub = Sign()
    hub.since = trio.current_time()
    await nursery.start(Watchdog(manager=manager, interval=None, signs={"hub": hub}).run)
    await trio.sleep(60)
    assert manager.pings == []
    assert stalls(caplog) == [(logging.CRITICAL, "hub")]
    assert "restarts statusd within" not in caplog.text
    assert manager.resends >= 60


async def test_a_ping_that_a_full_queue_did_not_take_is_tried_again_with_the_next_look(
    manager, nursery, autojump_clock
):
    await nursery.start(Watchdog(manager=manager, interval=30.0, signs={}).run)
    await trio.sleep(14.5)
    manager.is_full = True
    await trio.sleep(10)
    manager.is_full = False
    await trio.sleep(LOOK)
    assert len(manager.pings) == 2
    assert manager.gaps()[0] < 30.0


async def test_a_blocked_loop_sends_no_ping_and_is_no_stall_of_anything_else(
    manager, nursery, autojump_clock, caplog
):
    """Nothing can move while a step blocks, so the first look after it does not take the signs' silence for a stall."""
    hub = Hub([], {}, clock=TrioClock())
    await nursery.start(hub.run)
    pulse = Pulse(hub)
    await nursery.start(pulse.run)
    await nursery.start(Watchdog(manager=manager, interval=30.0, signs={"hub": lambda: pulse.silence}).run)
    await trio.sleep(20.5)
    blocked = trio.current_time()
    autojump_clock.jump(25.0)
    await trio.sleep(LOOK)
    assert not any(blocked < ping < blocked + 25 for ping in manager.pings)
    assert any(ping >= blocked + 25 for ping in manager.pings)
    assert stalls(caplog) == []


async def test_a_hub_that_hangs_starves_it(manager, nursery, autojump_clock, caplog):
    """The real hub and its pulse; the hub's next receive never comes back."""
    hub = Hub([], {}, clock=TrioClock())
    pulse = Pulse(hub)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as own:
            await own.start(hub.run)
            await nursery.start(pulse.run)
            watchdog = Watchdog(manager=manager, interval=4.0, signs={"hub": lambda: pulse.silence})
            await nursery.start(watchdog.run)
            await trio.sleep(100)
            assert max(manager.gaps()) <= 2.0
            scope.cancel()
    ended = trio.current_time()
    await trio.sleep(60)
    assert ended < max(manager.pings) <= ended + PATIENCE + 2 * LOOK
    assert stalls(caplog) == [(logging.CRITICAL, "hub")]


async def test_a_crowd_of_tasks_cannot_starve_it(manager, nursery, autojump_clock, caplog):
    """Clients at their worst keep every pass of the loop full and long; the signs move all the same."""
    hub = Hub([], {}, clock=TrioClock())
    pulse = Pulse(hub)
    await nursery.start(hub.run)
    await nursery.start(pulse.run)
    await nursery.start(Watchdog(manager=manager, interval=3.0, signs={"hub": lambda: pulse.silence}).run)
    chance = random.Random(7)

    async def client():
        while True:
            autojump_clock.jump(chance.uniform(0.0, 0.02))
            await trio.lowlevel.checkpoint()

    began = trio.current_time()
    async with trio.open_nursery() as crowd:
        for _ in range(50):
            crowd.start_soon(client)
        while trio.current_time() < began + 120:
            await trio.lowlevel.checkpoint()
        crowd.cancel_scope.cancel()
    assert stalls(caplog) == []
    assert max(manager.gaps()) < 3.0


@attrs.define
class Plugin:
    """One kind of source."""


@attrs.define
class OtherPlugin:
    """Another."""


@attrs.define
class Pace:
    interval: float = 2.0
    timeout: float = 1.0


@attrs.define
class Held:
    source: object


@attrs.define
class Probed:
    """A supervisor as far as its sign looks at it."""

    prober: Held
    schedule: Pace
    late: float

    def overdue(self, now):
        return now - 100.0 + self.late


def probed(kind, late, **pace):
    return Probed(Held(kind()), Pace(**pace), late)


@pytest.mark.parametrize(
    ("supervisors", "seconds"),
    [
        ([], 0.0),
        ([(Plugin, 500.0)], 0.0),
        ([(Plugin, 500.0), (Plugin, 500.0)], 0.0),  # one plugin may be what holds both
        ([(Plugin, 500.0), (OtherPlugin, 0.0)], 0.0),
        ([(Plugin, 500.0), (OtherPlugin, -7.0)], 0.0),
        ([(Plugin, 500.0), (OtherPlugin, 3.0)], 0.0),  # within its interval and timeout
        ([(Plugin, 500.0), (OtherPlugin, 10.0)], 7.0),
        ([(Plugin, 40.0), (OtherPlugin, 60.0), (Plugin, 50.0)], 37.0),
    ],
)
def test_the_schedule_is_silent_only_while_every_source_is_late_whoever_wrote_it(supervisors, seconds):
    made = [probed(kind, late) for kind, late in supervisors]
    assert schedule_silence(made, 100.0) == seconds


def test_a_source_with_a_slow_pace_is_late_by_its_own():
    made = [probed(Plugin, 500.0), probed(OtherPlugin, 100.0, interval=60.0, timeout=30.0)]
    assert schedule_silence(made, 100.0) == 10.0


async def test_while_it_stops_it_asks_for_time_each_second(manager, nursery, autojump_clock):
    began = trio.current_time()
    await nursery.start(extend_stop, manager)
    await trio.sleep(3.5)
    assert manager.extensions == [(began + second, EXTENSION) for second in (0, 1, 2, 3)]
    manager.is_full = True
    await trio.sleep(3)
    assert len(manager.extensions) == 7


async def test_it_holds_on_to_nothing_however_long_it_runs(manager, nursery, autojump_clock):
    watchdog = Watchdog(manager=manager, interval=2.0, signs={"hub": Sign()})
    await nursery.start(watchdog.run)
    await trio.sleep(100)
    manager.pings.clear()
    gc.collect()
    before = len(gc.get_objects())
    await trio.sleep(2000)
    manager.pings.clear()
    gc.collect()
    assert len(gc.get_objects()) - before < 200
