"""Who gets a place, who goes for whose sake, and that the books are right whatever comes."""

import math
import time

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.web.edge.admission import EXTRA, QUIET, Admission, Room, Stage
from statusd.web.edge.limits import Limits

SILENT, IDLE, STALLED, BUSY = Stage


@attrs.define(eq=False)
class Visitor:
    """A connection without any bytes."""

    peer: str = ""
    room: Room = attrs.field(factory=Room)
    refusal: int = 0
    is_aborted: bool = False

    def abort(self):
        self.is_aborted = True


@attrs.define(eq=False)
class House:
    """Rooms, and all that ever came."""

    admission: Admission
    now: float = 0.0
    came: list = attrs.field(factory=list)

    @classmethod
    def of(cls, places=3, reserve=2, per_peer=0):
        house = cls(Admission(main=Room(places), reserve=Room(reserve), per_peer=per_peer))
        house.admission.clock = lambda: house.now
        return house

    def come(self, stage=SILENT, peer=""):
        """Return a newcomer that goes on to `stage` at once; None when there was no place for it."""
        visitor = Visitor(peer)
        self.came.append(visitor)
        if not self.admission.admit(visitor):
            return None
        if stage is not SILENT:
            visitor.room.move(visitor, stage)
        return visitor

    def gone(self):
        """Return the order of arrival of those that were ended."""
        return [number for number, visitor in enumerate(self.came) if visitor.is_aborted]


@pytest.fixture
def house():
    return House.of()


def test_while_there_is_room_everybody_gets_a_place_at_nobodys_cost(house):
    visitors = [house.come() for _ in range(3)]
    assert [visitor.refusal for visitor in visitors] == [0, 0, 0]
    assert house.gone() == []
    assert not house.admission.limited


def test_the_oldest_silent_one_goes_first(house):
    for stage in (IDLE, SILENT, SILENT):
        house.come(stage)
    house.come()
    assert house.gone() == [1]
    house.come()
    assert house.gone() == [1, 2]
    assert house.admission.limited == {"connections": 2}


def test_then_the_one_that_has_been_idle_for_longest(house):
    first, _, third = (house.come(IDLE) for _ in range(3))
    first.room.move(first, BUSY)
    first.room.move(first, IDLE)  # asked again meanwhile
    house.come(BUSY)
    assert house.gone() == [1]
    house.come(BUSY)
    assert third.is_aborted
    assert not first.is_aborted


def test_an_eighth_of_the_places_is_for_those_who_have_not_asked_yet():
    """Else those who come at the same time would end each other before they could speak."""
    house = House.of(places=16)
    for _ in range(16):
        house.come(IDLE)
    for _ in range(3):
        house.come()
    assert house.gone() == [0, 1, 2]
    house.come()
    assert house.gone() == [0, 1, 2, 16]


def test_where_all_others_are_busy_the_few_silent_ones_go():
    house = House.of(places=16)
    for _ in range(15):
        house.come(BUSY)
    house.come()
    house.come()
    assert house.gone() == [15]


def test_to_be_idle_again_at_once_counts_as_having_asked(house):
    first, _, _ = (house.come(IDLE) for _ in range(3))
    first.room.move(first, IDLE)
    house.come(BUSY)
    assert house.gone() == [1]


def test_then_the_one_that_holds_up_its_own_request_for_longest(house):
    for stage in (STALLED, STALLED, IDLE):
        house.come(stage)
    house.come(BUSY)
    house.come(BUSY)
    assert house.gone() == [0, 2]


def test_who_is_being_answered_never_goes(house):
    for _ in range(3):
        house.come(BUSY)
    spare = house.come()
    assert house.gone() == []
    assert spare.room is house.admission.reserve
    assert spare.refusal == 503


def test_in_the_reserve_the_oldest_silent_one_goes_first_and_nobody_in_the_main_room(house):
    for _ in range(3):
        house.come(BUSY)
    for _ in range(4):
        assert house.come() is not None
    assert house.gone() == [3, 4]
    assert house.admission.limited == {"connections": 4, "reserved": 2}


def test_a_reserve_full_of_busy_ones_lets_nobody_in(house):
    for _ in range(5):
        house.come(BUSY)
    assert house.come() is None
    assert house.gone() == []
    assert house.admission.limited == {"connections": 2, "reserved": 1}


def test_who_comes_when_the_main_room_has_a_place_again_is_served_like_anybody(house):
    busy = [house.come(BUSY) for _ in range(3)]
    house.come(BUSY)
    house.admission.leave(busy[0])
    assert house.come().refusal == 0


def test_who_was_ended_has_no_place_and_cannot_get_it_back(house):
    first = house.come()
    for _ in range(3):
        house.come(BUSY)
    assert first.is_aborted
    first.room.move(first, IDLE)
    house.admission.leave(first)
    assert len(house.admission.main) == 3
    assert first not in house.admission.main


def test_beyond_its_bound_a_peer_gets_few_connections_for_one_request_each():
    house = House.of(places=100, per_peer=2)
    for _ in range(2):
        assert house.come(BUSY, "192.0.2.1").refusal == 0
    for _ in range(EXTRA):
        assert house.come(SILENT, "192.0.2.1").refusal == 429
    assert house.come(SILENT, "192.0.2.1") is None
    assert house.come(SILENT, "192.0.2.2").refusal == 0
    assert house.admission.limited == {"connections_per_peer": EXTRA + 1}
    assert house.gone() == []


def test_a_peer_that_closes_one_may_come_again():
    house = House.of(per_peer=1)
    first = house.come(SILENT, "192.0.2.1")
    assert not house.admission.has_room_for("192.0.2.1")
    house.admission.leave(first)
    assert house.admission.has_room_for("192.0.2.1")
    assert house.come(SILENT, "192.0.2.1").refusal == 0


def test_unix_sockets_are_no_peer():
    house = House.of(places=100, per_peer=1)
    assert [house.come().refusal for _ in range(20)] == [0] * 20


def test_without_a_bound_a_peer_may_have_any_number():
    house = House.of(places=100)
    assert [house.come(BUSY, "192.0.2.1").refusal for _ in range(20)] == [0] * 20


def test_there_is_room_for_whom_nobody_has_to_go(house):
    assert house.admission.has_room_for("")
    for _ in range(3):
        house.come()
    assert not house.admission.has_room_for("")


def test_want_of_room_is_said_once_a_minute(house, caplog):
    for seconds in (0, 1, QUIET - 1, QUIET, QUIET + 1):
        house.now = seconds
        for _ in range(10):
            house.come()
    assert len(caplog.records) == 2
    assert "As many connections are open as may be (5)" in caplog.text


@pytest.mark.parametrize(
    ("connections", "reserved", "rooms"),
    [(512, 32, (480, 32)), (40, 32, (20, 20)), (3, 32, (2, 1)), (1, 32, (1, 0))],
)
def test_at_most_half_of_the_connections_are_reserved(connections, reserved, rooms):
    limits = Limits(connections=connections, reserved=reserved)
    admission = Admission.of(limits, {}, is_probes_only=False)
    assert (admission.main.places, admission.reserve.places) == rooms


@pytest.mark.parametrize(("connections", "places"), [(512, 32), (1, 1)])
def test_listeners_for_probes_have_a_room_of_their_own(connections, places):
    limits = Limits(connections=connections)
    admission = Admission.of(limits, {}, is_probes_only=True)
    assert (admission.main.places, admission.reserve.places) == (places, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from(["", "a", "b"])),
        st.tuples(st.just("move"), st.integers(0, 30), st.sampled_from(Stage)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
    ),
    max_size=80,
)


@given(steps=STEPS, places=st.integers(1, 4), reserve=st.integers(0, 3), per_peer=st.integers(0, 3))
def test_the_books_are_right_whatever_comes(steps, places, reserve, per_peer):
    house = House.of(places, reserve, per_peer)
    stages = {}  # of those that are there: who -> stage
    for step in steps:
        match step:
            case ("come", peer):
                before = dict(stages)
                visitor = house.come(peer=peer)
                for other, stage in before.items():
                    if other.is_aborted:
                        assert stage is not BUSY
                        del stages[other]
                assert len(before) - len(stages) <= 1
                if visitor is not None:
                    stages[visitor] = SILENT
            case ("move", number, stage) if number < len(house.came):
                visitor = house.came[number]
                visitor.room.move(visitor, stage)
                if visitor in stages:
                    stages[visitor] = stage
            case ("leave", number) if number < len(house.came):
                visitor = house.came[number]
                house.admission.leave(visitor)
                stages.pop(visitor, None)
        assert_right(house.admission, house.came, stages, per_peer)


def assert_right(admission, came, stages, per_peer):
    rooms = (admission.main, admission.reserve)
    for visitor in came:
        assert sum(visitor in room for room in rooms) == (visitor in stages)
    for room in rooms:
        inside = [visitor for visitor in stages if visitor.room is room]
        assert len(room) == len(inside) <= room.places
        for stage in Stage:
            assert room.count(stage) == sum(stages[visitor] is stage for visitor in inside)
    for visitor in stages:
        assert visitor.room is admission.main or visitor.refusal
    for peer in ("a", "b"):
        number = sum(visitor.peer == peer for visitor in stages)
        assert number <= (per_peer + EXTRA if per_peer else math.inf)
        assert admission.has_room_for(peer) == (
            not admission.main.is_full and (not per_peer or number < per_peer)
        )


def seconds_of_a_flood(size):
    """Return how long it takes to let in as many newcomers again as there are places, each at a silent one's cost."""
    house = House.of(places=size)
    for _ in range(size):
        house.come()
    began = time.perf_counter()
    for _ in range(size):
        house.come()
    return time.perf_counter() - began


def test_a_flood_costs_no_more_than_its_connections():
    small = min(seconds_of_a_flood(500) for _ in range(3))
    large = min(seconds_of_a_flood(8_000) for _ in range(3))
    assert large < 16 * small * 4  # it would be 256 times as much if each newcomer looked at all
