"""HTTP/2: the same answers as over HTTP/1.1, and each request a matter of its own."""

import pytest
import trio
from h2.errors import ErrorCodes
from trio.testing import wait_all_tasks_blocked

from statusd.values import Secret
from statusd.web.access import Access
from tests.web.client import CONTEXT, BigView, Web, edge_of, service
from tests.web.edge.h2client import HOST, dial, frame

BODY = {"content-length": "5"}
CORPUS = [
    ("GET", "/health", {}),
    ("HEAD", "/health", {}),
    ("GET", "/healthz?x=1", {}),
    ("GET", "/state", {}),
    ("HEAD", "/state", {}),
    ("GET", "/state", {"if-none-match": "*"}),
    ("GET", "/state?since=7&wait=1", {}),
    ("GET", "/state?since=x", {}),
    ("GET", "/state/models/a%2Fb", {"cache-control": "no-cache"}),
    ("GET", "/state/models/a%2fb", {"cache-control": "max-age=0, max-age=1"}),
    ("GET", "/state/%ff%00", {}),
    ("GET", "/nope", {}),
    ("HEAD", "/nope", {}),
    ("GET", "//", {}),
    ("GET", "/metrics", {"accept": "text/plain"}),
    ("GET", "/openapi.json", {}),
    ("GET", "/", {}),
    ("OPTIONS", "/health", {}),
    ("OPTIONS", "*", {}),
    ("OPTIONS", "/state", {"origin": "https://a.example", "access-control-request-method": "GET"}),
    ("POST", "/health", {}),
    ("POST", "/health", BODY),
    ("get", "/health", {}),
    ("DELETE", "/nope", BODY),
    ("POST", "/health", {"content-length": "100000"}),
    ("GET", "/health", {"expect": "100-continue"}),
    ("GET", "/state", {"host": "evil.example"}),
    ("GET", "/health", {"host": "evil.example"}),
    ("GET", "/health", {"host": "a b"}),
    ("GET", "/health", {"host": "a@b"}),
    ("HEAD", "/events", {}),
    ("GET", "/events?path=nope", {}),
    ("GET", "/explain/models", {}),
    ("GET", "/readyz?verbose", {}),
]


@pytest.fixture
async def site(nursery, autojump_clock):
    return Web.open(nursery, BigView(context=CONTEXT))


@pytest.fixture(params=["front", "app"])
def stage(request, site):
    """Both ways to an answer."""
    if request.param == "app":
        site.edge.front = None
    return request.param


def plain(fields):
    return {
        name: value
        for name, value in fields.items()
        if name not in {"date", "connection", "transfer-encoding"}
    }


@pytest.mark.parametrize(
    ("method", "path", "fields"), CORPUS, ids=[f"{method} {path} {fields}" for method, path, fields in CORPUS]
)
async def test_an_answer_is_the_one_of_http_1_1(site, autojump_clock, stage, method, path, fields):
    body = b"a" * int(fields.get("content-length", 0))
    every = {"host": HOST, **fields}
    lines = "".join(f"{name}: {value}\r\n" for name, value in every.items())
    without_body = "HEAD" if "if-none-match" in fields else method
    sent = f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
    [wanted] = await site.ask(sent, methods=(without_body,))
    client = await dial(site)
    pairs = [
        (":authority", every["host"]),
        *((name, value) for name, value in fields.items() if name != "host"),
    ]
    got = await client.get(path, method, pairs, body[:60000] if body else None)
    assert (got.status, got.body, got.is_whole) == (wanted.status, wanted.body, True)
    assert plain(got.headers) == plain(wanted.headers)
    assert got.headers["date"].endswith(" GMT")
    assert not site.edge.guard.failures


async def test_the_token_is_wanted_here_too(nursery, autojump_clock, stage):
    served = service()
    site = Web(edge=edge_of(served), nursery=nursery)
    object.__setattr__(served, "access", Access(token=Secret("s3cret"), hosts=frozenset({HOST})))
    client = await dial(site)
    assert (await client.get("/state")).status == 401
    assert (await client.get("/state", fields=[("authorization", "Bearer s3cret")])).status == 200
    assert (await client.get("/health")).status == 200


async def test_requests_are_answered_beside_each_other(site, autojump_clock, stage):
    client = await dial(site)
    numbers = [await client.ask(path) for path in ["/big", "/health", "/big", "/state", "/nope"]]
    ended = []
    while len(ended) < len(numbers):
        assert await client.read()
        ended += [number for number in numbers if client.got[number].is_whole and number not in ended]
    big, health, other, state, nope = numbers
    assert set(ended[:3]) == {health, state, nope}
    assert [client.got[number].status for number in numbers] == [200, 200, 200, 200, 404]
    assert [len(client.got[number].body) for number in (big, other)] == [8 << 20] * 2


async def test_large_answers_take_turns(site, autojump_clock, stage):
    client = await dial(site)
    numbers = [await client.ask("/big") for _ in range(3)]
    while not any(client.got[number].is_whole for number in numbers):
        await client.read()
    assert min(len(client.got[number].body) for number in numbers) > 7 << 20


async def test_a_hundred_requests_at_once_are_answered(site, autojump_clock, stage):
    client = await dial(site)
    numbers = [await client.ask("/health") for _ in range(100)]
    assert [(await client.answer(number)).status for number in numbers] == [200] * 100


async def test_an_event_stream_goes_on_beside_requests(site, autojump_clock):
    client = await dial(site)
    events = await client.ask("/events")
    while b"data:" not in client.got[events].body:
        await client.read()
    for _ in range(3):
        await trio.sleep(200)  # longer than any deadline
        assert (await client.get("/health")).status == 200
        assert (await client.get("/state?since=7&wait=60")).status == 200
    assert not client.got[events].is_whole
    assert client.got[events].reset is None


async def test_event_streams_share_one_bound_with_those_of_http_1_1(nursery, autojump_clock):
    site = Web.open(nursery, streams=1)
    client = await dial(site)
    first = await client.ask("/events")
    while not client.got[first].body:
        await client.read()
    assert (await client.get("/events")).status == 503
    client.h2.reset_stream(first, ErrorCodes.CANCEL)
    await client.flush()
    await wait_all_tasks_blocked()
    again = await client.ask("/events")
    while not client.got[again].body:
        await client.read()
    assert client.got[again].status == 200


async def test_a_request_that_is_taken_back_is_no_failure(site, autojump_clock, caplog):
    client = await dial(site)
    number = await client.ask("/state?since=7&wait=60")
    await wait_all_tasks_blocked()
    client.h2.reset_stream(number, ErrorCodes.CANCEL)
    assert (await client.get("/health")).status == 200
    assert site.edge.traffic.waiting == 0
    assert not site.edge.guard.failures
    assert not caplog.records


async def test_what_was_asked_is_answered_at_once_when_the_client_has_closed_its_half(site, autojump_clock):
    client = await dial(site)
    numbers = [await client.ask(path) for path in ("/health", "/state?since=7&wait=60", "/events")]
    await client.stream.send_eof()
    assert await client.until_closed() == 0
    assert [client.got[number].is_whole for number in numbers] == [True, True, False]


async def test_both_stages_are_counted_and_logged(site, autojump_clock, stage):
    taken = []

    class Log:
        def take(self, exchange):
            taken.append(exchange)

    site.edge.traffic.log = Log()
    client = await dial(site)
    await client.get("/health?x=1", "HEAD")
    await client.get("/nope")
    await client.get("/health", fields=[("bad name", "x")])
    assert [(one.client, one.method, one.target, one.version, one.status) for one in taken] == [
        ("192.0.2.1", "HEAD", "/health?x=1", "2", 200),
        ("192.0.2.1", "GET", "/nope", "2", 404),
        ("192.0.2.1", "GET", "/health", "2", 400),
    ]
    assert {name for _, name, status in site.edge.traffic.requests if status != 400} == {
        "front" if site.edge.front else "app"
    }
    assert taken[0].size == 0
    assert taken[1].size > 0


# Requests that are none, or ask for what is not served


PSEUDO = {":method": "GET", ":scheme": "https", ":path": "/health", ":authority": HOST}


@pytest.mark.parametrize(
    "fields",
    {
        "a path that is not ASCII": [*(PSEUDO | {":path": b"/\xff"}).items()],
        "a path with a space": [*(PSEUDO | {":path": "/a b"}).items()],
        "an empty path": [*(PSEUDO | {":path": ""}).items()],
        "an absolute path": [*(PSEUDO | {":path": "http://a/health"}).items()],
        "an asterisk": [*(PSEUDO | {":path": "*"}).items()],
        "no path": [*PSEUDO.items()][:2],
        "no scheme": [(":method", "GET"), (":path", "/"), (":authority", "a")],
        "another scheme": [*(PSEUDO | {":scheme": "ftp"}).items()],
        "no method": [*PSEUDO.items()][1:],
        "a method twice": [*PSEUDO.items(), (":method", "GET")],
        "an unknown pseudo field": [*PSEUDO.items(), (":unknown", "x")],
        "a status": [*PSEUDO.items(), (":status", "200")],
        "a pseudo field at the end": [*[*PSEUDO.items()][:3], ("a", "b"), (":authority", "a")],
        "connect": [(":method", "CONNECT"), (":authority", "a:80")],
        "extended connect": [*(PSEUDO | {":method": "CONNECT", ":protocol": "websocket"}).items()],
        "a name in capitals": [*PSEUDO.items(), ("Accept", "x")],
        "an empty name": [*PSEUDO.items(), ("", "x")],
        "a name with a space": [*PSEUDO.items(), ("a b", "x")],
        "a value of two lines": [*PSEUDO.items(), ("a", "x\r\nb: c")],
        "a value with a zero": [*PSEUDO.items(), ("a", "x\x00")],
        "space before a value": [*PSEUDO.items(), ("a", " x")],
        "connection": [*PSEUDO.items(), ("connection", "close")],
        "transfer-encoding": [*PSEUDO.items(), ("transfer-encoding", "chunked")],
        "upgrade": [*PSEUDO.items(), ("upgrade", "websocket")],
        "te": [*PSEUDO.items(), ("te", "gzip")],
        "two hosts": [*PSEUDO.items(), ("host", "b")],
        "two hosts without an authority": [*[*PSEUDO.items()][:3], ("host", "a"), ("host", "a")],
        "no host": [*PSEUDO.items()][:3],
        "a host with a user": [*(PSEUDO | {":authority": "me@a"}).items()],
        "a body that does not come": [*PSEUDO.items(), ("content-length", "5")],
    }.items(),
    ids=lambda pair: pair[0],
)
async def test_what_is_no_request_is_refused_alone(site, autojump_clock, fields):
    client = await dial(site)
    waiting = await client.ask("/state?since=7&wait=5")
    client.h2.send_headers(3, fields[1], end_stream=True)
    await client.flush()
    got = await client.answer(3)
    assert (got.status, got.is_whole, got.reset) == (400, True, None)
    assert (await client.answer(waiting)).status == 200
    assert (await client.get("/health")).status == 200
    assert not site.edge.guard.failures


@pytest.mark.parametrize(
    "fields",
    [
        [*[*PSEUDO.items()][:3], ("host", "a")],
        [*PSEUDO.items(), ("host", HOST)],
        [*PSEUDO.items(), ("te", "trailers"), ("cookie", "a=b"), ("cookie", "c=\xff")],
        [*(PSEUDO | {":authority": "[::1]:80"}).items()],
    ],
)
async def test_unusual_requests_are_answered(site, autojump_clock, stage, fields):
    client = await dial(site)
    client.h2.send_headers(1, fields, end_stream=True)
    await client.flush()
    assert (await client.answer(1)).status == 200


async def test_a_header_that_is_too_large_is_refused(site, autojump_clock):
    client = await dial(site)
    assert (await client.get("/health", fields=[("x", "a" * 15_000)])).status == 200
    assert (await client.get("/health", fields=[("x", "a" * 20_000)])).status == 431
    assert (await client.get("/health", "HEAD", [("x", "a" * 20_000)])).body == b""
    assert (await client.get("/health")).status == 200
    assert site.edge.traffic.limited["header_bytes"] == 2


async def test_many_small_fields_count_for_more_than_their_bytes(site, autojump_clock):
    client = await dial(site)
    assert (await client.get("/health", fields=[("x", "")] * 600)).status == 431
    assert (await client.get("/health")).status == 200


async def test_a_header_that_grows_when_it_is_unpacked_ends_the_connection(site, autojump_clock):
    client = await dial(site)
    assert (await client.get("/health", fields=[("x", "a" * 3000)])).status == 200
    await client.ask("/health", fields=[("x", "a" * 3000)] * 100)
    await client.until_closed()
    assert client.terminated == [(ErrorCodes.ENHANCE_YOUR_CALM, 1)]


# Bodies


async def test_a_body_beyond_the_bound_is_refused_and_no_longer_wanted(site, autojump_clock):
    client = await dial(site)
    number = await client.ask("/health", "POST", body=b"a" * 60_000, is_end=False)
    while client.h2.local_flow_control_window(number) < 10_000:
        await client.read()
    client.h2.send_data(number, b"a" * 10_000)
    await client.flush()
    got = await client.answer(number)
    assert (got.status, got.is_whole) == (413, True)
    while got.reset is None:
        await client.read()
    assert got.reset == ErrorCodes.NO_ERROR
    assert (await client.get("/health")).status == 200


async def test_a_body_that_says_that_it_is_too_large_is_not_waited_for(site, autojump_clock):
    client = await dial(site)
    got = await client.answer(
        await client.ask("/health", "POST", [("content-length", "100000")], is_end=False)
    )
    assert (got.status, got.is_whole) == (413, True)


async def test_a_slow_body_is_a_408(site, autojump_clock):
    client = await dial(site)
    began = trio.current_time()
    got = await client.answer(await client.ask("/health", "POST", body=b"abc", is_end=False))
    assert (got.status, trio.current_time() - began) == (408, site.edge.limits.body_timeout)
    assert (await client.get("/health")).status == 200


async def test_data_after_the_answer_is_no_failure(site, autojump_clock):
    """One of the ways in which stock hypercorn 0.18 ends."""
    client = await dial(site)
    number = await client.ask("/health", "POST", body=b"abc", is_end=False)
    await client.answer(number)
    await client.stream.send_all(frame(0, b"abc", stream=number) * 3)
    await client.stream.send_all(frame(0, b"abc", stream=number, flags=1))
    assert (await client.get("/health")).status == 200
    assert not site.edge.guard.failures


async def test_trailers_are_passed_over(site, autojump_clock):
    client = await dial(site)
    number = await client.ask("/health", "POST", body=b"abc", is_end=False)
    client.h2.send_headers(number, [("x", "y")], end_stream=True)
    await client.flush()
    assert (await client.answer(number)).status == 405
    assert (await client.get("/health")).status == 200


async def test_trailers_do_not_hide_that_a_body_is_too_short(site, autojump_clock):
    client = await dial(site)
    number = await client.ask("/health", "POST", [("content-length", "5")], body=b"abc", is_end=False)
    client.h2.send_headers(number, [("x", "y")], end_stream=True)
    await client.flush()
    assert (await client.answer(number)).reset == ErrorCodes.PROTOCOL_ERROR
    assert (await client.get("/health")).status == 200


async def test_the_client_is_told_to_go_on(site, autojump_clock):
    client = await dial(site)
    number = await client.ask("/health", "POST", [("expect", "100-continue")], is_end=False)
    while not client.got[number].informed:
        await client.read()
    client.h2.send_data(number, b"abc", end_stream=True)
    await client.flush()
    got = await client.answer(number)
    assert (got.informed, got.status) == ([100], 405)


async def test_bodies_of_many_requests_are_not_kept_without_a_bound(site, autojump_clock):
    client = await dial(site)
    numbers = [await client.ask("/health", "POST", body=b"a" * 16_000, is_end=False) for _ in range(4)]
    numbers += [await client.ask("/health", "POST", is_end=False) for _ in range(8)]
    for number in numbers[4:]:
        while client.h2.local_flow_control_window(number) < 16_000:
            await client.read()
        client.h2.send_data(number, b"a" * 16_000)
        await client.flush()
    await wait_all_tasks_blocked()
    while sum(one.reset == ErrorCodes.REFUSED_STREAM for one in client.got.values()) < 4:
        await client.read()
    assert site.edge.traffic.limited["body_bytes"] == 4


# The application


async def test_the_application_gets_the_request_as_asgi_has_it(nursery, autojump_clock):
    seen = []

    async def app(scope, receive, send):
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        seen.append((scope, body))
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"Connection", b"close"), (b"X", b"y")],
            }
        )
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body"})

    client = await dial(Web.open(nursery, app=app))
    got = await client.get("/a%20b?c", "POST", [("x", "1"), ("x", "2")], b"hello" * 5000)
    [(scope, body)] = seen
    assert body == b"hello" * 5000
    assert (scope["type"], scope["http_version"], scope["method"]) == ("http", "2", "POST")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c")
    assert scope["headers"] == [(b"host", HOST.encode()), (b"x", b"1"), (b"x", b"2")]
    assert (got.status, got.body, plain(got.headers)) == (200, b"a", {"x": "y"})


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], (500, True, None)),
        (["http.response.start"], (200, False, ErrorCodes.INTERNAL_ERROR)),
        (["http.response.body"], (500, True, None)),
        (["http.response.start", "http.response.start"], (200, False, ErrorCodes.INTERNAL_ERROR)),
        (["nonsense"], (500, True, None)),
    ],
)
@pytest.mark.parametrize("raises", [True, False])
async def test_an_application_that_fails_fails_one_request(
    nursery, autojump_clock, messages, expected, raises
):
    async def app(scope, receive, send):
        for kind in messages if scope["path"] == "/bad" else ["http.response.start"]:
            await send({"type": kind, "status": 200, "headers": [], "more_body": True})
        if scope["path"] != "/bad":
            await send({"type": "http.response.body", "body": b"well"})
        elif raises:
            raise KeyError

    site = Web.open(nursery, app=app)
    client = await dial(site)
    got = await client.get("/bad")
    assert (got.status, got.is_whole, got.reset) == expected
    assert (await client.get("/good")).body == b"well"
    assert site.edge.guard.failures["connection"] == 0
