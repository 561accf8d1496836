"""Freeze the real journald for ten seconds under a storm of transitions: nobody who asks may notice, nor the watchdog.

    python benchmarks/frozen_journal.py [--seconds 10] [--rounds 3] [--sources 200] [--interval 0.5]

Needs root: a journald of its own runs in throwaway namespaces (tests/systemd/journald.py), with the lowest priority. One
`statusd run` is in there too, on the first core, its standard error connected to that journald as a service's is, so that it
writes records by the native protocol. Each of its sources, a plugin of this benchmark's, is well and down in turn at every
probe. Clients on the second core, over loopback, ask `/health` and `/models` 100 times a second on kept connections and as
often on connections of their own; a time runs from when a request was due.

A round: some seconds with journald running, as many with journald stopped (SIGSTOP), then a pause in which it goes on
(SIGCONT). The ratio is of the 99th percentiles of `/health` in one round, and the median of the rounds counts. Then it is
stopped for as long as it takes until records are dropped. The service manager is a socket of this benchmark's: it wants a
ping within 2 s, as WatchdogSec=2s does. At the end the storm ends, and each transition that /metrics counts must be in the
journal, or among the records that one there says were dropped.

Left out: the disk; a journal that is full; other processes that log.

Exit code 1 when a bar is missed, 2 where journald cannot be run.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import attrs
import trio

from asking import Clients, Connection, asking, in_ms
from journal import JournalHere, Manager, journal_here
from processes import (
    HOST,
    Bar,
    console_script,
    cores,
    free_port,
    listens,
    resident,
    running,
    verdict,
)
from statusd.errors import only
from statusd.events import TRANSITION

WATCHDOG: Final = 2.0
"""Seconds within which the service manager wants a ping."""
SLOWER_BAR: Final = 1.5
WARM: Final = 5.0
"""Seconds in which everything has reported."""
RECOVER: Final = 60.0
"""Seconds in which a journald that goes on has taken all that waited, and the drops were told."""
SETTLE: Final = 2.0
"""Seconds after which no transition is under way any more."""
FULL: Final = 120.0
"""Seconds in which a journald that stands still leads to dropped records."""
DROPS: Final = 100
"""So many are waited for."""
LOOK: Final = 0.5
"""Seconds between two looks whether journald has taken all."""
TRANSITIONS: Final = re.compile(rb"^statusd_transitions_total\{[^}]*\} (\S+)$", re.MULTILINE)
DROPPED: Final = re.compile(rb"^statusd_log_records_dropped_total (\S+)$", re.MULTILINE)
PLUGIN: Final = '''
import itertools, os
import attrs
from statusd import Report, Source, hookimpl

CALM = os.environ["STORM_CALM"]

@attrs.frozen(kw_only=True)
class Storm(Source):
    """Well and down in turn, until the file is there that ends it."""

    turns: object = attrs.field(factory=lambda: itertools.cycle((True, False)), init=False, eq=False)

    async def probe(self):
        """Be the other way."""
        if os.path.exists(CALM) or next(self.turns):
            return Report.ok()
        return Report.down("storm", "It is the other way each time.")

@hookimpl
def statusd_register_sources(registry):
    """Register `storm`."""
    registry.add(Storm)
'''


@attrs.frozen(kw_only=True)
class Storm:
    """A daemon in a storm.

    Attributes:
        pid: of the daemon.
        port: where it serves.
        journal: where it logs.
        manager: whom it pings.
        calm: a file that ends the storm.
        clients: ask all the while.
    """

    pid: int
    port: int
    journal: JournalHere
    manager: Manager
    calm: Path
    clients: Clients

    async def round(self, number: int, seconds: float) -> float:
        """Measure with journald running and stopped; return the ratio of the 99th percentiles."""
        self.clients.stage = f"runs {number}"
        await trio.sleep(seconds)  # what is measured
        self.journal.freeze()
        self.clients.stage = f"frozen {number}"
        await trio.sleep(seconds)  # what is measured
        self.clients.stage = ""
        self.journal.thaw()
        await self.caught_up()
        for stage in (f"runs {number}", f"frozen {number}"):
            times = self.clients.times[stage]
            shares = ", ".join(f"p{share * 100:g} {in_ms(times, share):.2f}" for share in (0.5, 0.99))
            print(
                f"{stage:<9}{len(times):>6} requests, {shares}, at most {max(times) * 1e3:.2f} ms", flush=True
            )
        frozen, runs = (in_ms(self.clients.times[f"{stage} {number}"], 0.99) for stage in ("frozen", "runs"))
        return frozen / runs

    async def overflow(self) -> float:
        """Stop journald until records are dropped; return for how many seconds."""
        began = trio.current_time()
        self.journal.freeze()
        while await self.counted(DROPPED) < DROPS:
            if trio.current_time() - began > FULL:
                raise SystemExit(f"No record was dropped within {FULL:g} s: make the storm a greater one.")
            await trio.sleep(LOOK)
        self.journal.thaw()
        await self.caught_up()
        return trio.current_time() - began

    async def caught_up(self) -> None:
        """Wait until journald has what waited, and was told of what was dropped.

        Raises:
            SystemExit: when that takes too long.
        """
        before = -1
        with trio.move_on_after(RECOVER):
            while True:
                told = await trio.to_thread.run_sync(self.journal.dropped)
                if told == before == await self.counted(DROPPED):
                    return
                before = told
                await trio.sleep(LOOK)
        raise SystemExit(f"Not all drops were told {RECOVER:g} s after journald went on.")

    async def counted(self, series: re.Pattern[bytes]) -> int:
        """Return the sum of a metric."""
        text = await Connection(self.port).get("/metrics", is_last=True)
        return round(sum(float(number) for number in series.findall(text)))

    async def written(self, happened: int) -> int:
        """Return how many transitions are in the journal, once they are those that `happened` or are no more than before."""
        before = -1
        while (now := await trio.to_thread.run_sync(self.journal.count, TRANSITION.id)) != before:
            if now == happened:
                break
            before = now
            await trio.sleep(LOOK)
        return now


def configured(directory: Path, port: int, sources: int, interval: float) -> Path:
    """Write the plugin and the configuration of a storm; return the latter."""
    (directory / "statusd_storm.py").write_text(PLUGIN, encoding="utf-8")
    about = directory / "statusd_storm-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: statusd-storm\nVersion: 1\n", encoding="utf-8"
    )
    (about / "entry_points.txt").write_text("[statusd]\nstorm = statusd_storm\n", encoding="utf-8")
    tables = [f'[sources.s{number}]\nplugin = "storm"\ninterval = {interval}\n' for number in range(sources)]
    config = directory / "statusd.toml"
    config.write_text(f'[http]\nbind = ["{HOST}:{port}"]\n' + "".join(tables), encoding="utf-8")
    return config


async def measure(storm: Storm, seconds: float, rounds: int) -> list[Bar]:
    """Run it all; return the bars."""
    async with asking(storm.clients):
        await trio.sleep(WARM)
        memory, before = resident(storm.pid), await storm.counted(TRANSITIONS)
        began = trio.current_time()
        ratios = [await storm.round(number, seconds) for number in range(rounds)]
        rate = (await storm.counted(TRANSITIONS) - before) / (trio.current_time() - began)
        print(f"{rate:.0f} transitions a second")
        print(f"records were dropped within {await storm.overflow():.0f} s")
        print(f"memory {memory / 2**20:.1f} MB before, {resident(storm.pid) / 2**20:.1f} MB after")
        storm.calm.touch()
        await trio.sleep(SETTLE)
        await storm.caught_up()
    happened = await storm.counted(TRANSITIONS)
    written, dropped = await storm.written(happened), storm.journal.dropped()
    print(f"{happened} transitions, {written} in the journal, {dropped} records told as dropped")
    print(f"{storm.manager.pings} pings")
    for line in storm.clients.lost[:8]:
        print(f"  lost: {line}")
    untold = max(0, happened - written - dropped)
    return [
        Bar(name="/health p99 frozen / not", value=statistics.median(ratios), limit=SLOWER_BAR, is_most=True),
        Bar(name="failed requests", value=len(storm.clients.lost), limit=0, is_most=True),
        Bar(
            name="longest pause of pings",
            value=storm.manager.longest_pause(),
            limit=WATCHDOG,
            is_most=True,
            unit=" s",
        ),
        Bar(name="records dropped and told", value=dropped, limit=DROPS),
        Bar(name="transitions lost untold", value=untold, limit=0, is_most=True),
    ]


def main() -> int:
    """Run it all; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=10, help="for which journald is stopped, in each round"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two probes of each")
    options = parser.parse_args()
    server_core, client_core = cores()
    os.sched_setaffinity(0, {client_core})
    with ExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        journal = exits.enter_context(journal_here())
        manager = exits.enter_context(Manager(directory / "notify"))
        port = free_port()
        config = configured(directory, port, options.sources, options.interval)
        environment = {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH")))),
            "NOTIFY_SOCKET": str(manager.path),
            "WATCHDOG_USEC": str(round(WATCHDOG * 1e6)),
            "STORM_CALM": str(directory / "calm"),
        }
        stream = exits.enter_context(journal.stream("statusd"))
        environment["JOURNAL_STREAM"] = journal.name_of(stream)
        command = journal.command(console_script(), "run", "--config", str(config))
        outer = exits.enter_context(running(command, server_core, environment=environment, errors=stream))
        if not listens(outer, port):
            raise SystemExit("statusd did not start.")
        pid = exits.enter_context(journal.ended(outer))
        manager.expect_ready()
        clients = Clients(port=port, streams=0, polls=0, others=("/models",))
        storm = Storm(
            pid=pid, port=port, journal=journal, manager=manager, calm=directory / "calm", clients=clients
        )
        try:
            bars = trio.run(measure, storm, options.seconds, options.rounds)
        except BaseExceptionGroup as group:
            raise only(group) from None  # the groups that wrapped it say nothing
    return verdict(bars)


if __name__ == "__main__":
    sys.exit(main())
