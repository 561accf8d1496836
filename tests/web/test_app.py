"""The application behind real connections, on memory streams."""

import json

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from statusd import Document, Node, SourceInfo, Status, View
from statusd.web.access import SECURITY
from statusd.web.app import create_app
from statusd.web.edge.limits import Limits
from tests.web.client import CLOSE, CONTEXT, END, HOST, NOW, BigView, Web, service, snapshot


@attrs.frozen(kw_only=True)
class Teapot(View):
    name = "teapot"

    def paths(self):
        return ("/teapot",)

    def render(self, path, snapshot):
        return Document(body=b"short and stout", status=418, content_type="text/plain; charset=utf-8")


@pytest.fixture
async def site(nursery, autojump_clock):
    return Web.open(nursery, Teapot(context=CONTEXT), BigView(context=CONTEXT, size=300_000))


PATHS = ["/health", "/healthz", "/state", "/state/models/a%2Fb", "/teapot", "/big"]


async def test_health_is_the_documented_answer(site, autojump_clock):
    [answer] = await site.ask(b"GET /health HTTP/1.1" + CLOSE)
    assert (answer.status, answer.phrase, answer.body) == (200, "OK", b'{"status":"ok"}')
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.headers) == {
        "content-type", "content-length", "date", "connection", *SECURITY
    }  # fmt: skip


async def test_a_views_document_is_sent_as_it_is(site, autojump_clock):
    [answer] = await site.ask(b"GET /teapot?unknown=1&x HTTP/1.1" + CLOSE)
    assert (answer.status, answer.body) == (418, b"short and stout")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", [*PATHS, "/nope"])
async def test_head_has_the_headers_of_get_and_no_body(site, autojump_clock, path):
    answers = await site.ask(
        f"GET {path} HTTP/1.1".encode() + END + f"HEAD {path} HTTP/1.1".encode() + END,
        methods=("GET", "HEAD"),
    )
    got, head = (attrs.evolve(answer, headers={**answer.headers, "date": ""}) for answer in answers)
    assert head == attrs.evolve(got, body=b"")


async def test_streams_that_are_asked_for_all_at_once_are_bounded_too_and_places_come_back(
    nursery, autojump_clock
):
    web = Web.open(nursery, streams=3)
    for _ in range(2):
        clients = [web.connect() for _ in range(10)]
        async with trio.open_nursery() as asking:
            for client, _ in clients:
                asking.start_soon(client.send_all, b"GET /events HTTP/1.1" + END)
        await wait_all_tasks_blocked()
        answers = [(await client.receive_some()).partition(b"\r\n")[0] for client, _ in clients]
        assert sorted(answers) == [b"HTTP/1.1 200 OK"] * 3 + [b"HTTP/1.1 503 Service Unavailable"] * 7
        for client, connection in clients:
            await client.aclose()
            await web.ended[connection].wait()


async def test_the_head_of_a_stream_names_no_length_and_ends_at_once(site, autojump_clock):
    head, after = await site.ask(
        b"HEAD /events HTTP/1.1" + END + b"GET /health HTTP/1.1" + CLOSE, methods=("HEAD", "GET")
    )
    assert (head.status, head.body, after.status) == (200, b"", 200)
    assert head.headers["content-type"] == "text/event-stream"
    assert "content-length" not in head.headers


@pytest.mark.parametrize(
    "query", ["&".join(f"x{n}=1" for n in range(500)), "since=x&wait=x&path=nope", "&;=%&%zz=%ff"]
)
@pytest.mark.parametrize("path", ["/health", "/healthz", "/big", "/livez", "/metrics", "/explain", "/"])
async def test_what_takes_no_query_ignores_it_whatever_it_is(site, autojump_clock, path, query):
    [answer] = await site.ask(f"GET {path}?{query} HTTP/1.1".encode() + CLOSE)
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/state", "/readyz", "/events"])
async def test_more_parameters_than_anybody_means_are_refused_where_some_are_known(
    site, autojump_clock, path
):
    query = "&".join(f"x{n}=1" for n in range(500))
    [answer] = await site.ask(f"GET {path}?{query} HTTP/1.1".encode() + CLOSE)
    assert (answer.status, json.loads(answer.body)["reason"]) == (400, "bad_query")


@pytest.mark.parametrize("path", [*PATHS, "*"])
async def test_options_names_the_methods(site, autojump_clock, path):
    [answer] = await site.ask(f"OPTIONS {path} HTTP/1.1".encode() + CLOSE)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert "content-length" not in answer.headers  # RFC 9110, section 8.6


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "FROB", "get", "head", "Options"]
)
@pytest.mark.parametrize("path", PATHS)
async def test_other_methods_are_405_with_allow(site, autojump_clock, method, path):
    [answer] = await site.ask(f"{method} {path} HTTP/1.1".encode() + CLOSE)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert_problem(answer, "method_not_allowed")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["//", "/nope", "/health/", "//health", "/state/models/a/b", "/a%00%ff%0a", "/static/x"]
)
async def test_unknown_paths_are_404_whatever_the_method(site, autojump_clock, method, path):
    [answer] = await site.ask(f"{method} {path} HTTP/1.1".encode() + CLOSE)
    assert answer.status == 404
    assert_problem(answer, "not_found")


@pytest.mark.parametrize("path", ["/state/models/a/b", "/readyz/models%2Fa", "/explain/x", "/%73tate/x"])
async def test_a_node_that_is_not_there_is_told_from_a_path_that_is_not_served(site, autojump_clock, path):
    for method in ("GET", "PUT"):
        [answer] = await site.ask(f"{method} {path} HTTP/1.1".encode() + CLOSE)
        assert answer.status == 404
        assert json.loads(answer.body)["detail"].startswith("There is no node '")
    [answer] = await site.ask(b"GET /state/ HTTP/1.1" + CLOSE)
    assert json.loads(answer.body)["detail"] == "Nothing is served at this path."


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.2\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET /health HTTP/1.1" + HOST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /health HTTP/1.1" + HOST + b"Content-Length: x\r\n\r\n",
        b"GET /health HTTP/1.1" + HOST + b"Bad Name: x\r\n\r\n",
        b"GET health HTTP/1.1" + END,
        b"GET ?x HTTP/1.1" + END,
        b"GET * HTTP/1.1" + END,
        b"CONNECT a:443 HTTP/1.1" + END,
        b"GET /health\r\n\r\n",
        b"GET /hea\x00lth HTTP/1.1" + END,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS to a plain port\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_400_and_ends_the_connection(site, autojump_clock, request_head):
    [answer] = await site.ask(request_head + b"GET /health HTTP/1.1" + END)
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert_problem(answer, "bad_request")


async def test_a_refused_head_has_no_body(site, autojump_clock):
    [answer] = await site.ask(b"HEAD health HTTP/1.1" + END, methods=("HEAD",))
    assert (answer.status, answer.body) == (400, b"")


async def test_an_unknown_transfer_coding_is_501(site, autojump_clock):
    [answer] = await site.ask(b"GET /health HTTP/1.1" + HOST + b"Transfer-Encoding: gzip\r\n\r\n")
    assert answer.status == 501
    assert_problem(answer, "not_implemented")


@pytest.mark.parametrize("version", ["2.0", "3.0", "0.9"])
async def test_other_versions_are_505(site, autojump_clock, version):
    [answer] = await site.ask(f"GET /health HTTP/{version}".encode() + END)
    assert answer.status == 505
    assert_problem(answer, "version_not_supported")


async def test_a_higher_minor_version_is_served_as_1_1(site, autojump_clock):
    answers = await site.ask(b"GET /health HTTP/1.2" + END + b"GET /health HTTP/1.9" + CLOSE)
    assert [answer.status for answer in answers] == [200, 200]


async def test_a_header_over_the_limit_is_431(site, autojump_clock):
    [answer] = await site.ask(b"GET /health HTTP/1.1" + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n")
    assert answer.status == 431
    assert_problem(answer, "header_too_large")


async def test_a_header_within_the_limit_is_served(site, autojump_clock):
    [answer] = await site.ask(b"GET /health HTTP/1.1" + HOST + b"X: " + b"a" * 16_000 + b"\r\n\r\n")
    assert answer.status == 200


def chunked(size):
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"a" * size)


def sized(size):
    return b"Content-Length: %d\r\n\r\n%s" % (size, b"a" * size)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("body", [sized(65_537), chunked(65_537), sized(1_000_000), chunked(1_000_000)])
async def test_a_body_over_the_limit_is_413_for_every_method(site, autojump_clock, method, body):
    [answer] = await site.ask(f"{method} /health HTTP/1.1".encode() + HOST + body, methods=(method,))
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("body", [sized(65_536), chunked(65_536), sized(0), sized(5)])
async def test_a_body_within_the_limit_is_ignored_and_the_connection_goes_on(site, autojump_clock, body):
    answers = await site.ask(
        b"GET /health HTTP/1.1" + HOST + body,
        b"POST /health HTTP/1.1" + HOST + body,
        b"GET /health HTTP/1.1" + END,
    )
    assert [answer.status for answer in answers] == [200, 405, 200]


async def test_a_client_that_waits_for_100_continue_gets_it(site, autojump_clock):
    expecting = b"POST /health HTTP/1.1" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert (await site.exchange(expecting, b"ab")).startswith(b"HTTP/1.1 100 \r\n")
    [answer] = await site.ask(expecting, b"ab")
    assert answer.status == 405


async def test_a_failing_application_is_a_500_logged_and_the_connection_goes_on(
    nursery, autojump_clock, caplog
):
    def fail():
        raise ValueError("secret")

    app = create_app(attrs.evolve(service(), now=fail))
    site = Web.open(nursery, app=app)
    answers = await site.ask((b"GET /state HTTP/1.1" + END) * 2)
    assert [answer.status for answer in answers] == [500, 500]
    assert b"secret" not in answers[0].body
    assert_problem(answers[0], "internal_error")
    assert app.guard.failures == {"request": 2}
    assert [record.name for record in caplog.records] == ["statusd.web"]


async def test_a_tree_that_cannot_be_written_is_a_500_and_the_connection_goes_on(
    nursery, autojump_clock, caplog
):
    facts = {}
    facts["self"] = facts
    cyclic = snapshot(Node(status=Status.OK, facts=facts))
    site = Web.open(nursery, app=create_app(service(hub=lambda: cyclic)))
    answers = await site.ask(b"GET /state HTTP/1.1" + END + b"GET /health HTTP/1.1" + END)
    assert [answer.status for answer in answers] == [500, 200]
    assert "RecursionError" in caplog.text


async def test_the_log_of_quart_and_hypercorn_is_the_daemons(site, autojump_clock, capfd, caplog):
    await site.ask(b"GET /health HTTP/1.1" + END + b"GET /nope HTTP/1.1" + END + b"\x00")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def assert_problem(answer, reason):
    assert answer.headers["content-type"] == "application/problem+json"
    body = json.loads(answer.body)
    assert list(body) == ["type", "title", "status", "reason", "detail"]
    assert body["status"] == answer.status
    assert body["title"] == answer.phrase
    assert body["reason"] == reason


async def test_a_probe_that_outlasts_a_request_does_not_cost_the_answer(nursery, autojump_clock):
    async def refresh(_):
        await trio.sleep(3_600)  # as long as a source's timeout may be

    info = SourceInfo(name="a", plugin="p", backend="b")
    wing = Node(status=Status.OK, children={"a": Node(status=Status.OK, observed_at=NOW)})
    root = Node(status=Status.OK, children={"sources": wing})
    served = service(hub=lambda: snapshot(root), sources=(info,), refresh=refresh)
    site = Web.open(nursery, app=create_app(served))
    path = b"GET /state?since=7&wait=60 HTTP/1.1"
    [answer] = await site.ask(path + HOST + b"Cache-Control: no-cache\r\nConnection: close\r\n\r\n")
    assert answer.status == 200
    assert trio.current_time() < Limits().request_timeout
