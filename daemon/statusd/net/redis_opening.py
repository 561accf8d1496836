"""Connecting to a Redis server: one of its addresses after another, then TLS."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import attrs

from statusd.errors import ProbeError
from statusd.net.oserrors import most_telling
from statusd.net.redis_job import Address
from statusd.net.redis_wire import Wire
from statusd.net.tls import TlsTarget


def _unnoted(_phase: str) -> None:
    """Note nothing."""


@attrs.frozen(kw_only=True)
class Opening:
    """How to connect to a server.

    Attributes:
        peer: its name, for messages.
        addresses: where it listens; one at least.
        tls: whom to expect there, with TLS.
        deadline: on the clock of ``time.monotonic``, for everything.
        adopt: called with each socket before it waits for anything, so that another thread can end that.
        note: called with what is being waited for.
    """

    peer: str
    addresses: Sequence[Address]
    tls: TlsTarget | None
    deadline: float
    adopt: Callable[[Wire], None]
    note: Callable[[str], None] = _unnoted

    def open(self) -> Wire:
        """Connect; blocks.

        Raises:
            ProbeError: of all addresses the failure that says most.
        """
        failures: list[ProbeError] = []
        for address in self.addresses:
            # Every address gets its share of the time left, so that a dead first one is not the end.
            now = time.monotonic()
            share = (self.deadline - now) / (len(self.addresses) - len(failures))
            try:
                return self._open_one(address, now + share)
            except ProbeError as error:
                failures.append(error)
        raise most_telling(failures)

    def _open_one(self, address: Address, deadline: float) -> Wire:
        family, where = address
        wire = Wire(family, self.peer, self.deadline)
        try:
            self.adopt(wire)
            self.note(f"connecting to {self.peer}")
            wire.connect(where, deadline)
            if self.tls is not None:
                self.note(f"waiting for the TLS handshake with {self.peer}")
                wire.start_tls(self.tls)
        except BaseException:
            wire.close()
            raise
        return wire
