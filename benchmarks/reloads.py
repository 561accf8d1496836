"""Reload a daemon a thousand times, at random between good and bad configurations, while clients ask: nothing may be lost.

    python benchmarks/reloads.py [--reloads 1000] [--seed 1] [--rate 100] [--brief] [--steps]

One `statusd run` on the first core; its clients, the simulated upstreams and what reloads it are on the second, all on
loopback. The files (configurations.py) differ in sources, their upstreams, options and pace, in models, `[ready]`,
`[rollup]`, limits and addresses; two of five cannot be used: TOML that is none, unknown keys, plugins, sources and paths, no
file at all, a port in use, no certificate. Most reloads are a SIGHUP, after which the file of outcomes is awaited; one in
50 is `statusd reload`, and one in 20 is several signals at once. After each that is good, every address answers.

Meanwhile clients ask RATE times a second over kept connections and as often over connections of their own; some wait for
news, and some follow `/events`. A request is failed when it has no answer, or not 200, within 10 s; an event stream when it
ends, or its revisions go back.

In every file are the same four sources, with the same options: `stable`, which is well all the while; `slow`, whose upstream
fails and recovers, which it says after 25 probes in a row only, so that a reload that forgot the tally would delay it; a
Takeoff and a Redis that push and relay. Their history must go on: the time since `stable` is as it is, the metrics of all
of them, the time `slow` takes; and their upstreams must see no new connection but the one a minute that replaces the old one.

Memory, threads, descriptors and tasks are read with the same plain configuration: after a tenth as many reloads, or as many
more as it takes until the daemon keeps as many past revisions as it ever does, and at the end. With --steps every step of
the daemon's event loop that takes over 20 ms is shown with where it was; its times are then a little longer.

Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from asking import Clients, LostError, asking, fetched, in_ms, until
from configurations import Surroundings, bad, good, plain
from histories import Histories, Switched
from processes import HOST, Bar, console_script, cores, free_port, listens, resident, running, verdict
from reloading import OUTCOME, Reloading, Weight
from statusd.errors import only
from statusd.testing import Hang, Takeoff, Upstream
from statusd.testing.redis_binary import find_server
from statusd.testing.redis_server import RedisServer

GROWTH_BAR: Final = 1.10
QUIET: Final = 15.0
"""Seconds without a reload that are measured."""
REVISIONS: Final = 1200
"""Revisions after which the daemon keeps as many of them as it ever does, for `/events`."""
GAPS: Final = (0.0, 0.2)
"""Seconds from one reload to the next."""
BAD: Final = 0.4
"""Share of configurations that cannot be used."""


@asynccontextmanager
async def surroundings(directory: Path) -> AsyncIterator[tuple[Surroundings, dict[str, Upstream]]]:
    """Run the upstreams until the block ends."""
    upstreams: dict[str, Upstream] = {
        "stable": Upstream(),
        "slow": Switched(),
        "inference": Takeoff(),
        "one": Upstream(),
        "two": Upstream(),
        "hung": Upstream(behaviour=Hang()),
    }
    async with AsyncExitStack() as exits:
        for upstream in upstreams.values():
            await exits.enter_async_context(upstream)
        urls = {name: upstream.url for name, upstream in upstreams.items()}
        urls["queue"] = ""
        if find_server() is not None:
            urls["queue"] = (await exits.enter_async_context(RedisServer())).url
        [taken] = await trio.open_tcp_listeners(0, host=HOST)
        await exits.enter_async_context(taken)
        around = Surroundings(
            port=free_port(),
            more=(free_port(), free_port()),
            taken=taken.socket.getsockname()[1],
            directory=directory,
            urls=urls,
        )
        yield around, upstreams


async def soak(options: argparse.Namespace, server_core: int, directory: Path) -> list[Bar]:
    """Run it all; return the bars."""
    async with surroundings(directory) as (around, upstreams):
        config, witness = directory / "statusd.toml", directory / "witness.json"
        text = plain(around).text
        assert text is not None
        config.write_bytes(text)
        environment = {
            "RUNTIME_DIRECTORY": str(directory),
            "STATE_DIRECTORY": str(directory),
            "PYTHONPATH": os.pathsep.join(
                filter(None, (str(Path(__file__).with_name("witness")), os.environ.get("PYTHONPATH")))
            ),
            "STATUSD_WITNESS": str(witness),
            "STATUSD_WITNESS_STEPS": "1" if options.steps else "",
        }
        command = [console_script(), "run", "--config", str(config)]
        with (
            (directory / "log").open("wb") as log,
            running(command, server_core, environment=environment, errors=log) as daemon,
        ):
            if not await trio.to_thread.run_sync(listens, daemon, around.port):
                raise SystemExit(f"statusd did not start:\n{_last_lines(directory)}")
            reloading = Reloading(
                daemon=daemon,
                config=config,
                outcomes=directory / "reload.json",
                witness=witness,
                around=around,
                chance=random.Random(options.seed),
            )
            await until(lambda: reloading.outcomes.exists() and witness.exists(), OUTCOME, "The start")
            try:
                return await _stages(reloading, upstreams, options)
            except (LostError, SystemExit):
                print(_last_lines(directory))
                raise


async def _stages(soak: Reloading, upstreams: dict[str, Upstream], options: argparse.Namespace) -> list[Bar]:
    port = soak.around.port
    histories = Histories(port=port, upstreams=upstreams, redis=soak.around.urls["queue"])
    async with asking(Clients(port=port, rate=options.rate)) as clients, trio.open_nursery() as nursery:
        await nursery.start(histories.run)
        before = None if options.brief else await _warm(soak, clients, options.reloads)
        clients.stage, first = "reloads", len(soak.seconds)
        began = time.monotonic()
        await _reloads(soak, options.reloads)
        lasted = time.monotonic() - began
        clients.stage = ""
        after = None if options.brief else await _weighed(soak, clients)
        await histories.end()
        nursery.cancel_scope.cancel()
    print(f"{options.reloads} reloads in {lasted:.0f} s: {_shown(soak.kinds)}, with those before")
    took = soak.seconds[first:] or [0.0]
    print(f"a good one took {in_ms(took, 0.5):.0f} ms, p99 {in_ms(took, 0.99):.0f} ms")
    _say_asked(clients)
    if options.steps:
        _say_steps(soak.witnessed()["steps"])
    for what, found in (("lost", clients.lost), ("not as expected", soak.wrong), ("history", histories.lost)):
        for line in found[:8]:
            print(f"  {what}: {line}")
    bars = [
        _none("failed requests", len(clients.lost)),
        _none("outcomes not as expected", len(soak.wrong)),
        _none("histories lost", len(histories.lost)),
    ]
    if before is not None and after is not None:
        bars += [histories.tally(), *_growth(before, after)]
    return bars


async def _warm(soak: Reloading, clients: Clients, reloads: int) -> Weight:
    """Reload until what is allocated once is allocated, then measure without reloads; return what the daemon takes."""
    first = await _revision(soak)
    await _reloads(soak, reloads // 10)
    while await _revision(soak) - first < REVISIONS:
        await _reloads(soak, 10)
    weight = await _weighed(soak, clients)
    clients.stage = "quiet"
    await trio.sleep(QUIET)  # what is measured
    return weight


async def _revision(soak: Reloading) -> int:
    revision: int = (await fetched(soak.around.port, "/state"))["revision"]
    return revision


async def _reloads(soak: Reloading, count: int) -> None:
    for number in range(count):
        make = bad if soak.chance.random() < BAD else good
        await soak.reload(make(soak.chance, soak.around))
        if number % 100 == 99:
            memory = resident(soak.daemon.pid) / 2**20
            print(f"{number + 1} of {count}, {memory:.1f} MB", file=sys.stderr, flush=True)
        await trio.sleep(soak.chance.uniform(*GAPS))


async def _weighed(soak: Reloading, clients: Clients) -> Weight:
    clients.is_paused = True  # so that what is counted does not depend on what is in flight
    weight = await soak.weigh()
    clients.is_paused = False
    return weight


def _none(name: str, count: float) -> Bar:
    return Bar(name=name, value=count, limit=0, is_most=True)


def _growth(before: Weight, after: Weight) -> list[Bar]:
    print(f"memory {before.memory / 2**20:.1f} MB, then {after.memory / 2**20:.1f} MB")
    bars = [
        Bar(
            name="memory at the end / before",
            value=after.memory / before.memory,
            limit=GROWTH_BAR,
            is_most=True,
        )
    ]
    for name in ("threads", "descriptors", "tasks"):
        was, now = getattr(before, name), getattr(after, name)
        bars.append(Bar(name=name, value=now, limit=was, is_most=True))
    return bars


def _say_asked(clients: Clients) -> None:
    print(f"requests: {_shown(clients.asked)}")
    stages = {stage: times for stage, times in clients.times.items() if stage}
    for stage, times in stages.items():
        shares = ", ".join(f"p{share * 100:g} {in_ms(times, share):.2f}" for share in (0.5, 0.9, 0.99, 0.999))
        print(f"/health {stage}: {len(times)}, {shares}, at most {max(times) * 1e3:.2f} ms")
    if "quiet" in stages:
        ratio = in_ms(stages["reloads"], 0.99) / in_ms(stages["quiet"], 0.99)
        print(f"/health p99 reloads / quiet: {ratio:.2f} (no bar)")


def _say_steps(steps: list[dict[str, Any]]) -> None:
    """Print what kept the event loop longest."""
    print(f"{len(steps)} steps of the event loop over 20 ms; those with the most CPU:")
    for step in sorted(steps, key=lambda step: -step["cpu"])[:8]:
        print(f"  {step['seconds'] * 1e3:.0f} ms ({step['cpu'] * 1e3:.0f} ms CPU) {step['task']}")
    seen: collections.Counter[str] = collections.Counter()
    for step in steps:
        for where, count in step["where"].items():
            frames = where.split(" > ")
            seen.update({" > ".join(frames[:length]): count for length in range(1, len(frames))})
    print("where they were, samples of all of them:")
    for where, count in seen.most_common(25):
        print(f"  {count:>5} {where}")


def _shown(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _last_lines(directory: Path) -> str:
    return (directory / "log").read_text(errors="replace")[-3000:]


def main() -> int:
    """Run it all; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reloads", type=int, default=1000, help="that are measured")
    parser.add_argument("--seed", type=int, default=1, help="of what the files are")
    parser.add_argument("--rate", type=float, default=100, help="requests a second, of each kind")
    parser.add_argument("--brief", action="store_true", help="leave out what a short run cannot tell: growth")
    parser.add_argument("--steps", action="store_true", help="also time each step of the event loop")
    options = parser.parse_args()
    server_core, client_core = cores()
    os.sched_setaffinity(0, {client_core})
    with tempfile.TemporaryDirectory() as directory:
        try:
            bars = trio.run(soak, options, server_core, Path(directory))
        except BaseExceptionGroup as group:
            raise only(group) from None  # the groups that wrapped it say nothing
    return verdict(bars)


if __name__ == "__main__":
    sys.exit(main())
