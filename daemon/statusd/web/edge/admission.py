"""Who gets in: places for connections, and who has to go when somebody else comes.

Nobody waits for a place: a newcomer gets one at once, at the cost of whoever is worth least, or is closed. All of it
takes the same time however many are there, so that a flood costs no more than its connections.
"""

from __future__ import annotations

import enum
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

import attrs

from statusd.events import CONNECTIONS_FULL, event
from statusd.web.edge.limits import Limits

log = logging.getLogger("statusd.web")

EXTRA: Final = 4
"""Connections that a peer gets beyond its bound: each takes one request, so that its health checks come through."""

QUIET: Final = 60.0
"""Seconds after which it is said again that connections are ended for want of room."""

TOO_MANY_REQUESTS: Final = 429
UNAVAILABLE: Final = 503


SILENT_SHARE: Final = 8
"""One place in so many is for those who have not asked yet: who come together must not end each other."""


class Stage(enum.IntEnum):
    """How far a connection is, in the order in which connections go for others' sake; in each, the oldest goes first."""

    SILENT = 0
    """No whole request has come yet."""
    IDLE = 1
    """All that it asked is answered."""
    STALLED = 2
    """Its client holds up its own request: it does not read the answer, or does not send the body."""
    BUSY = 3
    """It is being answered, listens to events or waits for news: it never goes."""


_EXPENDABLE: Final = (Stage.IDLE, Stage.STALLED, Stage.SILENT)


class Guest(Protocol):
    """A connection, as far as its place is concerned."""

    peer: str
    """The address that counts as one peer; ``""`` for what has none."""
    room: Room
    """Where it is."""
    refusal: int
    """The status code that all but one request for a probe endpoint get; 0 = it is served like any other."""

    def abort(self) -> None:
        """End now."""
        ...


@attrs.define(eq=False)
class Room:
    """A number of places, and who has them.

    Attributes:
        places: how many.
    """

    places: int = 0
    _stages: tuple[OrderedDict[Guest, None], ...] = attrs.field(
        factory=lambda: tuple(OrderedDict() for _ in Stage), init=False
    )
    _stage_of: dict[Guest, OrderedDict[Guest, None]] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._stage_of)

    def __contains__(self, guest: Guest) -> bool:
        return guest in self._stage_of

    @property
    def is_full(self) -> bool:
        """Whether no place is free."""
        return len(self._stage_of) >= self.places

    def count(self, stage: Stage) -> int:
        """Return how many are at `stage`."""
        return len(self._stages[stage])

    def enter(self, guest: Guest) -> None:
        """Give a free place to `guest`, who has asked for nothing yet."""
        guest.room = self
        self._stage_of[guest] = silent = self._stages[Stage.SILENT]
        silent[guest] = None

    def move(self, guest: Guest, stage: Stage) -> None:
        """Note that `guest` is at `stage`, from now on; nothing when it has had to leave."""
        before = self._stage_of.get(guest)
        after = self._stages[stage]
        if before is after:
            after.move_to_end(guest)
        elif before is not None:
            del before[guest]
            after[guest] = None
            self._stage_of[guest] = after

    def leave(self, guest: Guest) -> bool:
        """Free the place of `guest`; return whether it still had one."""
        stage = self._stage_of.pop(guest, None)
        if stage is None:
            return False
        del stage[guest]
        return True

    def least(self) -> Guest | None:
        """Return who is to go first; None when nobody may be ended."""
        silent = self._stages[Stage.SILENT]
        if len(silent) > self.places // SILENT_SHARE:
            return next(iter(silent))
        for stage in _EXPENDABLE:
            if self._stages[stage]:
                return next(iter(self._stages[stage]))
        return None


@attrs.define(eq=False, kw_only=True)
class Admission:
    """The rooms behind listeners of one kind.

    Attributes:
        main: for everybody.
        reserve: for those who come when nobody in `main` may be ended; whoever is there gets one request answered, and
            only one for a probe endpoint.
        per_peer: connections at a time of one peer; 0 = any number.
        is_probes_only: whether the listeners are for probe endpoints alone.
        limited: counts by the name of the bound.
        clock: returns seconds.
    """

    main: Room
    reserve: Room = attrs.field(factory=Room)
    per_peer: int = 0
    is_probes_only: bool = False
    limited: Counter[str] = attrs.field(factory=Counter)
    clock: Callable[[], float] = time.monotonic
    _peers: dict[str, int] = attrs.field(factory=dict, init=False)
    _said_at: float | None = attrs.field(default=None, init=False)

    @classmethod
    def of(cls, limits: Limits, limited: Counter[str], *, is_probes_only: bool) -> Admission:
        """Return the rooms that `limits` describe.

        Args:
            limits: the bounds.
            limited: counts.
            is_probes_only: whether they lie behind listeners for probe endpoints alone. Those have as many places as
                are reserved elsewhere, of their own: neither kind can fill up the other.
        """
        admission = cls(main=Room(), limited=limited, is_probes_only=is_probes_only)
        admission.resize(limits)
        return admission

    def resize(self, limits: Limits) -> None:
        """Have as many places as `limits` say from now on; nobody who has one loses it for that."""
        reserved = min(limits.reserved, limits.connections // 2)
        if self.is_probes_only:
            self.main.places, self.reserve.places = max(reserved, 1), 0
        else:
            self.main.places, self.reserve.places = limits.connections - reserved, reserved
        self.per_peer = limits.connections_per_peer

    def has_room_for(self, peer: str) -> bool:
        """Whether a connection of `peer` would get a place at nobody's cost."""
        return not self.main.is_full and not self._is_over(peer)

    @property
    def has_only_reserve(self) -> bool:
        """Whether a newcomer gets a place in the reserve at most."""
        return self.main.is_full and self.main.least() is None

    def admit(self, guest: Guest) -> bool:
        """Give `guest` a place, and what it may ask for there.

        Returns:
            False: there is none, and it is to be closed.
        """
        if self._is_over(guest.peer):
            self.limited["connections_per_peer"] += 1
            if self._peers[guest.peer] >= self.per_peer + EXTRA:
                return False
            guest.refusal = TOO_MANY_REQUESTS
        room = self._room_for(guest)
        if room is None:
            return False
        room.enter(guest)
        if guest.peer:
            self._peers[guest.peer] = self._peers.get(guest.peer, 0) + 1
        return True

    def leave(self, guest: Guest) -> None:
        """Note that `guest` has ended."""
        if guest.room.leave(guest) and guest.peer:
            left = self._peers[guest.peer] - 1
            if left:
                self._peers[guest.peer] = left
            else:
                del self._peers[guest.peer]

    def _is_over(self, peer: str) -> bool:
        return self.per_peer > 0 and peer != "" and self._peers.get(peer, 0) >= self.per_peer

    def _room_for(self, guest: Guest) -> Room | None:
        if not self.main.is_full or self._made_room(self.main, "connections"):
            return self.main
        if not self.reserve.is_full or self._made_room(self.reserve, "reserved"):
            self.limited["connections"] += 1
            guest.refusal = guest.refusal or UNAVAILABLE
            return self.reserve
        self.limited["reserved"] += 1
        return None

    def _made_room(self, room: Room, bound: str) -> bool:
        """End whoever is worth least in `room`; return whether there was anybody."""
        self._say()
        least = room.least()
        if least is None:
            return False
        self.limited[bound] += 1
        self.leave(least)
        least.abort()
        return True

    def _say(self) -> None:
        now = self.clock()
        if self._said_at is None or now - self._said_at >= QUIET:
            log.warning(
                "As many connections are open as may be (%d): for each new one an old one is ended that waits for its "
                "client; once there is none, only probe endpoints are answered. See connections in [http.limits].",
                self.main.places + self.reserve.places,
                extra=event(CONNECTIONS_FULL, connections=str(self.main.places + self.reserve.places)),
            )
            self._said_at = now
