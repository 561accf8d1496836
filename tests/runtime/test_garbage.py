"""Full garbage collections come by themselves only, and the rarer the more there is to look at."""

import gc
import subprocess
import sys

import trio

from statusd.runtime import garbage
from statusd.runtime.garbage import PERIOD, SHARE, collect_for_ever

PROGRAM = """
import gc
from statusd.runtime.garbage import spare_answers
spare_answers()
full = []
gc.callbacks.append(lambda phase, info: full.append(phase) if info["generation"] == 2 else None)
kept = [[] for _ in range(600_000)]
print(len(full), gc.get_freeze_count() > 10_000)
"""


def test_python_begins_no_full_collection_by_itself():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert told.stdout == "0 True\n"


def test_it_would_without():
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("\nspare_answers()\n", "\n")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(told.stdout.split()[0]) > 0


async def test_a_costly_collection_is_a_rare_one(nursery, autojump_clock, monkeypatch):
    began, costs = [], iter([0.0, 1.0, 0.0, 0.0])
    clock = [0.0]
    monkeypatch.setattr(garbage.time, "perf_counter", lambda: clock[0])

    def collect():
        began.append(trio.current_time())
        clock[0] += next(costs)

    nursery.start_soon(collect_for_ever, collect)
    await trio.sleep(3 * PERIOD + 1 / SHARE + 1)
    nursery.cancel_scope.cancel()
    assert began == [PERIOD, 2 * PERIOD, 2 * PERIOD + 1 / SHARE, 3 * PERIOD + 1 / SHARE]


def test_this_process_collects_as_usual():
    """What `statusd run` sets is for its own process alone."""
    assert gc.get_threshold()[2] < garbage.NEVER
