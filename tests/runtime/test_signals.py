import signal
import subprocess
import sys

import pytest
import trio

from statusd.signals import SIGNALS, stop_on_signal


async def test_the_first_signal_stops_in_order_and_the_second_at_once(nursery):
    stop = trio.Event()
    told = []
    with trio.CancelScope() as scope:
        await nursery.start(stop_on_signal, stop, scope, lambda: told.append(stop.is_set()))
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        assert told == [False]
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert told == [False]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("is_ending", [False, True])
def test_a_signal_that_nobody_receives_ends_a_process_unless_it_ends_by_itself(number, is_ending):
    """Before the receiver is there, and after it has gone: in between it takes the signals."""
    text = f"""
import os, signal, trio
from statusd.signals import outlast_further_ones, stop_on_signal

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signal, trio.Event(), nursery.cancel_scope)
        nursery.cancel_scope.cancel()

stop = trio.Event()
outlast_further_ones(stop)
trio.run(main)
if {is_ending}:
    stop.set()
os.kill(os.getpid(), {number:d})
"""
    process = subprocess.run([sys.executable, "-c", text], timeout=50, check=False)
    assert process.returncode == (0 if is_ending else -number)
