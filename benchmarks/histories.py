"""What must go on over reloads: the time since a node is as it is, counters, tallies, and connections to upstreams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NoReturn

import attrs
import trio

from asking import Connection, LostError, fetched
from configurations import LASTING, SLOW_INTERVAL, THRESHOLD
from processes import HOST, Bar
from statusd.net.limits import MAX_KEPT_AGE
from statusd.testing import Upstream
from statusd.testing.wire import Request, Response

LOOK: Final = 0.2
"""Seconds from one look to the next."""
SERIES: Final = re.compile(
    rb'^(statusd_(?:probes|transitions)_total\{(?:source|path)="([^"]*)"[^}]*\}) (\S+)$', re.MULTILINE
)
NODES: Final = ("sources/stable", "models/fixed")
"""Nodes that are as they are all the while."""
OFTEN: Final = 20.0
"""Seconds after which `slow` has changed, however late."""
TALLY_BAR: Final = 2.0
"""How many times as long as its probes take in all `slow` may take to change."""
EARLY: Final = 10.0
"""Seconds by which a renewal may seem early, or that it may take: connections begin before they are looked at."""
AT_A_TIME: Final = {"queue": 2}
"""Connections of a source, where there is more than one: Redis has one to ask and one that pushes."""
WARM: Final = 2.0
"""Seconds in which everything has reported, and connected."""


@attrs.define(eq=False, kw_only=True)
class Switched(Upstream):
    """An upstream that says how it is, over the same connection.

    Attributes:
        is_well: whether it answers 200, else 503.
    """

    is_well: bool = True

    def respond(self, request: Request) -> Response:
        """Return the answer."""
        del request
        return Response.json({}, status=200 if self.is_well else 503)


@attrs.define(eq=False, kw_only=True)
class Line:
    """The connections of one source, which the client renews by itself every `MAX_KEPT_AGE` seconds.

    Attributes:
        name: of the source.
        seen: connections that its upstream has seen.
        renewed: when the last ones began, in seconds on trio's clock.
        fresh: how many began then.
    """

    name: str
    seen: int
    renewed: float
    fresh: int = 0

    def look(self, seen: int, lost: list[str]) -> None:
        """Take how many its upstream has seen by now; what is too many goes into `lost`."""
        new, self.seen = seen - self.seen, seen
        if not new:
            return
        age = trio.current_time() - self.renewed
        if age > MAX_KEPT_AGE - EARLY:
            self.renewed, self.fresh = trio.current_time(), 0
        self.fresh += new
        if age <= MAX_KEPT_AGE - EARLY and (age > EARLY or self.fresh > AT_A_TIME.get(self.name, 1)):
            lost.append(f"{self.name}: its upstream saw {new} new connections {age:.1f} s after those before")


@attrs.define(eq=False, kw_only=True)
class Histories:
    """Watches the sources that are in every file.

    Attributes:
        port: of the daemon.
        upstreams: those of the sources, by name, and others.
        redis: URL of the Redis, or ``""``.
        lost: what did not go on.
        changes: seconds that `slow` took to change, each time.
    """

    port: int
    upstreams: Mapping[str, Upstream]
    redis: str
    lost: list[str] = attrs.field(factory=list)
    changes: list[float] = attrs.field(factory=list)
    _since: dict[str, str] = attrs.field(factory=dict)
    _counters: dict[bytes, float] = attrs.field(factory=dict)
    _grown: dict[str, float] = attrs.field(factory=dict)
    _lines: dict[str, Line] = attrs.field(factory=dict)
    _asking: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _own: int = attrs.field(default=0, init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Watch until cancelled; started once everything has reported."""
        await trio.sleep(WARM)
        for name, seen in (await self._connected()).items():
            self._lines[name] = Line(name=name, seen=seen, renewed=trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._switch)
            task_status.started()
            connection = Connection(self.port)
            while True:
                try:
                    await self._look(connection)
                except LostError as error:
                    self.lost.append(str(error))
                await trio.sleep(LOOK)

    async def end(self) -> None:
        """Look a last time."""
        await self._look(Connection(self.port))

    def tally(self) -> Bar:
        """Return how long `slow` took to change, at most; print what went on."""
        least = min(self._grown.get(name, 0) for name in LASTING)
        usual = SLOW_INTERVAL * THRESHOLD
        shortest, longest = min(self.changes, default=0.0), max(self.changes, default=OFTEN)
        print(
            f"counters grew by at least {least:g} probes; slow changed {len(self.changes)} times, "
            f"after {shortest:.2f} to {longest:.2f} s ({usual:g} s of probes)"
        )
        return Bar(name="slowest change / its probes", value=longest / usual, limit=TALLY_BAR, is_most=True)

    async def _look(self, connection: Connection) -> None:
        for path in NODES:
            node = (await fetched(self.port, f"/state/{path}"))["node"]
            before = self._since.setdefault(path, node["since"])
            if node["since"] != before or node["status"] != "ok":
                self.lost.append(f"{path}: {node['status']} since {node['since']}, before since {before}")
                self._since[path] = node["since"]
        for name, seen in (await self._connected()).items():
            self._lines[name].look(seen, self.lost)
        text = await connection.get("/metrics")
        found = {series: (name.decode(), float(value)) for series, name, value in SERIES.findall(text)}
        for series, counted in self._counters.items():
            name, now = found.get(series, ("", -1.0))
            if now < counted:
                self.lost.append(f"{series.decode()}: {now:g} after {counted:g}")
            elif name in LASTING:
                self._grown[name] = self._grown.get(name, 0) + now - counted
        lasting = {*LASTING, *(f"sources/{name}" for name in LASTING)}
        self._counters = {series: value for series, (name, value) in found.items() if name in lasting}
        missing = {
            name for name in LASTING if not any(found_name == name for found_name, _ in found.values())
        }
        if missing:
            self.lost.append(f"/metrics has no probes of {', '.join(sorted(missing))}")

    async def _switch(self) -> NoReturn:
        """Have `slow` fail and recover, as soon as it has said so."""
        slow = self.upstreams["slow"]
        assert isinstance(slow, Switched)
        while True:
            slow.is_well = not slow.is_well
            wanted, began = "ok" if slow.is_well else "down", trio.current_time()
            while (await self._status()) != wanted:
                if trio.current_time() - began > OFTEN:
                    self.lost.append(f"sources/slow: not {wanted} after {OFTEN:g} s")
                    break
                await trio.sleep(LOOK / 4)
            self.changes.append(trio.current_time() - began)

    async def _status(self) -> str:
        try:
            status: str = (await fetched(self.port, "/state/sources/slow"))["node"]["status"]
        except LostError as error:
            self.lost.append(str(error))
            return ""
        return status

    async def _connected(self) -> dict[str, int]:
        """Return for each lasting source how many connections its upstream has seen."""
        seen = {name: self.upstreams[name].accepted for name in LASTING if name in self.upstreams}
        if self.redis:
            seen["queue"] = await self._redis_connections()
        return seen

    async def _redis_connections(self) -> int:
        """Return how many connections Redis has seen, without those made here."""
        port = int(self.redis.rpartition(":")[2].partition("/")[0])
        # One at a time: of two at once each would count the other's as the daemon's.
        async with self._asking, await trio.open_tcp_stream(HOST, port) as stream:
            await stream.send_all(b"INFO stats\r\n")
            text = b""
            while b"total_connections_received:" not in text:
                text += await stream.receive_some(65536)
            self._own += 1
            return int(re.findall(rb"total_connections_received:(\d+)", text)[0]) - self._own
