"""A plugin for tests that does what no process can contain: it blocks the event loop, or stalls the hub.

It waits for a file that holds the daemon's process id, so that what systemd starts in its place is left in peace.
"""

import gc
import os
import time
from pathlib import Path

import attrs
import trio

from statusd import Report, Source, hookimpl, option

TRIGGER = Path("/etc/statusd/stuck")


def is_told_to():
    """Whether this process is meant to get stuck now."""
    try:
        return TRIGGER.read_text().strip() == str(os.getpid())
    except OSError:
        return False


class Silence:
    """Takes the place of the hub's inbox: nothing ever comes out."""

    async def receive(self):
        """Wait for ever."""
        await trio.sleep_forever()


@attrs.frozen(kw_only=True)
class Stuck(Source):
    """Blocks the loop, or stalls the hub, once it is told to."""

    stall: str = option("loop", help="What to stall: loop or hub.")

    async def probe(self):
        """Be well until then."""
        if not is_told_to():
            return Report.ok()
        if self.stall == "loop":
            time.sleep(3600)  # noqa: ASYNC251  # the very thing that a probe must not do
        for one in gc.get_objects():
            if type(one).__qualname__ == "Hub":
                one._receive = Silence()
        return Report.ok()


@hookimpl
def statusd_register_sources(registry):
    """Register `stuck`."""
    registry.add(Stuck)
