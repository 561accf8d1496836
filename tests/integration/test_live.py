"""The tree for programs, over real sockets: conditional requests, long polls, streams, freshness on demand."""

import contextlib
import json
import re
from functools import partial

import pytest
import trio

from statusd import Url
from statusd.testing import Hang, Takeoff, Upstream
from tests.integration.inprocess import running

TWO = """
[sources.one]
plugin = "takeoff"
url = "{one}"
interval = 1000
[sources.two]
plugin = "http"
url = "{two}"
interval = 1000
timeout = 0.5
[models]
m = "two"
"""


async def ask(client, path, **headers):
    """Send one GET on a connection of its own."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client._http.get(Url.parse(client.base + path), headers=fields, max_body=1 << 26)


class Stream:
    """An event stream, read event by event."""

    def __init__(self, socket):
        self.socket = socket
        self.data = b""
        self.events = []

    async def line(self):
        while b"\r\n" not in self.data:
            chunk = await self.socket.receive_some(65536)
            if not chunk:
                raise trio.EndOfChannel
            self.data += chunk
        line, _, self.data = self.data.partition(b"\r\n")
        return line

    async def chunk(self):
        size = int(await self.line(), 16)
        while len(self.data) < size + 2:
            self.data += await self.socket.receive_some(65536)
        chunk, self.data = self.data[:size], self.data[size + 2 :]
        if not size:
            raise trio.EndOfChannel
        return chunk

    async def event(self):
        """Return (id, name, data) of the next event."""
        while not self.events:
            piece = await self.chunk()
            while not piece.endswith(b"\n\n"):  # a large event comes in several chunks
                piece += await self.chunk()
            events = piece.removesuffix(b"\n\n").split(b"\n\n")
            self.events += [event for event in events if not event.startswith((b"retry:", b":"))]
        fields = dict(line.split(b": ", 1) for line in self.events.pop(0).split(b"\n"))
        return int(fields[b"id"]), fields[b"event"].decode(), json.loads(fields[b"data"])


@contextlib.asynccontextmanager
async def streaming(client, path="/events", **headers):
    """Open an event stream; yields it and the header of its answer."""
    host, port = re.fullmatch(r"http://([^:]+):(\d+)", client.base).groups()
    async with await trio.open_tcp_stream(host, int(port)) as socket:
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await socket.send_all(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
        stream = Stream(socket)
        header = [await stream.line()]
        while header[-1]:
            header.append(await stream.line())
        yield (
            stream,
            {name.lower(): value for name, _, value in (line.decode().partition(": ") for line in header)},
        )


async def readers(client):
    metrics = (await client.get("/metrics")).body.decode()
    return float(re.search(r"^statusd_event_streams (\S+)$", metrics, re.MULTILINE)[1])


# Conditional requests


@pytest.mark.parametrize(
    "path", ["/status", "/models", "/state", "/state/sources/one", "/readyz", "/openapi.json"]
)
async def test_if_none_match_is_304_until_the_document_changes_and_no_longer(path):
    async with (
        Takeoff() as one,
        Upstream() as two,
        running(TWO.format(one=one.url, two=two.url), {}) as client,
    ):
        await client.until_reason("sources/one", "no_readers")
        await client.until_reason("sources/two", "ok")
        first = await ask(client, path)
        tag = first.headers["etag"]
        assert first.status == 200
        assert tag.startswith("W/") is path.startswith("/state")
        for match in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
            again = await ask(client, path, If_None_Match=match)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
            assert {"age", "cache-control", "cache-status"} <= set(again.headers)
        other = await ask(client, path, If_None_Match='"other"')
        assert (other.status, other.body) == (200, first.body)
        # A probe that finds nothing new changes nothing; what it finds new changes the tag.
        await ask(client, path, Cache_Control="no-cache")
        assert (await ask(client, path, If_None_Match=tag)).status == 304
        one.put("r1", "live")
        if path.startswith("/stat"):
            changing = partial(ask, client, path, If_None_Match=tag, Cache_Control="no-cache")
            changed = await client.until(changing, lambda answer: answer.status != 304)
            assert changed.status == 200
            assert changed.headers["etag"] != tag
            assert changed.body != first.body


async def test_an_unavailable_status_is_never_304():
    async with running(TWO.format(one="", two=""), {}) as client:
        answer = await ask(client, "/status", If_None_Match="*")
        assert answer.status == 503
        assert answer.headers["cache-status"] == "statusd; hit; detail=not_configured"


# Freshness on demand


async def test_a_hundred_clients_that_want_it_fresh_cause_one_probe_of_each_source_behind_the_document():
    async with (
        Takeoff() as one,
        Upstream() as two,
        running("[http]\nrefresh_floor = 60\n" + TWO.format(one=one.url, two=two.url), {}) as client,
    ):
        await client.until_reason("sources/one", "no_readers")
        await client.until_reason("sources/two", "ok")
        answers = []

        async def want(path, **headers):
            answers.append(await ask(client, path, **headers))

        # A plain request causes none, whatever it asks for.
        for path in ("/status", "/models", "/state", "/explain", "/", "/readyz", "/metrics", "/queue/status"):
            await want(path)
            await want(path, Cache_Control="max-age=100")
        assert (len(one.requests), len(two.requests)) == (1, 1)
        answers.clear()
        async with trio.open_nursery() as people:
            for _ in range(100):
                people.start_soon(partial(want, "/state", Cache_Control="no-cache"))
        assert (len(one.requests), len(two.requests)) == (2, 2)
        assert max(int(answer.headers["age"]) for answer in answers) < 60
        assert {answer.status for answer in answers} == {200}
        # Only what is behind the document; and within the floor, the answer says how old it is.
        async with trio.open_nursery() as people:
            for _ in range(100):
                people.start_soon(partial(want, "/models", Cache_Control="no-cache"))
        assert len(one.requests) == 2


async def test_a_source_that_hangs_holds_an_answer_no_longer_than_its_own_deadline():
    async with (
        Takeoff() as one,
        Upstream() as two,
        running(TWO.format(one=one.url, two=two.url), {}) as client,
    ):
        await client.until_reason("sources/two", "ok")
        two.behaviour = Hang()
        answer = await ask(client, "/models", Cache_Control="no-cache")
        assert answer.headers["age"] == "0"
        assert json.loads(answer.body)["statuses"][0]["connected"] is False


async def test_a_source_can_want_every_request_to_be_live():
    live = TWO.replace("timeout = 0.5", "max_age = 0")
    text = "[http]\nrefresh_floor = 0.1\n" + live
    async with (
        Takeoff() as one,
        Upstream() as two,
        running(text.format(one=one.url, two=two.url), {}) as client,
    ):
        await client.until_reason("sources/two", "ok")
        before = len(two.requests)
        two.behaviour = Hang()
        await client.until(
            lambda: client.json("/models"), lambda answer: not answer["statuses"][0]["connected"]
        )
        assert len(two.requests) > before
        assert len(one.requests) == 1


# Long poll


async def test_a_long_poll_answers_when_its_branch_changes_and_only_then():
    async with (
        Takeoff() as one,
        Upstream() as two,
        running(TWO.format(one=one.url, two=two.url), {}) as client,
    ):
        await client.until_reason("sources/one", "no_readers")
        await client.until_reason("sources/two", "ok")
        whole = await client.json("/state")
        branch = await client.json("/state/sources/one")
        assert branch["revision"] <= whole["revision"]
        got = []

        async def poll(path, since):
            got.append((path, await client_json(path, since)))

        async def client_json(path, since):
            return json.loads((await ask(client, f"{path}?since={since}&wait=30")).body)

        async with trio.open_nursery() as waiting:
            waiting.start_soon(poll, "/state/sources/one", branch["revision"])
            waiting.start_soon(poll, "/state/sources/one", whole["revision"])
            waiting.start_soon(poll, "/state", whole["revision"])
            other = trio.CancelScope()

            async def wait_for_the_other():
                with other:
                    await poll("/state/sources/two", whole["revision"])

            waiting.start_soon(wait_for_the_other)
            while (await readers_waiting(client)) < 4:
                await trio.sleep(0.01)
            assert got == []
            one.put("r1", "live")
            await ask(client, "/status", Cache_Control="no-cache")
            while len(got) < 3:
                await trio.sleep(0.01)
            other.cancel()
        for path, body in got:
            assert path != "/state/sources/two"
            assert body["revision"] > whole["revision"]


async def readers_waiting(client):
    """How many requests of this test wait in the daemon: those whose task stands in the feed."""
    root = trio.lowlevel.current_root_task()
    count, tasks = 0, [root]
    while tasks:
        task = tasks.pop()
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        count += any(frame.f_code.co_name == "change_of" for frame, _ in task.iter_await_frames())
    return count


@pytest.mark.parametrize("since", ["0", "1", "99999999999999999999"])
async def test_an_unknown_or_future_revision_answers_at_once_with_the_present(since):
    async with running("", {}) as client:
        answer = await ask(client, f"/state?since={since}&wait=60")
        assert answer.status == 200
        assert json.loads(answer.body)["revision"] == (await client.json("/state"))["revision"]


async def test_a_wait_that_is_over_answers_with_the_present():
    async with running("", {}) as client:
        body = await client.json("/state")
        assert await client.json(f"/state?since={body['revision']}&wait=0.05") == body


@pytest.mark.parametrize(
    "query", ["since=x", "since=-1", "since=1&wait=x", "since=1&wait=-1", "wait=nan", "wait=1e"]
)
async def test_what_is_no_revision_or_time_is_a_clear_400(query):
    async with running("", {}) as client:
        answer = await ask(client, f"/state?{query}")
        assert answer.status == 400
        assert json.loads(answer.body)["reason"] == "bad_query"
        assert (await ask(client, f"/models?{query}")).status == 200  # which ignores what it does not know


# Streams


async def test_a_stream_begins_with_a_snapshot_and_brings_each_change():
    async with Takeoff() as one, running(TWO.format(one=one.url, two=""), {}) as client:
        await client.until_reason("sources/one", "no_readers")
        async with streaming(client) as (stream, header):
            assert header["content-type"] == "text/event-stream"
            assert header["x-accel-buffering"] == "no"
            assert header["cache-control"] == "no-store"
            revision, name, data = await stream.event()
            assert name == "snapshot"
            assert data == await client.json("/state")
            assert await readers(client) == 1
            one.put("r1", "live")
            await ask(client, "/status", Cache_Control="no-cache")
            later, name, data = await stream.event()
            assert (name, data["revision"]) == ("change", later)
            assert later == revision + 1 == (await client.json("/state"))["revision"]
            paths = [change["path"] for change in data["changes"]]
            assert paths.index("sources/one") < paths.index("sources/one/readers/r1")
            known = {change["path"]: change["node"] for change in data["changes"]}
            now = await client.node("sources/one/readers/r1")
            now.pop("children")
            assert known["sources/one/readers/r1"] == now
        await client.until(lambda: readers(client), lambda count: count == 0)


async def test_a_stream_resumes_without_a_gap_or_a_snapshot():
    async with Takeoff() as one, running(TWO.format(one=one.url, two=""), {}) as client:
        await client.until_reason("sources/one", "no_readers")
        async with streaming(client) as (stream, _):
            revision, _, _ = await stream.event()
        seen = [revision]
        for number in range(3):
            one.put(f"r{number}", "live")
            await client.until(
                lambda: ask(client, "/state", Cache_Control="no-cache"),
                lambda answer, known=seen[-1] + number: json.loads(answer.body)["revision"] > known,
            )
        async with streaming(client, Last_Event_ID=str(revision)) as (stream, _):
            for number in range(3):
                assert (await stream.event())[:2] == (revision + 1 + number, "change")
        for unknown in ("1", str(revision + 10**9), "x"):
            async with streaming(client, Last_Event_ID=unknown) as (stream, _):
                assert (await stream.event())[:2] == (revision + 3, "snapshot")


async def test_a_branch_has_a_stream_of_its_own():
    async with (
        Takeoff() as one,
        Upstream() as two,
        running(TWO.format(one=one.url, two=two.url), {}) as client,
    ):
        await client.until_reason("sources/two", "ok")
        async with streaming(client, "/events?path=models/m") as (stream, _):
            revision, name, data = await stream.event()
            assert (name, data) == ("snapshot", await client.json("/state/models/m"))
            one.put("r1", "live")
            await ask(client, "/status", Cache_Control="no-cache")  # not in this branch
            two.behaviour = Hang()
            await ask(client, "/models", Cache_Control="no-cache")
            later, name, data = await stream.event()
            assert (later > revision, name) == (True, "change")
            assert [change["path"] for change in data["changes"]] == ["models/m"]
        assert (await ask(client, "/events?path=models/nope")).status == 404


async def stalled(client):
    """Return the socket of a client that asks for the events through a tiny window, and never reads."""
    host, port = re.fullmatch(r"http://([^:]+):(\d+)", client.base).groups()
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 1024)
    await sock.connect((host, int(port)))
    await sock.send(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return sock


async def test_stopping_ends_every_stream_at_once_also_those_that_nobody_reads(nursery, caplog):
    endings = []

    async def listen_to_the_end(client):
        with pytest.raises(trio.EndOfChannel):
            async with streaming(client) as (stream, _):
                while True:
                    await stream.event()
        endings.append(trio.current_time())

    async with Takeoff() as one:
        for number in range(300):
            one.put(f"reader-{number}-{'x' * 100}", "live")
        async with running(TWO.format(one=one.url, two=""), {}) as client:
            has_all = lambda node: len(node.get("children", ())) == 300  # noqa: E731
            await client.until(lambda: client.node("sources/one/readers"), has_all)
            for _ in range(5):
                nursery.start_soon(listen_to_the_end, client)
            silent = [await stalled(client) for _ in range(20)]
            await client.until(lambda: readers(client), lambda count: count == 25)
    assert "cut off" not in caplog.text  # as those are that use up the grace, which is for requests
    with trio.fail_after(5):
        while len(endings) < 5:
            await trio.sleep(0.01)
    for sock in silent:
        sock.close()


async def test_beyond_their_number_streams_are_503_and_the_rest_is_served():
    async with (
        running("[http.limits]\nstreams = 2\n", {}) as client,
        contextlib.AsyncExitStack() as open_ones,
    ):
        for _ in range(2):
            await open_ones.enter_async_context(streaming(client))
        await client.until(lambda: readers(client), lambda count: count == 2)
        answer = await ask(client, "/events")
        assert answer.status == 503
        assert answer.headers["retry-after"] == "10"
        assert json.loads(answer.body)["reason"] == "too_many_streams"
        assert (await ask(client, "/health")).status == 200
