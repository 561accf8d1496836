"""Simulated upstreams for a daemon that is measured; run as a process of their own.

Prints the environment that points `CONFIG` at them. Each line of standard input says how they are from then on: "well"
or "hung". They end with standard input.
"""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from typing import Final

import trio

from statusd.testing import FlashHead, Hang, OmniRT, Takeoff, Upstream
from statusd.testing.behaviours import Answer
from statusd.testing.redis_binary import find_server
from statusd.testing.redis_server import RedisServer

CONFIG: Final = """
[http]
{http}
[sources.inference]
plugin = "takeoff"
url = "${{BENCHMARK_TAKEOFF}}"
[sources.queue]
plugin = "redis_queue"
url = "${{BENCHMARK_REDIS}}"
required = false
[sources.omnirt]
plugin = "omnirt"
endpoint = "${{BENCHMARK_OMNIRT}}"
[sources.flashhead]
plugin = "direct_ws"
url = "${{BENCHMARK_FLASHHEAD}}"
interval = 2
[sources.quicktalk]
plugin = "local"
[sources.mock]
plugin = "mock"
[models]
mock = "mock"
flashtalk = "omnirt"
musetalk = "omnirt"
wav2lip = "omnirt"
flashhead = "flashhead"
quicktalk = "quicktalk"
"""
"""A daemon's configuration; to be formatted with the keys of ``[http]``."""


async def run() -> None:
    """Run one of each until standard input ends."""
    upstreams: dict[str, Upstream] = {
        "takeoff": Takeoff(),
        "omnirt": OmniRT(connected=["flashtalk", "wav2lip"]),
        "flashhead": FlashHead(),
    }
    async with AsyncExitStack() as exits:
        for upstream in upstreams.values():
            await exits.enter_async_context(upstream)
        redis = ""
        if find_server() is not None:
            redis = (await exits.enter_async_context(RedisServer())).url
        environment = {
            "BENCHMARK_TAKEOFF": upstreams["takeoff"].url,
            "BENCHMARK_REDIS": redis,
            "BENCHMARK_OMNIRT": upstreams["omnirt"].url,
            "BENCHMARK_FLASHHEAD": upstreams["flashhead"].url.replace("http", "ws"),
        }
        print(json.dumps(environment), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            for upstream in upstreams.values():
                upstream.behaviour = Hang() if line.strip() == "hung" else Answer()
                upstream.requests.clear()


if __name__ == "__main__":
    trio.run(run)
