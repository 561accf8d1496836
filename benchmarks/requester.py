"""A client that asks at a steady rate, each request on a connection of its own; run as a process of its own.

    python requester.py PORT RATE

Asks until its standard input ends, and waits for the answers that are still due. Prints as JSON for how many seconds it
asked, the seconds of each request from when it was due, and why others failed.
"""

from __future__ import annotations

import json
import sys
from typing import Final

import trio

from asking import HEALTH, Connection, LostError, paced

PATIENCE: Final = 20.0
"""Seconds after which an answer is not waited for any more."""
OK: Final = b'{"status":"ok"}'


async def run(port: int, rate: float) -> None:
    """Ask until standard input ends."""
    times: list[float] = []
    failed: list[str] = []
    began = trio.current_time()

    async def ask(due: float) -> None:
        try:
            body = await Connection(port, PATIENCE).get(HEALTH, is_last=True)
        except LostError as error:
            failed.append(f"{due - began:.3f} s: {error}")
            return
        if body != OK:
            failed.append(f"{due - began:.3f} s: {body!r}")
        times.append(trio.current_time() - due)

    async with trio.open_nursery() as requests:
        async with trio.open_nursery() as clock:

            async def end() -> None:
                await trio.to_thread.run_sync(sys.stdin.read)
                clock.cancel_scope.cancel()

            clock.start_soon(end)
            async for _, due in paced(1 / rate, 0.0):
                requests.start_soon(ask, due)
        seconds = trio.current_time() - began
    print(json.dumps({"seconds": seconds, "times": times, "failed": failed}), flush=True)


if __name__ == "__main__":
    trio.run(run, int(sys.argv[1]), float(sys.argv[2]))
