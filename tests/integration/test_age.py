"""The age of what thresholds leave standing, over real sockets."""

from functools import partial

from statusd.testing import Refuse, Takeoff
from tests.integration.inprocess import running

STEADY = """
[sources.one]
plugin = "takeoff"
url = "{url}"
interval = 0.1
fall = 1000
"""


async def test_what_failed_probes_leave_standing_ages_while_the_relayed_body_is_gone():
    async with Takeoff() as takeoff:
        takeoff.put("r1", "live")
        async with running(STEADY.format(url=takeoff.url), {}) as client:
            await client.until_reason("sources/one/readers/r1", "ok")
            takeoff.behaviour = Refuse()
            part = "/state/sources/one/readers/r1"
            await client.until(partial(client.get, part), lambda answer: int(answer.headers["age"]) >= 1)
            for path in (
                "/state",
                "/state/sources",
                "/state/sources/one",
                part,
                "/",
                part.replace("state", "explain"),
            ):
                assert int((await client.get(path)).headers["age"]) >= 1
            assert int((await client.get(part.replace("state", "readyz"))).headers["age"]) >= 1
            # What follows the newest probe is as old as that one: made a moment ago, every 0.1 s.
            for path in ("/status", "/readyz", "/explain/sources/one"):
                young = partial(client.get, path)
                await client.until(young, lambda answer: answer.headers["age"] == "0")
