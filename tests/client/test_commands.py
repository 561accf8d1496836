"""What the commands print: text for people that nothing from upstream can steer, and the same as JSON."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.client import (
    ClientError,
    Disconnected,
    Explanation,
    NodeChange,
    Quality,
    TreeChange,
    TreeSnapshot,
    TreeState,
)
from statusd.commands import explain, show
from statusd.commands.faces import JsonLines, Lines
from statusd.commands.rendering import Line, cut, has_colours, instant, tree_lines, width
from statusd.commands.screen import Screen, fitted
from statusd.commands.where import find_daemon
from statusd.config.mistakes import ConfigError
from statusd.wording import span
from tests.client.conftest import response, says
from tests.client.samples import TREES, node

EVIL = "\x1b[2J\x1b]0;x\x07\r\n\u202eevil\x9b31m"
NOW = 1795255200.0


def texts(tree, path="", now=NOW, time_of="observed_at"):
    return [line.text for line in tree_lines(tree, path, now, time_of=time_of)]


def state(tree, **quality):
    return TreeState(revision=1, path="", node=tree, quality=Quality(**quality))


def test_the_tree_stands_in_columns():
    queue = {
        **node("down"),
        "reason": "refused",
        "observed_at": "2026-11-21T09:59:57.000Z",
        "message": "Start it.",
    }
    optional = {**node("ok"), "counts": False}
    assert texts(node("degraded", sources=node("down", queue=queue, redis=optional), models=node("off"))) == [
        "/          degraded",
        "  sources  down",
        "    queue  down      refused  3.0 s  Start it.",
        "    redis  ok                        (does not count)",
        "  models   off",
    ]


def test_columns_hold_with_wide_characters_and_long_names():
    lines = tree_lines(node(ok=node(), **{"模型": node(), "x" * 60: node("down")}), "", NOW, time_of="since")
    assert {width(line.text[: line.at]) for line in lines[:3]} == {42}
    assert lines[3].text == "  " + "x" * 60 + "  down"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (80, "  flashtalk_of_host_a  down      refused"),
        (34, "  flashtalk_…  down      refused"),
        (20, "  flash…  down      refused"),
    ],
)
def test_on_a_narrow_screen_names_are_cut_and_the_status_is_seen(columns, expected):
    tree = node(flashtalk_of_host_a={**node("down"), "reason": "refused"})
    [_, line] = tree_lines(tree, "", NOW, time_of="since", columns=columns)
    assert line.text == expected
    assert "down" in line.painted(columns=columns)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0.0 s"), (0.44, "0.4 s"), (9.96, "10 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"),
     (7200, "2 h"), (172799, "48 h"), (172800, "2 d"), (1e12, "11574074 d")],
)  # fmt: skip
def test_durations(seconds, words):
    assert span(seconds) == words


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "9999-99-99T00:00:00Z"])
def test_what_is_no_time_is_none(text):
    assert instant(text) is None


@given(st.text(), st.integers(0, 30))
def test_cut_text_never_takes_more_columns(text, columns):
    shown = cut(text, columns)
    assert width(shown) <= columns
    assert (shown == text) is (width(text) <= columns)


def evil_tree():
    return {
        **node("ok"), "status": EVIL, "reason": EVIL, "message": EVIL, "source": EVIL, "since": EVIL,
        "observed_at": EVIL, "children": {EVIL: {**node(), "reason": EVIL, "message": EVIL}},
    }  # fmt: skip


def explanation(**document):
    whole = {
        "revision": 1, "path": "sources/queue", "status": "unknown", "reason": "parent_down", "message": "m",
        "because": ["It depends on redis."], "would_change": ["redis becoming ok."], **document,
    }  # fmt: skip
    words = {name: whole[name] for name in ("revision", "path", "status", "reason", "message")}
    return Explanation(
        **words,
        because=tuple(whole["because"]),
        would_change=tuple(whole["would_change"]),
        document=whole,
        quality=Quality(),
    )


def evil_document(value):
    """Return `value` with every text in it replaced."""
    if isinstance(value, dict):
        return {key: evil_document(one) for key, one in value.items()}
    if isinstance(value, list):
        return [evil_document(one) for one in value]
    return EVIL if isinstance(value, str) else value


DETAILS = {
    "reading": {"status": "down", "reason": "refused", "message": "Start it.", "observed_at": "x", "age": 0.4,
                "expires_at": "x", "expires_in": 7.2, "interval": 2, "timeout": 2.0},
    "thresholds": {"rise": 1, "fall": 3, "tally": {"status": "down", "reason": "refused", "seen": 2, "needed": 3}},
    "dependency": {"depends_on": ["redis", "net"], "parent_down": "redis"},
    "rollup": {"rule": "at_least(2)", "decided_by": ["a"], "children": [
        {"name": "a", "status": "down", "reason": "refused", "counts": True},
        {"name": "long", "status": "ok", "reason": "ok", "counts": False}]},
}  # fmt: skip


def test_an_explanation_for_people():
    assert explain.as_text(explanation(**DETAILS), is_coloured=False).splitlines() == [
        "sources/queue: unknown (parent_down)",
        "  m",
        "",
        "because",
        "  - It depends on redis.",
        "",
        "what would change it",
        "  - redis becoming ok.",
        "",
        "reading",
        "  down (refused)",
        "  Start it.",
        "  0.4 s old, expires in 7.2 s, probed every 2.0 s, given up after 2.0 s",
        "",
        "thresholds",
        "  rise 1, fall 3",
        "  2 of 3 probes say down (refused)",
        "",
        "dependency",
        "  depends on redis, net",
        "  redis has failed",
        "",
        "rollup",
        "  at_least(2), decided by a",
        "    a     down (refused)",
        "    long  ok, does not count",
    ]


def test_nothing_in_a_tree_or_explanation_can_steer_the_terminal():
    evil = Explanation(
        revision=1, path=EVIL, status=EVIL, reason=EVIL, message=EVIL, because=(EVIL,), would_change=(EVIL,),
        document=evil_document(explanation(**DETAILS).document), quality=Quality(),
    )  # fmt: skip
    out = io.StringIO()
    face = Lines(out)
    face.take(TreeSnapshot(revision=1, path=EVIL, node=evil_tree()))
    face.take(Disconnected(EVIL))
    screen = Screen(out, is_coloured=False, title=EVIL)
    screen.take(TreeSnapshot(revision=1, path=EVIL, node=evil_tree()))
    for text in (
        show.as_text(state(evil_tree()), is_coloured=False),
        explain.as_text(evil, is_coloured=False),
        *(line.text for line in screen._lines(200)),
        out.getvalue(),
        json.dumps(show.as_json(state(evil_tree()))),
    ):
        assert all(char.isprintable() or char == "\n" for char in text), text
        assert "evil" in text or text == ""


def test_a_narrow_screen_shows_that_the_stream_is_lost():
    screen = Screen(io.StringIO(), is_coloured=False, title="http://127.0.0.1:8000")
    screen.take(TreeSnapshot(revision=1795309406950730, path="", node=node()))
    assert screen._lines(60)[0].painted(columns=60).split("  ")[1] == "live"
    screen.take(Disconnected(message="It hung up."))
    assert "disconnected, trying again: It hung up." in screen._lines(60)[0].painted(columns=80)


@pytest.mark.parametrize(
    "document",
    [dict.fromkeys(DETAILS, value) for value in (None, [], 5, {}, "x")]
    + [
        {
            "rollup": {"children": [5, {}], "decided_by": [5]},
            "reading": {"age": "x"},
            "thresholds": {"tally": {}},
        }
    ],
)
def test_an_explanation_of_another_shape_is_shown_as_far_as_it_goes(document):
    assert explain.as_text(explanation(**document), is_coloured=True).startswith("sources/queue: ")


def test_colours_are_for_terminals_and_for_who_wants_them():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert has_colours(Terminal(), {"TERM": "xterm"})
    assert has_colours(Terminal(), {"TERM": "xterm", "NO_COLOR": ""})
    assert not has_colours(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"})
    assert not has_colours(Terminal(), {"TERM": "dumb"})
    assert not has_colours(Terminal(), {})
    assert not has_colours(io.StringIO(), {"TERM": "xterm"})
    assert show.as_text(state(node("down")), is_coloured=True) == "/  \x1b[31mdown\x1b[0m"


def test_a_status_that_is_cut_loses_its_colour_and_leaves_no_half_of_a_code():
    line = Line("name  down", "down", 6)
    assert line.painted(columns=8, is_coloured=True) == "name  d\N{HORIZONTAL ELLIPSIS}"
    assert line.painted(columns=10, is_coloured=True) == "name  \x1b[31mdown\x1b[0m"


@given(TREES, st.integers(1, 200), st.integers(1, 60))
def test_a_frame_fits_any_screen(tree, columns, rows):
    lines = fitted(tree_lines(tree, "", NOW, time_of="since", columns=columns), rows)
    assert len(lines) <= rows
    assert all(width(line.painted(columns=columns)) <= columns for line in lines)


def test_what_does_not_fit_is_counted():
    lines = [Line(str(number)) for number in range(10)]
    assert [line.text for line in fitted(lines, 4)] == [
        "0", "1", "2", "(7 more lines: enlarge the terminal, or watch a branch)",
    ]  # fmt: skip
    assert fitted(lines, 10) == lines


def test_ages_follow_the_daemons_clock_where_it_is_another(monkeypatch):
    monkeypatch.setattr("statusd.commands.show.time.time", lambda: NOW)
    assert show.now_of(state(node(), date=NOW - 1.9)) == NOW
    assert show.now_of(state(node(), date=NOW - 3600)) == NOW - 3600
    assert show.now_of(state(node())) == NOW


def change(revision, *pairs):
    return TreeChange(revision, tuple(NodeChange(path, one) for path, one in pairs))


def test_watch_prints_a_line_a_change_and_after_a_gap_only_what_differs():
    out = io.StringIO()
    face = Lines(out)
    face.take(TreeSnapshot(revision=1, path="", node=node(a=node(), b=node("off"))))
    face.take(change(2, ("a", {**node("down"), "reason": "refused", "message": "Start it."})))
    face.take(Disconnected("Gone."))
    face.take(TreeSnapshot(revision=9, path="", node=node(a=node("down"), c=node())))
    face.take(change(10, ("c", None)))
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
    lines = out.getvalue().splitlines()
    assert all(re.match(stamp, line) for line in lines)
    assert [re.sub(stamp, "", line) for line in lines] == [
        "/ ok", "a ok", "b off", "a down (refused): Start it.", "disconnected: Gone.", "b gone", "a down", "c ok",
        "c gone",
    ]  # fmt: skip


def test_watch_in_json_gives_an_object_a_line():
    out = io.StringIO()
    face = JsonLines(out)
    face.take(TreeSnapshot(revision=1, path="p", node=node()))
    face.take(change(2, ("p/a", None)))
    face.take(Disconnected("Gone."))
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "snapshot", "revision": 1, "path": "p", "node": node()},
        {"event": "change", "revision": 2, "changes": [{"path": "p/a", "node": None}]},
        {"event": "disconnected", "message": "Gone."},
    ]


@pytest.fixture
def configured(tmp_path):
    def write(bind):
        path = tmp_path / "statusd.toml"
        files = "[http.tls]\ncertificate = '/nowhere/cert.pem'\nkey = '/nowhere/key.pem'\n"
        path.write_text(
            f"[http]\nbind = {json.dumps(bind)}\n[sources.x]\nplugin = 'gone'\nodd = 1\n"
            + (files if any(address.startswith("tls:") for address in bind) else "")
        )
        return str(path)

    return write


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        (["127.0.0.1:1"], "127.0.0.1:1"),
        (["fd://3", "127.0.0.1:0", "0.0.0.0:80", "[::1]:80"], "0.0.0.0:80"),
        (["unix:/run/x.sock"], "unix:/run/x.sock"),
        (["tls:fd://3", "tls:0.0.0.0:8443", "127.0.0.1:8000"], "tls:0.0.0.0:8443"),
        (["tls:unix:/run/x.sock"], "tls:unix:/run/x.sock"),
    ],
)
def test_the_daemon_is_where_the_configuration_binds(configured, bind, url):
    assert find_daemon(None, configured(bind), {"STATUSD_URL": "elsewhere"}).url == url
    assert find_daemon(None, None, {"STATUSD_CONFIG": configured(bind)}).url == url


def test_an_address_that_is_named_comes_first(configured):
    environ = {"STATUSD_URL": "http://two", "STATUSD_CONFIG": configured(["127.0.0.1:1"])}
    assert find_daemon("http://one", None, environ).url == "http://one"
    assert find_daemon(None, None, environ).url == "http://two"
    assert find_daemon(None, None, {"STATUSD_CONFIG": "", "STATUSD_URL": ""}).url == "127.0.0.1:8000"


def test_whose_certificates_are_trusted_is_said_by_the_option_then_by_the_environment():
    environ = {"STATUSD_CA_FILE": "/b.pem"}
    assert find_daemon("http://one", None, environ, None, "/a.pem").ca_file == "/a.pem"
    assert find_daemon("http://one", None, environ).ca_file == "/b.pem"
    assert find_daemon("http://one", None, {}).ca_file == ""


def test_a_configuration_without_an_address_is_told(configured):
    with pytest.raises(ClientError, match=r"binds to fd://3, 127.0.0.1:0, which .* --url or STATUSD_URL"):
        find_daemon(None, configured(["fd://3", "127.0.0.1:0"]), {})
    with pytest.raises(ConfigError):
        find_daemon(None, configured(["nonsense"]), {})
    with pytest.raises(ConfigError):
        find_daemon(None, "/nowhere/statusd.toml", {})


def test_a_daemon_that_cannot_explain_is_told_from_a_node_that_is_not_there(serve):
    missing = response(b'{"reason": "not_found"}', "404 Not Found", "application/problem+json")
    whole = response(json.dumps({"revision": 1, "path": "", "node": node(a=node())}).encode())
    server = serve(says(missing), says(whole), says(missing), says(whole))
    where = find_daemon(server.url, None, {})
    with pytest.raises(ClientError, match="is there, but the daemon knows no such question"):
        explain.explain("/a/", where)
    with pytest.raises(ClientError, match=r'There is no node "a/\\x1b". Below a there are: none.'):
        explain.explain("a/\x1b", where)
