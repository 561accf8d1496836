"""Who may ask for what: names, the token, other origins, and addresses for probe endpoints alone."""

import base64
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Document, Secret, View
from statusd.web.access import CHALLENGE, GUARDED, PROBES, SECURITY, Access, is_probe
from tests.web.client import CONTEXT, Web, edge_of, service

TOKEN = "s3cret-t0ken"
WHOEVER = (
    "/health",
    "/healthz",
    "/livez",
    "/readyz",
    "/readyz/models",
    "/status",
    "/status/a",
    "/queue/status",
    "/models",
)
GUARDED_PATHS = (
    "/",
    "/state",
    "/state/models",
    "/state/models/a%2Fb",
    "/explain",
    "/explain/models",
    "/events",
)
OPEN_PATHS = ("/metrics", "/openapi.json")
SECRET_PATHS = (*GUARDED_PATHS, *OPEN_PATHS)


@attrs.frozen(kw_only=True)
class Documented(View):
    """The documented endpoints, which plugins serve."""

    name = "documented"

    def paths(self):
        return ("/status", "/status/a", "/queue/status", "/models")

    def render(self, path, snapshot):
        return Document(body=b"{}")


def web(nursery, *, is_probes_only=False, **rules):
    """Return what serves by these rules; the page and the tree are there, and the documented endpoints."""
    served = attrs.evolve(service(Documented(context=CONTEXT)), access=Access(**rules))
    return Web(edge=edge_of(served), nursery=nursery, is_probes_only=is_probes_only)


def asking(path, *fields, method="GET", host="127.0.0.1"):
    """Return the bytes of the last request of a connection."""
    named = () if host is None else (f"Host: {host}",)
    return "\r\n".join((f"{method} {path} HTTP/1.1", *named, *fields, "Connection: close", "", "")).encode()


async def ask(site, path, *fields, method="GET", host="127.0.0.1"):
    """Return the answer; of an event stream, that to HEAD, which ends."""
    if path.startswith("/events") and method == "GET":
        method = "HEAD"
    [answer] = await site.ask(asking(path, *fields, method=method, host=host), methods=(method,))
    return answer


def reason_of(answer):
    return json.loads(answer.body)["reason"]


# Names


OWN = [
    "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000", "192.0.2.7:80", "[2001:db8::7]", "10.0.0.5:", "[::ffff:10.0.0.5]",
    "localhost", "localhost:8000", "LocalHost", "localhost.", "localhost.:8000", "status.example", "Status.Example:8443",
    "status.example.", "status.example.:80", "",
]  # fmt: skip
STRANGE = [
    "localhost.evil", "localhost.evil:8000", "evil.localhost", "localhost..", "xlocalhost", "evil", "evil.example:8000",
    "127.0.0.1.evil", "127.0.0.1.nip.io", "status.example.evil", "a.status.example", "127.1", "0x7f.0.0.1", "2130706433",
    "127.0.0.01", "1.2.3", "::1x", "[127.0.0.1]", "[::1].evil", ".", "..", ":80", ":", "localhost%00", "localhost%2eevil",
]  # fmt: skip


@pytest.mark.parametrize("host", OWN)
async def test_the_tree_is_shown_to_who_asks_by_address_localhost_or_a_configured_name(
    nursery, autojump_clock, host
):
    site = web(nursery, hosts=frozenset({"status.example"}))
    for path in GUARDED_PATHS:
        assert (await ask(site, path, host=host)).status == 200


@pytest.mark.parametrize("host", STRANGE)
def test_a_name_that_strangers_can_own_is_not_known(host):
    assert not Access(hosts=frozenset({"status.example"})).knows_host(host)


@pytest.mark.parametrize("host", ["localhost.evil:8000", "127.0.0.1.nip.io", "evil", ".", "localhost.."])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
async def test_by_a_strangers_name_the_tree_is_421_whatever_the_method(nursery, autojump_clock, host, method):
    site = web(nursery)
    for path in (*GUARDED_PATHS, "/state/nope", "/explain/nope", "/%73tate", "/state?x", "/%65vents"):
        answer = await ask(site, path, method=method, host=host)
        assert (answer.status, answer.phrase) == (421, "Misdirected Request"), path
        if answer.body:
            assert reason_of(answer) == "unknown_host"
            assert "[http] hosts" in json.loads(answer.body)["detail"]


@pytest.mark.parametrize("path", [*WHOEVER, *OPEN_PATHS])
async def test_what_shows_no_tree_takes_any_host(nursery, autojump_clock, path):
    assert (await ask(web(nursery), path, host="evil.example:8000")).status == 200


@pytest.mark.parametrize("path", ["//state", "/state/", "//", "/nope", "/State"])
async def test_paths_where_nothing_is_take_any_host_or_none(nursery, autojump_clock, path):
    assert (await ask(web(nursery), path, host="evil")).status in {404, 421}
    assert (await ask(web(nursery), path)).status == 404


async def test_without_a_host_there_is_none_to_forge(nursery, autojump_clock):
    [answer] = await web(nursery).ask(b"GET /state HTTP/1.0\r\n\r\n")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://evil/state", "localhost", 421),
        ("http://localhost/state", "evil", 200),
        ("http://localhost:1/", "evil", 200),
        ("HTTP://[::1]:8000/events", "evil", 200),
        ("https://localhost.evil/state", "localhost", 421),
        ("http://evil/health", "evil", 200),
        ("http://evil", "localhost", 421),
        ("http://user@localhost/state", "localhost", 400),
        ("http://evil@localhost/health", "localhost", 400),
        ("http://[::1/state", "localhost", 400),
        ("http:///state", "localhost", 400),
        ("ftp://localhost/state", "localhost", 400),
    ],
)
async def test_the_host_in_the_target_goes_before_the_field(nursery, autojump_clock, target, host, status):
    assert (await ask(web(nursery), target, method="HEAD", host=host)).status == status


async def test_the_host_in_the_target_needs_no_field_in_http_1_0_and_one_in_http_1_1(nursery, autojump_clock):
    site = web(nursery)
    for host, status in ((b"evil", 421), (b"localhost", 200)):
        [answer] = await site.ask(b"GET http://" + host + b"/state HTTP/1.0\r\n\r\n")
        assert answer.status == status
    [answer] = await site.ask(b"GET http://localhost/state HTTP/1.1\r\n\r\n")
    assert answer.status == 400


# The token


def basic(password, user="any"):
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


GOOD = [
    f"Authorization: Bearer {TOKEN}", f"authorization: bearer  {TOKEN}", f"Authorization:\tBEARER {TOKEN}\t", basic(TOKEN),
    basic(TOKEN, ""), basic(TOKEN, "ä"),
]  # fmt: skip
BAD = [
    "X: y", f"Authorization: {TOKEN}", f"Authorization: Bearer{TOKEN}", "Authorization: Bearer", "Authorization:",
    f"Authorization: Bearer {TOKEN}x", f"Authorization: Bearer {TOKEN[:-1]}", f"Authorization: Token {TOKEN}",
    f"Authorization: Bearer {TOKEN.upper()}", f"Authorization: Bearer {TOKEN}, Bearer {TOKEN}",
    f"Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}",
    basic(f"{TOKEN}x"), basic(f"x:{TOKEN}"), basic(""), "Authorization: Basic", "Authorization: Basic !", "Authorization: Basic ä",
    "Authorization: Basic " + base64.b64encode(TOKEN.encode()).decode(), basic(TOKEN).rstrip("=") + "=!",
    "Authorization: Bearer ä", "Authorization: Basic YTpi YTpi", f"Cookie: token={TOKEN}", f"X-Authorization: Bearer {TOKEN}",
]  # fmt: skip


@pytest.mark.parametrize("field", GOOD)
async def test_the_token_opens_everything(nursery, autojump_clock, field):
    site = web(nursery, token=Secret(TOKEN))
    for path in (*SECRET_PATHS, *WHOEVER):
        assert (await ask(site, path, field)).status == 200, path
    assert (await ask(site, "/nope", field)).status == 404
    assert (await ask(site, "/nope", field, method="OPTIONS")).status == 404
    assert (await ask(site, "/state", field, method="POST")).status == 405


@pytest.mark.parametrize("field", BAD)
async def test_without_the_token_everything_but_probe_endpoints_is_401(nursery, autojump_clock, field):
    site = web(nursery, token=Secret(TOKEN))
    for path in (
        *SECRET_PATHS,
        "/nope",
        "/state/nope",
        "/status/../state",
        "//health",
        "/health/",
        "/%6detrics",
    ):
        if path.startswith("/status/"):
            assert (await ask(site, path, field)).status == 404
            continue
        for method in ("GET", "HEAD", "POST"):
            answer = await ask(site, path, field, method=method)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, CHALLENGE), path
            if answer.body:
                assert reason_of(answer) == "unauthorized"
                assert TOKEN not in answer.body.decode()
    for path in WHOEVER:
        assert (await ask(site, path, field)).status == 200, path


async def test_without_the_token_options_is_204_and_tells_nothing(nursery, autojump_clock):
    site = web(nursery, token=Secret(TOKEN))
    answers = [
        (await ask(site, path, method="OPTIONS"))
        for path in ("/state", "/state/models", "/state/nope", "/metrics", "/nope", "/nope/x")
    ]
    assert {answer.status for answer in answers} == {204}
    shown = [{**answer.headers, "date": ""} for answer in answers]
    assert all(one == shown[0] for one in shown)


async def test_with_the_empty_token_nobody_gets_in(nursery, autojump_clock):
    site = web(nursery, token=Secret())
    for field in (
        "X: y",
        "Authorization: Bearer",
        "Authorization: Bearer ",
        "Authorization:",
        basic(""),
        *GOOD,
    ):
        assert (await ask(site, "/state", field)).status == 401
        assert (await ask(site, "/health", field)).status == 200


async def test_the_host_is_looked_at_before_the_token(nursery, autojump_clock):
    site = web(nursery, token=Secret(TOKEN))
    assert (await ask(site, "/state", GOOD[0], host="evil")).status == 421
    assert (await ask(site, "/state", host="evil")).status == 421
    assert (await ask(site, "/metrics", host="evil")).status == 401


@given(st.text() | st.sampled_from([line.partition(":")[2] for line in BAD]))
def test_nothing_but_the_token_is_the_token(value):
    fields = {"authorization": value}
    admitted = Access(token=Secret(TOKEN)).admits("/state", fields)
    assert not admitted or TOKEN in value or value.lower().startswith("basic")
    assert not Access(token=Secret()).admits("/state", fields)


# Addresses for probe endpoints alone


async def test_at_an_address_for_probes_all_else_is_404(nursery, autojump_clock):
    for rules in ({}, {"token": Secret(TOKEN)}):
        site = web(nursery, is_probes_only=True, **rules)
        for path in WHOEVER:
            assert (await ask(site, path, host="evil")).status == 200
            assert (await ask(site, path, method="OPTIONS")).status == 204
            assert (await ask(site, path, method="POST")).status == 405
        for path in (*SECRET_PATHS, "/nope", "*", "/%73tate", "//health", "/health/"):
            for method in ("GET", "HEAD", "OPTIONS", "POST"):
                if path == "*" and method != "OPTIONS":
                    continue
                for field in ("X: y", GOOD[0]):
                    answer = await ask(site, path, field, method=method)
                    assert answer.status == 404, (method, path)


@pytest.mark.parametrize("path", ["/hea%6cth", "/%73tatus", "/status/%61", "/readyz/models/a%2fb"])
def test_a_probe_endpoint_is_one_in_every_spelling(path):
    assert is_probe(path)


@pytest.mark.parametrize(
    "path", ["*", "/", "", "/healthx", "/Health", "/health/", "//health", "/state", "/statusx", "/models/x", "/queue", "/livez/x"]
)  # fmt: skip
def test_what_only_looks_like_a_probe_endpoint_is_none(path):
    assert not is_probe(path)


def test_what_probes_ask_and_what_is_guarded_are_apart():
    assert not set(PROBES) & set(GUARDED)


# Other origins


ORIGIN = "https://board.example"
OTHER = "https://other.example"


async def test_without_origins_nothing_is_said_about_them(nursery, autojump_clock):
    site = web(nursery)
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = await ask(
            site, "/models", f"Origin: {ORIGIN}", "Access-Control-Request-Method: GET", method=method
        )
        assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/models", 200), ("/state", 200), ("/nope", 404), ("/state/nope", 404), ("/metrics", 200)],
)
async def test_a_configured_origin_may_read_and_every_answer_varies(nursery, autojump_clock, path, status):
    site = web(nursery, origins=frozenset({ORIGIN}))
    vary = "Accept, Origin" if path == "/metrics" else "Origin"
    asked = await ask(site, path, f"Origin: {ORIGIN}")
    assert asked.status == status
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert asked.headers["access-control-expose-headers"] == "ETag, Age, Cache-Status"
    assert asked.headers["vary"] == vary
    assert "access-control-allow-credentials" not in asked.headers
    strangers = (OTHER, "null", ORIGIN.upper(), f"{ORIGIN}:443", f"{ORIGIN}.evil", f"{ORIGIN}, {ORIGIN}", "")
    for fields in ((), *((f"Origin: {origin}",) for origin in strangers)):
        answer = await ask(site, path, *fields)
        assert (answer.status, answer.headers["vary"]) == (status, vary)
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_everybody_may_read_where_every_origin_is_configured_and_nothing_varies(
    nursery, autojump_clock
):
    site = web(nursery, origins=frozenset({"*"}))
    for fields in ((), (f"Origin: {OTHER}",), ("Origin: null",)):
        answer = await ask(site, "/models", *fields)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers


async def test_a_script_that_may_read_may_read_304_and_refusals_too(nursery, autojump_clock):
    site = web(nursery, origins=frozenset({ORIGIN}), token=Secret(TOKEN))
    tag = (await ask(site, "/models")).headers["etag"]
    mine = f"Origin: {ORIGIN}"
    for path, fields, host, status in (
        ("/models", (f"If-None-Match: {tag}",), "127.0.0.1", 304),
        ("/metrics", (), "127.0.0.1", 401),
        ("/state", (), "evil", 421),
    ):
        answer = await ask(site, path, mine, *fields, host=host, method="HEAD")
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("token", [None, Secret(TOKEN), Secret()])
@pytest.mark.parametrize("origins", [frozenset({ORIGIN}), frozenset({"*"})])
async def test_a_preflight_needs_no_token_and_says_what_may_be_sent(nursery, autojump_clock, token, origins):
    site = web(nursery, origins=origins, token=token)
    fields = (
        f"Origin: {ORIGIN}",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: authorization",
    )
    for path in ("/state", "/metrics", "/events", "/models"):
        answer = await ask(site, path, *fields, method="OPTIONS")
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] in {ORIGIN, "*"}
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "cache-control", "if-none-match", "last-event-id"} <= set(allowed)
        assert answer.headers["access-control-max-age"] == "600"
    answer = await ask(site, "/state", f"Origin: {OTHER}", *fields[1:], method="OPTIONS")
    assert ("access-control-allow-methods" in answer.headers) is (origins == {"*"})


async def test_with_every_origin_a_script_gets_in_by_a_token_of_its_own_and_by_no_other(
    nursery, autojump_clock
):
    """Browsers send what they keep for a site only where the answer says so by more than an asterisk."""
    site = web(nursery, origins=frozenset({"*"}), token=Secret(TOKEN))
    answer = await ask(site, "/metrics", f"Origin: {OTHER}", f"Authorization: Bearer {TOKEN}")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in answer.headers


# What every answer carries


@pytest.mark.parametrize(
    ("data", "method", "status"),
    [
        (asking("/health"), "GET", 200),
        (asking("/nope"), "GET", 404),
        (asking("/state", host="evil"), "GET", 421),
        (asking("/metrics", method="POST"), "POST", 405),
        (asking("/health", method="OPTIONS"), "OPTIONS", 204),
        (asking("*", method="OPTIONS"), "OPTIONS", 204),
        (asking("/models", "If-None-Match: *", method="HEAD"), "HEAD", 304),
        (asking("/events", method="HEAD"), "HEAD", 200),
        (asking("/state?since=x"), "GET", 400),
        (asking("/health", "Content-Length: 99999999"), "GET", 413),
        (asking("/health", "Transfer-Encoding: gzip"), "GET", 501),
        (asking("/health", "X: " + "x" * 40_000), "GET", 431),
        (b"GET /health HTTP/3.0\r\nHost: a\r\n\r\n", "GET", 505),
        (b"\x00\r\n\r\n", "GET", 400),
    ],
)  # fmt: skip
async def test_every_answer_carries_the_security_fields(nursery, autojump_clock, data, method, status):
    [answer] = await web(nursery).ask(data, methods=(method,))
    assert answer.status == status
    assert {name: answer.headers.get(name) for name in SECURITY} == dict(SECURITY)


@pytest.mark.parametrize("field", ["X: y", "If-None-Match: *"])
async def test_the_page_has_a_policy_of_its_own(nursery, autojump_clock, field):
    answer = await ask(web(nursery), "/", field, method="HEAD")
    assert answer.status == (304 if "None" in field else 200)
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert {name: answer.headers[name] for name in SECURITY if name != "content-security-policy"} == {
        name: value for name, value in SECURITY.items() if name != "content-security-policy"
    }
