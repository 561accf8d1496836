"""Host names to addresses, off the event loop, so that a name server that hangs stops nothing else."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, Final, TypeAlias

import attrs
import trio

from statusd.errors import ProbeError
from statusd.net.limits import MAX_ADDRESSES, MAX_LOOKUPS, MAX_NAMES, NAME_FRESH, NAME_STALE

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]
Lookup: TypeAlias = Callable[[str], Sequence[Address]]

# RFC 6761, section 6.3: localhost is the loopback whatever a name server says. Saying so here means that the
# services of this host are probed while the network's names hang. The order is that of RFC 6724.
_LOCALHOST: Final[tuple[Address, ...]] = (
    (socket.AF_INET6, ("::1", 0, 0, 0)),
    (socket.AF_INET, ("127.0.0.1", 0)),
)

_PASSING: Final = frozenset({socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM})


def look_up(host: str) -> list[Address]:
    """Ask the C library for the addresses of `host` (getaddrinfo(3)); blocks.

    Raises:
        OSError: the name has none, or the name server does not answer.
        ValueError: this cannot be a host name.
    """
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    return [(family, sockaddr) for family, _type, _protocol, _name, sockaddr in found]


@attrs.frozen
class _Failure:
    """Why a lookup found nothing; `is_passing` when asking again may help, and the last answer may still hold."""

    message: str
    is_passing: bool


@attrs.define(eq=False)
class _Flight:
    """One lookup, from the queue to its result; written by its thread, read after `done`."""

    host: str
    result: tuple[Address, ...] | _Failure
    done: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class _Name:
    """What is known about one name."""

    addresses: tuple[Address, ...] = ()
    resolved_at: float = float("-inf")
    flight: _Flight | None = None


@attrs.define(eq=False)
class Resolver:
    """Finds addresses of names; one for the daemon.

    A name is looked up by one thread at a time, for all who wait, and goes on when they are cancelled: a probe that
    times out does not start a second lookup of the same name. An answer is used for `NAME_FRESH` seconds; after that
    the next call starts a lookup and returns the last answer at once, until it is `NAME_STALE` seconds old. So once
    a name was found no probe waits for it, a changed address is used one probe later, and a name server may be away
    for a while. An answer that the name does not exist is believed at once.

    The threads are counted here and not by a `trio.CapacityLimiter`: tokens belong to the tasks that wait, and
    a lookup must outlive those.

    Args:
        limit: lookups at a time; others queue.
        lookup: asks for the addresses of a name; blocks; may raise OSError and ValueError.
    """

    _limit: int = attrs.field(default=MAX_LOOKUPS, kw_only=True)
    _lookup: Lookup = attrs.field(default=look_up, kw_only=True)
    _names: dict[str, _Name] = attrs.field(factory=dict, init=False)
    _queue: deque[_Flight] = attrs.field(factory=deque, init=False)
    _running: int = attrs.field(default=0, init=False)

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Return the addresses of `host`, at least one, in the order to try them; IP addresses pass as they are.

        Raises:
            ProbeError: ``name_not_resolved``.
        """
        addresses = _without_asking(host)
        if addresses is None:
            addresses = await self._ask(host)
        return [_with_port(address, port) for address in addresses]

    async def _ask(self, host: str) -> tuple[Address, ...]:
        name = self._name(host)
        age = trio.current_time() - name.resolved_at
        if age <= NAME_FRESH:
            return name.addresses
        flight = name.flight or self._depart(name, host)
        if age <= NAME_STALE:
            return name.addresses
        await flight.done.wait()
        if isinstance(flight.result, _Failure):
            raise ProbeError("name_not_resolved", flight.result.message)
        return flight.result

    def _name(self, host: str) -> _Name:
        name = self._names.get(host)
        if name is None:
            if len(self._names) >= MAX_NAMES:
                del self._names[next(iter(self._names))]
            name = self._names[host] = _Name()
        return name

    def _depart(self, name: _Name, host: str) -> _Flight:
        flight = name.flight = _Flight(host, _Failure(f"The name {host} could not be looked up.", True))
        self._queue.append(flight)
        self._start_lookups()
        return flight

    def _start_lookups(self) -> None:
        while self._queue and self._running < self._limit:
            flight = self._queue.popleft()
            try:
                self._start_lookup(flight, trio.lowlevel.current_trio_token())
            except RuntimeError:  # the system gives no more threads
                self._settle(flight)

    def _start_lookup(self, flight: _Flight, token: trio.lowlevel.TrioToken) -> None:
        def work() -> None:
            flight.result = _outcome(self._lookup, flight.host)

        def deliver(_outcome: object) -> None:
            with contextlib.suppress(trio.RunFinishedError):  # the daemon has stopped, nobody waits
                token.run_sync_soon(self._land, flight)

        trio.lowlevel.start_thread_soon(work, deliver, "statusd name lookup")
        self._running += 1

    def _land(self, flight: _Flight) -> None:
        self._running -= 1
        self._settle(flight)
        self._start_lookups()

    def _settle(self, flight: _Flight) -> None:
        name = self._names.get(flight.host)
        if name is not None and name.flight is flight:
            name.flight = None
            if not isinstance(flight.result, _Failure):
                name.addresses, name.resolved_at = flight.result, trio.current_time()
            elif not flight.result.is_passing:
                del self._names[flight.host]
        flight.done.set()


def _outcome(lookup: Lookup, host: str) -> tuple[Address, ...] | _Failure:
    try:
        found = lookup(host)
    except socket.gaierror as error:
        if error.errno in _PASSING:
            return _Failure(f"The name {host} could not be looked up: the name server does not answer.", True)
        return _Failure(f"The name {host} has no address: correct it, or add it to the name server.", False)
    except OSError:
        return _Failure(f"The name {host} could not be looked up: the system is short of something.", True)
    except ValueError:  # the IDNA encoding's UnicodeError
        return _Failure(f"{host!r} cannot be a host name: correct it.", False)
    if not found:
        return _Failure(f"The name {host} has no address: correct it, or add it to the name server.", False)
    return tuple(_alternate(found)[:MAX_ADDRESSES])


def _without_asking(host: str) -> tuple[Address, ...] | None:
    """Return the addresses that need no name server, else None."""
    if not host or "\0" in host:
        raise ProbeError("name_not_resolved", "The address has no host name: correct it.")
    lowered = host.lower().removesuffix(".")
    if lowered == "localhost" or lowered.endswith(".localhost"):
        return _LOCALHOST
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return None
    return tuple((family, sockaddr) for family, _type, _protocol, _name, sockaddr in found)


def _alternate(addresses: Sequence[Address]) -> list[Address]:
    """Order `addresses` so that families alternate, the preferred one first (RFC 8305, section 4)."""
    preferred = addresses[0][0]
    pairs = zip_longest(
        [address for address in addresses if address[0] == preferred],
        [address for address in addresses if address[0] != preferred],
    )
    return [address for pair in pairs for address in pair if address is not None]


def _with_port(address: Address, port: int) -> Address:
    family, sockaddr = address
    return family, (sockaddr[0], port, *sockaddr[2:])
