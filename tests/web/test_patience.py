"""Who waits, who does not, and that nobody who fills up the room for waiting fails a health check."""

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from statusd import Document, Node, SourceInfo, Status, View
from statusd.web.edge.limits import Limits
from statusd.web.patience import Patience
from tests.web.client import CLOSE, CONTEXT, END, HOST, NOW, Web, edge_of, parse, read_all, service, snapshot

SLOW = 30.0
"""Seconds that the source takes."""
FRESH = HOST + b"Cache-Control: no-cache\r\n"
POLL = b"GET /state?since=7&wait=60 HTTP/1.1" + END


@attrs.frozen(kw_only=True)
class Models(View):
    """A probe endpoint whose source can be probed on demand."""

    name = "models"

    def paths(self):
        return ("/models",)

    def sources(self, path):
        return ("slow",)

    def render(self, path, snapshot):
        return Document(body=b"{}")


async def refresh(_sources):
    await trio.sleep(SLOW)


@pytest.fixture
async def site(nursery, autojump_clock):
    source = SourceInfo(name="slow", plugin="p", backend="b")
    wing = Node(status=Status.OK, children={"slow": Node(status=Status.OK, observed_at=NOW - 1)})
    root = Node(status=Status.OK, children={"sources": wing})
    views = (Models(context=CONTEXT),)
    served = service(*views, hub=lambda: snapshot(root), sources=(source,), refresh=refresh)
    return Web(edge=edge_of(served, Limits(waiting=2)), nursery=nursery)


async def timed(site, data, **options):
    """Return the only answer to `data`, and how long it took."""
    stream, connection = site.connect()
    for name, value in options.items():
        setattr(connection, name, value)
    began = trio.current_time()
    await stream.send_all(data)
    [answer] = parse(await read_all(stream))
    return answer, trio.current_time() - began


async def test_who_wants_it_fresh_waits_for_the_probe(site, autojump_clock):
    answer, seconds = await timed(site, b"GET /models HTTP/1.1" + FRESH + b"Connection: close\r\n\r\n")
    assert (answer.status, seconds) == (200, SLOW)


async def test_in_the_reserve_nobody_waits(site, autojump_clock):
    answer, seconds = await timed(site, b"GET /models HTTP/1.1" + FRESH + b"\r\n", refusal=503)
    assert (answer.status, seconds) == (200, 0)
    answer, seconds = await timed(site, POLL, refusal=503)
    assert (answer.status, seconds) == (503, 0)


async def test_with_all_places_for_waiting_taken_a_probe_endpoint_shows_what_there_is(site, autojump_clock):
    polls = [site.connect()[0] for _ in range(2)]
    for stream in polls:
        await stream.send_all(POLL)
    await wait_all_tasks_blocked()
    answer, seconds = await timed(site, b"GET /models HTTP/1.1" + FRESH + b"Connection: close\r\n\r\n")
    assert (answer.status, seconds) == (200, 0)
    answer, seconds = await timed(site, b"GET /state?since=7&wait=60 HTTP/1.1" + CLOSE)
    assert (answer.status, seconds) == (503, 0)
    assert b'"too_many_waiting"' in answer.body
    assert site.edge.traffic.limited["waiting"] == 2


async def test_patience_ends_for_all_who_wait_and_for_those_who_come_later(autojump_clock):
    patience, ended = Patience(), []

    async def wait(seconds):
        with patience.wait(seconds):
            await trio.sleep_forever()
        ended.append((seconds, trio.current_time() - began))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for seconds in (1, 60, 90):
            nursery.start_soon(wait, seconds)
        await trio.sleep(5)
        patience.end()
        nursery.start_soon(wait, 70)
    assert sorted(ended) == [(1, 1), (60, 5), (70, 5), (90, 5)]
