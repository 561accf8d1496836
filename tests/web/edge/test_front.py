"""The front stage answers what it answers as the application does, to the byte and at every moment."""

import itertools
import re

import attrs
import h11
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from statusd import Document, Node, Report, Secret, SourceInfo, Status, View, problem
from statusd.model.basis import Basis
from statusd.web.access import Access
from statusd.web.answering import Answers
from statusd.web.asked import HEEDED
from statusd.web.edge.front import LARGEST, REMEMBERED, Front
from statusd.web.edge.glance import LONGEST, glance
from statusd.web.edge.traffic import FRONT
from tests.web.client import CONTEXT, NOW, Web, edge_of, service, snapshot
from tests.web.edge.test_fuzz import mutated, requests

DATE = re.compile(rb"date: [^\r]+\r\n", re.IGNORECASE)
"""The one field that may differ: either stage looks at the clock when it answers."""
NEXT = b"GET /healthz?kept HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""Is answered where the connection is kept."""
TOKEN = "s3cret-t0ken"
ORIGIN = "https://board.example"


@attrs.frozen(kw_only=True)
class Documented(View):
    """One document of each kind that a view can have."""

    name = "documented"

    def paths(self):
        return (
            "/models",
            "/queue/status",
            "/status",
            "/status/one",
            "/large",
            "/huge",
            "/empty",
            "/caf%C3%A9",
        )

    def sources(self, path):
        return {"/status": ("one",), "/models": ("one", "two"), "/queue/status": ("live",)}.get(path, ())

    def render(self, path, snapshot):
        match path:
            case "/status":
                return problem(503, "Server is not available", "refused", "No.")
            case "/queue/status":
                return Document(body=b"{}", detail="redis_unreachable")
            case "/large":
                return Document(body=b"x" * (LARGEST + 1), content_type="text/plain; charset=utf-8")
            case "/huge":
                return Document(body=b"x" * 300_000, content_type="text/plain")
            case "/empty":
                return Document(body=b"", status=418, content_type="text/plain")
            case _:
                return Document(body=b'{"path": "%s %d"}' % (path.encode(), snapshot.version))


@attrs.frozen(kw_only=True)
class Failing(View):
    """A view that never works."""

    name = "failing"

    def paths(self):
        return ("/failing",)

    def render(self, path, snapshot):
        raise RuntimeError


def seen(observed, lifetime=7.5, reason="ok", **rest):
    """Return the node of a source that was seen then."""
    newest = Report.ok() if reason == "ok" else Report.down(reason)
    return Node(
        status=Status.OK,
        observed_at=observed,
        expires_at=observed + lifetime,
        basis=Basis(newest=newest),
        **rest,
    )


SOURCES = tuple(SourceInfo(name=name, plugin="p", backend="p") for name in ("one", "two", "live"))


def aged(*ages):
    """Return the sources with these ages beyond which they are probed."""
    return tuple(attrs.evolve(info, max_age=age) for info, age in zip(SOURCES, ages, strict=True))


LIVE = aged(None, None, 0.0)
AGED = aged(0.5, 2.0, None)


def tree(*, one=NOW - 3.4, two=NOW - 0.2, live=NOW - 0.1, reason="ok", version=1):
    """Return a snapshot in which the sources were seen then."""
    parts = {"readers": Node(status=Status.OK, observed_at=one - 1.3, children={"a": Node(status=Status.OK)})}
    sources = {"one": seen(one, reason=reason, children=parts), "two": seen(two, 0.9), "live": seen(live)}
    model = Node(status=Status.OK, facts={"candidates": []})
    wings = {
        "sources": Node(status=Status.OK, children=sources),
        "models": Node(status=Status.OK, children={"a%2Fb": model}),
        "plugins": Node(status=Status.OK),
        "daemon": Node(status=Status.OK),
    }
    return snapshot(Node(status=Status.OK, children=wings), revision=700 + version, version=version)


@attrs.define(eq=False)
class Daemon:
    """What is served, by a clock and from a tree that the test moves.

    Attributes:
        now: seconds since 1970.
        tree: the newest snapshot.
    """

    access: Access = attrs.field(factory=Access)
    sources: tuple[SourceInfo, ...] = SOURCES
    now: float = NOW + 0.25
    tree: object = attrs.field(factory=tree)
    service: object = attrs.field(init=False)

    def __attrs_post_init__(self):
        views = (Documented(context=CONTEXT), Failing(context=CONTEXT))
        found = service(
            *views,
            hub=lambda: self.tree,
            sources=self.sources,
            models={"a%2Fb": ["one", "two"]},
            now=lambda: self.now,
        )
        self.service = attrs.evolve(found, access=self.access)

    def front(self, *, is_probes_only=False):
        """Return a front stage that has seen nothing yet."""
        return Front(
            Answers(self.service),
            version=lambda: self.tree.version,
            now=lambda: self.now,
            is_probes_only=is_probes_only,
        )

    def edge(self, *, has_front):
        """Return what serves it."""
        edge = edge_of(self.service)
        edge.front = self.front() if has_front else None
        edge.probes_front = self.front(is_probes_only=True) if has_front else None
        return edge


ACCESS = {
    "open": Access(hosts=frozenset({"status.example"})),
    "token": Access(token=Secret(TOKEN), origins=frozenset({ORIGIN})),
    "locked": Access(token=Secret()),
    "everybody": Access(origins=frozenset({"*"})),
}
KINDS = {
    "live": {"sources": LIVE},
    "aged": {"sources": AGED},
    **{name: {"access": access} for name, access in ACCESS.items()},
}


# Both stages


async def both(nursery, daemon, *sent, is_probes_only=False):
    """Want the same from a daemon with and without the front stage, and return it, with how much of it came from there."""
    answered = []
    for has_front in (True, False):
        edge = daemon.edge(has_front=has_front)
        web = Web(edge=edge, nursery=nursery, is_probes_only=is_probes_only)
        answered.append(DATE.sub(b"", await web.exchange(*sent)))
        fast = sum(count for (_, stage, _), count in edge.traffic.requests.items() if stage == FRONT)
        assert not edge.guard.failures
        if has_front:
            found = fast
        else:
            assert not fast
    assert answered[0] == answered[1], sent
    return answered[0], found


def lines(*fields, target="/models", method="GET", version="1.1", host="localhost"):
    """Return the bytes of a request."""
    named = () if host is None else (f"Host: {host}",)
    return "\r\n".join((f"{method} {target} HTTP/{version}", *named, *fields, "", "")).encode("latin-1")


TARGETS = [
    "/", "/health", "/healthz", "/livez", "/readyz", "/readyz/models", "/readyz/sources/one", "/readyz/nope",
    "/readyz?verbose", "/status", "/status/one", "/status/nope", "/queue/status", "/models", "/large", "/huge", "/empty",
    "/caf%C3%A9", "/caf%c3%a9", "/failing", "/state", "/state?", "/state?since=0", "/state?x=1&since=x", "/state/models",
    "/state/sources/one/readers/a", "/state/models/a%2Fb", "/state/models/a%2fb", "/state/models/a/b", "/state/", "/state/nope",
    "/explain", "/explain/models/a%2Fb", "/explain/nope", "/metrics", "/openapi.json", "/nope", "/events?path=nope",
    "/health?", "/health?x", "/health?a=b&c=%ff", "/health/", "//health", "//", "/.", "/..", "/models/../health", "/%68ealth",
    "/%", "/%zz", "/%00", "/%ff%fe", "/health#x", "/a?b#c", "/health;x", "/health%3Fx", '/[]{}|\\^`"<>', "/~!$&'()*+,;=:@-._",
    "/" + "a" * 3000, "/health?" + "q" * 3000, "/HEALTH", "*", "?", "health", "http://localhost/models", "http://evil/state",
    "http://localhost", "/status/%6fne", "/%2e%2e", "/state/%2e", "/models?If-None-Match",
]  # fmt: skip
FIELDS = [
    (), ("Accept: */*",), ("Accept: text/html;q=0.9, */*;q=0.1",), ("User-Agent: probe/1.0", "Accept-Encoding: gzip"),
    ("Cache-Control: no-cache",), ("Cache-Control: max-age=0",), ("Cache-Control: max-age=1",), ("Cache-Control: max-age=3",),
    ("Cache-Control: max-age=100",), ("Cache-Control: max-age=x",), ("Cache-Control: max-age=",), ("Cache-Control:",),
    ("Cache-Control: max-age=-1",), ('Cache-Control: max-age="1"',), ("Cache-Control: max-age=100, max-age=0",),
    ("Cache-Control: max-age=100", "Cache-Control: no-cache"), ("Cache-Control: no-store",), ("Cache-Control: NO-CACHE",),
    ("Cache-Control: ,,, no-cache ,",), ('Cache-Control: x="no-cache"',), ("Cache-Control: max-age=99999999999999999999",),
    ("Pragma: no-cache",), ("If-None-Match: *",), ('If-None-Match: "x"',), ("If-None-Match: x",), ("If-None-Match:",),
    ('If-None-Match: W/"701"',), ('If-None-Match: "701"',), ('If-None-Match: "x", W/"701" , "y"',), ('If-None-Match: "',),
    ('If-None-Match: "x"', 'If-None-Match: W/"701"'), ("If-None-Match: *, *",), ("If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT",),
    ('If-Match: "x"',), ("Range: bytes=0-0",), (f"Origin: {ORIGIN}",), ("Origin: null",), ("Origin: https://evil.example",),
    (f"Origin: {ORIGIN}", f"Origin: {ORIGIN}"), ("Access-Control-Request-Method: GET",), ("Authorization: Bearer x",),
    (f"Authorization: Bearer {TOKEN}",), (f"authorization:bearer {TOKEN}",), (f"Authorization: Bearer {TOKEN}", f"Origin: {ORIGIN}"),
    ("Authorization: Basic " + "YTpzM2NyZXQtdDBrZW4=",), ("Authorization: Bearer", f"Authorization: {TOKEN}"), ("Authorization:",),
    ("Connection: close",), ("connection:CLOSE",), ("Connection: keep-alive",), ("Connection: Keep-Alive", "Connection: close"),
    ("Connection: close, keep-alive",), ("Connection: ,",), ("Connection:",), ("Connection: x-hop",), ("Connection: te",),
    ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), ("Connection: upgrade", "Upgrade: websocket"),
    ("Content-Length: 0",), ("Content-Length: 0", "Content-Length: 0"), ("Transfer-Encoding: identity",), ("TE: trailers",),
    ("Expect: 100-continue",), ("Expect: x",), ("Trailer: x",), ("Keep-Alive: timeout=5",), ("Via: 1.1 a", "X-Forwarded-For: b"),
    ("X: \xe9\xff",), ("X: a\tb  c",), ("X:\t a \t",), ("X:",), ("!#$%&'*+-.^_`|~: x",), ("x" * 200 + ": y",), ("X: " + "y" * 3900,),
    ("X: " + "y" * 5000,), ("X: " + "y" * 40_000,), ("Cookie: a=b; c",), ("Host: localhost",), ("X : y",), (" X: y",), ("X",),
    ("X: \x00",), ("X: \x7f",), (": x",), ("X: y\r\n folded",), ("X: y\n",), tuple(f"X-{n}: {n}" for n in range(150)),
]  # fmt: skip
HOSTS = [
    "localhost", "localhost:8000", "127.0.0.1", "[::1]:80", "status.example", "STATUS.example.", "evil.example", "", "a b", "a,b",
    "[::1", "a/b", "user@localhost", "localhost:x", "\xe9", None,
]  # fmt: skip


def corpus():
    """Yield requests of every kind, with what follows on the connection."""
    for target, method in itertools.product(TARGETS, ("GET", "HEAD")):
        yield lines(target=target, method=method)
        yield lines("If-None-Match: *", "Connection: close", target=target, method=method)
    for target, fields in itertools.product(("/models", "/state", "/queue/status", "/nope"), FIELDS):
        yield lines(*fields, target=target)
    for fields, method in itertools.product(FIELDS, ("HEAD", "OPTIONS", "POST")):
        yield lines(*fields, target="/state/sources/one", method=method)
    for host, target in itertools.product(HOSTS, ("/health", "/", "/state/nope", "/nope")):
        yield lines(target=target, host=host)
    for version in ("1.0", "1.2", "2.0", "0.9", "1.10", "x"):
        yield lines(version=version)
        yield lines("Connection: keep-alive", version=version)
    for method in ("get", "Get", "GETS", "G", "DELETE", "TRACE", "PRI", "OPTIONS"):
        yield lines(method=method)
    yield from (
        b"\r\n" + lines(), b"\n" + lines(), lines() + b"\r\n", lines().replace(b"\r\n", b"\n"), lines()[:-2], lines()[1:],
        lines().replace(b" HTTP", b"  HTTP"), lines().replace(b" /", b"\t/"), b"GET /models\r\n\r\n", lines() + b"body",
        lines("Content-Length: 4") + b"body", lines("Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n",
        lines("Content-Length: 99999") + b"x" * 99_999, lines("Content-Length: 4", "Transfer-Encoding: chunked") + b"body",
        lines() * 2, lines() * 20, lines() + lines(target="/events?path=nope"), lines("Connection: close") + lines(),
        lines(target="/huge") + lines(), lines(method="HEAD") + lines() + lines(target="/nope"),
        lines("Content-Length: 4") + b"body" + lines(), lines() + b"\x00", lines() + b"GET /x", b"",
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_what_it_answers_is_what_the_application_answers(nursery, autojump_clock, kind):
    daemon = Daemon(**KINDS[kind])
    fast = asked = 0
    for request in corpus():
        _, found = await both(nursery, daemon, request, NEXT)
        asked += 1
        fast += found
    assert asked > 900
    assert fast > asked  # of each two, for what follows is asked plainly


@pytest.mark.parametrize("rules", ["open", "token"])
async def test_so_it_does_at_an_address_for_probes_alone(nursery, autojump_clock, rules):
    daemon = Daemon(access=ACCESS[rules])
    fast = 0
    for target, method in itertools.product(TARGETS, ("GET", "HEAD", "OPTIONS", "POST")):
        sent = lines(target=target, method=method, host="evil.example")
        _, found = await both(nursery, daemon, sent, NEXT, is_probes_only=True)
        fast += found
    assert fast > len(TARGETS)


PLAIN = [
    lines(), lines(method="HEAD"), lines("If-None-Match: *"), lines(target="/health", host="evil"), lines(target="/"),
    lines(target="/nope"), lines(target="/state", host="evil"), lines("Connection: close"), lines("Accept: x"),
    lines('If-None-Match: "x", W/"701"', target="/state"), lines("Cache-Control: max-age=100", target="/status"),
    lines(target="/large"), lines(target="/huge"), lines(target="/openapi.json"), lines(target="/failing"), lines(target="/state/models"),
]  # fmt: skip
"""What the front stage answers itself."""
HANDED_ON = [
    lines("Cache-Control: no-cache"), lines("Cache-Control: max-age=1", target="/status"),
    lines(target="/metrics"), lines(target="/explain"), lines(target="/state?since=0"), lines(method="OPTIONS"),
    lines(version="1.0"), lines(host=None), lines("Expect: 100-continue"), lines("Content-Length: 0"), lines("X: \xe9"),
    lines() + lines(), lines()[:-1], lines("Connection: upgrade"), lines(target="http://localhost/models"),
    lines("X: " + "y" * LONGEST), lines(target="/readyz?verbose"), lines(method="POST"), lines(target="/events"),
]  # fmt: skip
"""What it leaves to the application."""


def test_it_answers_what_is_plain_and_nothing_else():
    front = Daemon().front()
    for request in PLAIN:
        assert front.reply(request) is not None, request
    for request in HANDED_ON:
        assert front.reply(request) is None, request


@pytest.mark.parametrize("request_", [*PLAIN[:11], *HANDED_ON[:11]], ids=range(22))
async def test_where_packets_are_cut_makes_no_difference(nursery, autojump_clock, request_):
    daemon = Daemon()
    edge = daemon.edge(has_front=True)
    web = Web(edge=edge, nursery=nursery)
    data = request_ + NEXT
    whole = DATE.sub(b"", await web.exchange(data))
    assert whole
    for cut in range(1, len(data)):
        assert DATE.sub(b"", await web.exchange(data[:cut], data[cut:])) == whole, cut
    assert DATE.sub(b"", await web.exchange(*(bytes([byte]) for byte in data))) == whole
    assert (await both(nursery, daemon, data))[0] == whole


SOME = st.sampled_from([request for request in corpus() if len(request) < 300])


def talk(daemon, chunks):
    """Want the same from both stages, in a loop of its own whose clock jumps."""

    async def main():
        async with trio.open_nursery() as nursery:
            await both(nursery, daemon, *chunks)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(SOME | SOME | mutated() | requests(), min_size=1, max_size=5), st.sampled_from(sorted(ACCESS))
)
@example([lines(), lines("Content-Length: 4"), b"body", lines()], "open")
def test_whatever_comes_in_whatever_pieces_gets_the_same(chunks, rules):
    talk(Daemon(access=ACCESS[rules]), chunks)


# What it takes for a plain request


names = st.sampled_from(
    [*HEEDED, "Host", "Connection", "connection", "HOST", "X", "Content-Length", "Te", "EXPECT", "Upgrade", "x-y", "Accept "]
)  # fmt: skip
values = st.sampled_from(
    ["", "localhost", "close", "keep-alive", "Close", "a, b", "x", " ", "\t y \t", "*", "0", "\xe9", "\x00", "h2c", "a\r", "q\nr"]
) | st.text(st.characters(max_codepoint=255), max_size=5)  # fmt: skip


@st.composite
def heads(draw):
    """Return what is nearly a request."""
    method = draw(st.sampled_from(["GET", "HEAD", "get", "POST", "GET ", ""]))
    target = draw(st.sampled_from(TARGETS) | st.text(st.characters(max_codepoint=255), max_size=5))
    version = draw(st.sampled_from(["HTTP/1.1"] * 5 + ["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 "]))
    fields = [
        f"{name}:{value}\r\n" for name, value in draw(st.lists(st.tuples(names, values | values), max_size=4))
    ]
    named = draw(st.sampled_from(["Host: localhost\r\n"] * 5 + ["", "Host: \r\n"]))
    end = draw(st.sampled_from(["\r\n"] * 8 + ["\n", "", "\r\n\r\n", "\r\nGET"]))
    return f"{method} {target} {version}\r\n{named}{''.join(fields)}{end}".encode("latin-1")


@settings(max_examples=1000)
@given(heads() | requests() | mutated() | SOME)
def test_what_it_takes_is_what_the_parser_takes(data):
    seen = glance(data)
    if seen is None:
        return
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(data)
    request = parser.next_event()
    assert isinstance(request, h11.Request)
    assert isinstance(parser.next_event(), h11.EndOfMessage)
    assert parser.trailing_data == (b"", False)
    assert request.http_version == b"1.1"
    assert request.method.decode() == seen.method
    path, _, query = request.target.partition(b"?")
    assert (path.decode(), query) == (seen.path, seen.query)
    fields = {}
    for name, value in request.headers:
        if name.decode() in HEEDED:
            fields.setdefault(name.decode(), []).append(value.decode())
    assert {name: ", ".join(found) for name, found in fields.items()} == seen.fields
    assert (parser.their_state is h11.MUST_CLOSE) is seen.closes


def test_it_takes_plain_requests():
    for request in (*PLAIN, lines("X: a b\tc"), lines("A: " + "b" * (LONGEST - len(lines("A: "))))):
        assert glance(request) is not None


# The time of what is remembered


@st.composite
def moments(draw):
    """Return moves of the clock, also back; of the tree; and which request is asked then."""
    shift = st.sampled_from(
        [0.0, 1e-6, 0.05, 0.25, 0.4, 0.5, 0.75, 1.0, 2.5, 9.0, -1e-6, -0.3, -1.0, -20.0]
    ) | st.floats(-3, 3)
    ages = st.floats(-1, 9)
    fresh = st.tuples(ages, ages, ages, st.sampled_from(["ok", "stale"]))
    return draw(
        st.lists(st.tuples(shift, st.none() | st.none() | fresh, st.integers(0, len(TIMED) - 1)), max_size=25)
    )


TIMED = [
    *PLAIN[:10],
    lines("Cache-Control: max-age=1"),
    lines("Cache-Control: max-age=4", target="/status"),
    lines("Cache-Control: max-age=4", target="/state/sources/one"),
    lines("Cache-Control: max-age=100"),
    lines(target="/queue/status"),
    lines(target="/readyz"),
    lines(target="/livez"),
    lines(target="/state/sources/one/readers"),
    lines("Connection: close", target="/state"),
]


@pytest.mark.parametrize("sources", [SOURCES, LIVE, AGED], ids=["plain", "live", "aged"])
@settings(deadline=None, max_examples=200)
@given(moments())
@example([(0.0, None, 0), (0.5, None, 0), (0.2, None, 0)])
@example([(0.0, (0.0, 0.0, 0.0, "ok"), 3), (0.49, None, 3), (0.02, None, 3), (-0.02, None, 3)])
@example([(0.0, (0.0, 0.0, 0.0, "ok"), 11), (3.99, None, 11), (0.02, None, 11)])
def test_what_is_remembered_is_what_would_be_answered_right_then(sources, moves):
    daemon = Daemon(sources=sources)
    front = daemon.front()
    version = 1
    for shift, changed, number in moves:
        daemon.now += shift
        if changed is not None:
            version += 1
            one, two, live, reason = changed
            daemon.tree = tree(
                one=daemon.now - one,
                two=daemon.now - two,
                live=daemon.now - live,
                reason=reason,
                version=version,
            )
        # What was asked before, too: it is that which is remembered.
        for request in {TIMED[number], TIMED[0], TIMED[-1]}:
            remembered, fresh = front.reply(request), daemon.front().reply(request)
            assert (remembered is None) is (fresh is None)
            if remembered is not None:
                assert remembered[0].data == fresh[0].data
                assert remembered[0].rest == fresh[0].rest
                assert remembered[0].closing == fresh[0].closing
                assert remembered[1] == fresh[1]


def field(data, name):
    """Return the value of a header field."""
    return re.search(rb"\r\n%s: ([^\r]*)\r\n" % name, data)[1].decode()


def test_age_ttl_and_date_move_with_the_clock():
    daemon, found = Daemon(), []
    front = daemon.front()
    daemon.tree = tree(one=NOW - 3.4)
    for quarter in range(40):
        daemon.now = NOW + quarter / 4
        data = front.reply(lines(target="/status"))[0].data
        assert field(data, b"age") == str(int(quarter / 4 + 3.4))
        assert field(data, b"cache-status") == f"statusd; hit; ttl={int((4.1 - quarter / 4) // 1)}"
        found.append(field(data, b"date"))
    assert len(set(found)) == 10


def test_a_new_snapshot_is_seen_at_once():
    daemon = Daemon()
    front = daemon.front()
    first = front.reply(lines())[0].data
    assert b"/models 1" in first
    daemon.tree = tree(version=2)
    assert b"/models 2" in front.reply(lines())[0].data
    assert front.reply(lines())[0].data != first


def test_a_source_with_a_max_age_is_not_served_older():
    daemon = Daemon(sources=AGED)
    front = daemon.front()
    daemon.tree = tree(one=NOW, two=NOW)
    for since, is_served in (
        (0.0, True),
        (0.2, True),
        (0.5, True),
        (0.51, False),
        (0.3, True),
        (0.9, False),
        (-0.1, False),
    ):
        daemon.now = NOW + since
        assert (front.reply(lines(target="/status")) is not None) is is_served, since
    always = Daemon(sources=LIVE).front()
    assert always.reply(lines(target="/queue/status")) is None
    assert always.reply(lines(target="/queue/status")) is None


def test_what_is_not_remembered_for_its_size_is_answered_all_the_same():
    daemon = Daemon()
    front = daemon.front()
    for target, size in (("/large", LARGEST + 1), ("/huge", 300_000)):
        for _ in range(2):
            reply, _ = front.reply(lines(target=target))
            assert reply.data.endswith(b"\r\n\r\n")
            assert reply.rest == b"x" * size
    assert all(known.reply is None for known in front._known.values())


def test_what_is_remembered_is_bounded_whatever_comes():
    front = Daemon(access=ACCESS["token"]).front()
    for number in range(3 * REMEMBERED):
        assert front.reply(lines(f"Authorization: Bearer {number}", target=f"/state/{number}")) is not None
        assert front.reply(lines(f"X: {number}")) is not None
    assert len(front._known) <= REMEMBERED
    assert len(front._spelled) <= REMEMBERED


def test_spellings_of_one_request_share_an_answer_and_other_requests_do_not():
    front = Daemon(access=ACCESS["everybody"]).front()
    first = front.reply(lines("Accept: a"))[0]
    assert front.reply(lines("accept:  b", "X: y"))[0] is first
    assert front.reply(lines("Accept: a", "Connection: close")) == (first, True)
    for other in (lines(method="HEAD"), lines(target="/models?x"), lines("If-None-Match: *"), lines(f"Origin: {ORIGIN}"),
                  lines(host="evil"), lines("Authorization: x")):  # fmt: skip
        assert front.reply(other)[0] is not first
