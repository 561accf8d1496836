"""The whole daemon inside a test's own trio run, on a real port."""

import contextlib
import json
import os
from functools import partial

import attrs
import trio

from statusd import Url
from statusd.app import run_daemon
from statusd.config.load import read_text
from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.trace import Trace
from statusd.planning import plan
from tests.stages import configured

DEADLINE = 20


@attrs.frozen
class Client:
    """Asks a running daemon."""

    base: str
    _http: HttpClient = attrs.field(factory=lambda: HttpClient(Resolver(), Trace()))

    async def get(self, path):
        return await self._http.get(Url.parse(self.base + path), max_body=1 << 26)

    async def json(self, path):
        return json.loads((await self.get(path)).body)

    async def node(self, path):
        """Return a node as JSON; of one that does not exist, the reason says so."""
        return (await self.json(f"/state/{path}")).get("node", {"reason": "no such node"})

    async def models(self):
        return {one["id"]: one for one in (await self.json("/models"))["statuses"]}

    async def until(self, question, holds):
        """Ask until the answer is as wanted; fail with the last answer after a deadline."""
        answer = None
        with trio.move_on_after(DEADLINE):
            while True:
                answer = await question()
                if holds(answer):
                    return answer
                await trio.sleep(0.01)
        raise AssertionError(f"not within {DEADLINE} s; the last answer: {answer}")

    async def until_reason(self, path, *reasons):
        return await self.until(partial(self.node, path), lambda node: node["reason"] in reasons)

    async def aclose(self):
        await self._http.aclose()


@contextlib.asynccontextmanager
async def running(text, environ=None, *, points=None):
    """Run the daemon with the configuration `text`; yields a client."""
    environ = os.environ if environ is None else environ
    settings = read_text(configured(text), "test.toml", environ, bind=["127.0.0.1:0"])
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        begin = partial(run_daemon, plan(settings, points=points), stop=stop)
        (address,) = await nursery.start(begin)
        client = Client(address)
        try:
            yield client
        finally:
            with trio.CancelScope(shield=True):
                await client.aclose()
            stop.set()
            with trio.move_on_after(6, shield=True) as scope:
                while nursery.child_tasks:
                    await trio.sleep(0.005)
            assert not scope.cancelled_caught, "the daemon did not stop within 6 s"
