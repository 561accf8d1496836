"""The page follows the tree: what is on the screen is what /state says, after every change and every loss."""

import re
import time

import attrs
import pytest
from hypothesis import HealthCheck, given, settings

from statusd import Node, Status, segment
from statusd.model.tree import graft
from statusd.web.bodies import timestamp
from statusd.web.page import render_page
from tests.browser.origin import first
from tests.web.trees import HOSTILE, candidate, roots, served, tree

pytestmark = pytest.mark.browser

OUTAGE = ("Failed to load resource", "net::ERR")
"""What a browser says of requests that fail, and no page can keep it from saying."""
NORMAL = """(root) => {
    const left_out = ["template", "script", "style", "noscript", ".banner", "#page-announcer"];
    const normal = (element) => [
        element.localName,
        Object.fromEntries([...element.attributes].filter(({ name }) => name !== "open").map(({ name, value }) => [name, value])),
        element.localName === "time" ? [] : [...element.childNodes].flatMap(inside),
    ];
    const inside = (node) => {
        if (node.nodeType === Node.ELEMENT_NODE) return node.matches(left_out.join()) ? [] : [normal(node)];
        return node.data.trim() === "" || node.nodeType === Node.COMMENT_NODE ? [] : [node.data.trim()];
    };
    return normal(root);
}"""
"""What a document shows: no white space between elements, no text of times (they say their instant), no folding."""


def on_screen(looked):
    return looked.page.evaluate(f"({NORMAL})(document.body)")


@pytest.fixture(scope="module")
def paper(chromium):
    """Reads what the server renders, in a page that runs none of it."""
    context = chromium.new_context()
    page = context.new_page()
    read = f"(html) => ({NORMAL})(new DOMParser().parseFromString(html, 'text/html').body)"
    yield lambda snapshot: page.evaluate(read, render_page(snapshot).body.decode())
    context.close()


def source(status="ok", **rest):
    rest.setdefault("reason", status)
    return Node(status=Status(status), **rest)


SOURCES = {"queue": source(facts={"queue_size": 0}), "omnirt": source("down", reason="refused")}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(root=roots)
def test_what_is_on_the_screen_is_what_the_server_renders_after_every_change(following, paper, root):
    origin, looked = following
    origin.publish(root)
    looked.until_revision(origin)
    looked.wake()  # times of what has not changed
    looked.until(lambda: (on_screen(looked), paper(origin.snapshot)), lambda both: both[0] == both[1])


@pytest.fixture
def following(origin, look):
    return origin, look(origin.url)


def test_the_first_state_is_there_before_any_event(origin, look, paper):
    origin.refusing = origin.failing = 503
    origin.publish(tree(sources=SOURCES, models={"m": served(candidates=[candidate("omnirt")])}))
    looked = look(origin.url, allowed=OUTAGE)
    assert on_screen(looked) == paper(origin.snapshot)


def test_a_change_shows_without_asking_for_anything(origin, look):
    origin.publish(tree(sources=SOURCES))
    looked = look(origin.url, clock=True)
    looked.until(lambda: len(origin.asked("/state")) == 1 and origin.has_listeners)
    changed = graft(origin.snapshot.root, "sources/queue", source("degraded", message="It <grows>."))
    origin.publish(attrs.evolve(changed, status=Status.DEGRADED))
    looked.until_text("#sources\\/queue .message", "It <grows>.")
    assert looked.text("#sources\\/queue .status") == "degraded"
    assert looked.text("#page-verdict .status") == "Degraded"
    assert looked.text("#page-verdict .sentence") == "2 of 2 sources are not ok."
    assert looked.page.title() == "degraded · statusd"
    assert len(origin.asked("/state")) == 1
    assert len(origin.asked("/events")) == 1


def test_nodes_come_in_their_place_and_go(origin, look):
    origin.publish(tree(sources=SOURCES))
    looked = look(origin.url, clock=True)
    looked.until(lambda: origin.has_listeners and origin.asked("/state"))
    nodes = looked.page.locator("#sources > .nodes > .node")

    def names():
        return nodes.evaluate_all("all => all.map(one => one.id)")

    part = source("down", message="The reader is dead.")
    origin.publish(
        tree(
            sources={
                "queue": SOURCES["queue"],
                "new": source(children={"a%2Fb": part}),
                "omnirt": SOURCES["omnirt"],
            }
        )
    )
    looked.until(names, lambda found: found == ["sources/queue", "sources/new", "sources/omnirt"])
    assert looked.text("[id='sources/new/a%2Fb'] .name") == "a/b"
    origin.publish(tree(sources={"omnirt": SOURCES["omnirt"]}))
    looked.until(names, lambda found: found == ["sources/omnirt"])


def test_what_somebody_has_opened_and_where_they_are_stays(origin, look):
    origin.publish(tree(sources=SOURCES))
    looked = look(origin.url)
    looked.page.locator("#sources\\/queue summary >> nth=0").press("Enter")
    for size in range(1, 4):
        sources = {"queue": source(facts={"queue_size": size})} | {f"n{size}": source()}
        origin.publish(tree(sources=sources))
        looked.until_text("#sources\\/queue dd", str(size))
    assert looked.page.evaluate("document.activeElement.closest('li').id") == "sources/queue"


def test_numbers_are_shown_to_the_last_digit(origin, look):
    looked = look(origin.url)
    origin.publish(tree(sources={"queue": source(facts={"size": 10**30 + 1, "deep": [1.0, {"x": 10**20}]})}))
    looked.until(lambda: looked.page.locator("#sources\\/queue dd").all_text_contents())
    assert looked.page.locator("#sources\\/queue dd").all_text_contents() == [
        str(10**30 + 1),
        '[1.0, {"x": 100000000000000000000}]',
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_an_upstream_runs(following, paper, text):
    origin, looked = following
    looked.page.on(
        "dialog", lambda dialog: looked.errors.append(f"ran {text}: {dialog.message}") or dialog.dismiss()
    )
    one = candidate(text, label=text, backend=text + "!")
    node = source("down", message=text, facts={text: [text]})
    origin.publish(
        tree(sources={"queue": node}, models={segment(text): served(message=text, candidates=[one])})
    )
    looked.until_text("#sources\\/queue .message", text)
    looked.until(lambda: on_screen(looked), lambda found: found == paper(origin.snapshot))
    assert looked.page.locator(f"[id={segment(text)!r}]").count() == 0


def test_times_are_fresh_although_they_are_no_change_and_no_probe_is_asked_for(origin, look):
    def sighted(at):
        return tree(sources={"queue": source(observed_at=at, expires_at=at + 8)})

    began = time.time()
    origin.publish(sighted(began))
    looked = look(origin.url, clock=True)
    looked.until(lambda: origin.asked("/state"))
    revision = origin.snapshot.revision
    seen = looked.page.locator("#sources\\/queue .seen")
    for later in (100, 200):
        origin.publish(sighted(began + later))
        looked.page.clock.run_for(5000)
        instant = timestamp(began + later)
        looked.until(lambda: seen.get_attribute("datetime"), lambda found, instant=instant: found == instant)
    assert origin.snapshot.revision == revision
    for headers in origin.asked("/state"):
        assert headers["cache-control"] == "max-stale"
        assert "if-none-match" not in headers


def test_nobody_is_asked_while_nobody_looks(origin, look):
    looked = look(origin.url, clock=True)
    looked.until(lambda: len(origin.asked("/state")) == 1)
    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); }"
    looked.page.evaluate(hide, True)
    looked.wake()
    looked.page.clock.run_for(60_000)
    assert len(origin.asked("/state")) == 1
    looked.page.evaluate(hide, False)
    looked.wake()
    looked.until(lambda: len(origin.asked("/state")) == 2)


@pytest.mark.parametrize("ahead", [0, 3600, -86400])
def test_ages_tick_by_the_clock_of_the_server(origin, look, ahead):
    origin.ahead = ahead
    now = time.time() + ahead
    node = source(since=now - 299, observed_at=now - 2, expires_at=now + 8)
    origin.snapshot = attrs.evolve(origin.snapshot, root=tree(sources={"queue": node}))
    looked = look(origin.url, clock=True)
    looked.until(
        lambda: looked.text("#sources\\/queue .since"), lambda text: text in {"for 4 min", "for 5 min"}
    )
    looked.until(lambda: re.fullmatch("(· )?seen [0-5] s ago", looked.text("#sources\\/queue .seen")))
    looked.page.clock.run_for(3000)
    looked.until(lambda: looked.text("#sources\\/queue .since") == "for 5 min")


def test_a_stream_that_is_lost_is_said_and_comes_back(origin, look):
    looked = look(origin.url, allowed=OUTAGE)
    looked.until(lambda: origin.has_listeners)
    assert not looked.page.locator("#page-reconnect").is_visible()
    origin.stop()
    looked.until_text("#page-lost", "The connection is lost: what this page shows may be old.")
    looked.until(
        lambda: re.fullmatch(r"Lost for \d s; what is shown is \d s old\.", looked.text("#page-age"))
    )
    looked.until(lambda: looked.text("#page-age").startswith("Lost for 2 s"))
    assert looked.page.locator("#page-reconnect").is_visible()
    assert looked.page.locator("[role=status]:has-text('The connection is lost')").count() == 1
    origin.snapshot = first(tree(sources=SOURCES), origin.snapshot.revision + 5)
    origin.start()
    looked.page.get_by_role("button", name="Reconnect now").click()
    looked.until(lambda: not looked.page.locator("#page-reconnect").is_visible())
    looked.until_revision(origin)
    assert looked.text("#page-lost") == ""
    assert looked.page.locator("#sources\\/omnirt").is_visible()
    looked.until_text("#page-announcer", "The connection is back.")


def test_a_stream_that_is_cut_comes_back_by_itself_without_a_gap(origin, look):
    looked = look(origin.url)
    looked.until(lambda: origin.has_listeners)
    origin.cut()
    origin.publish(tree(sources=SOURCES))
    looked.until_revision(origin)
    looked.until(lambda: len(origin.asked("/events")) == 2)
    assert origin.asked("/events")[1]["last-event-id"] == str(origin.snapshot.revision - 1)
    looked.until(lambda: looked.text("#page-lost") == "")


def test_a_refused_stream_is_tried_again_after_a_pause(origin, look):
    """A browser gives up for good at 503: too many streams."""
    origin.refusing = 503
    looked = look(origin.url, allowed=OUTAGE, clock=True)
    looked.until_text("#page-lost", "The connection is lost: what this page shows may be old.")
    assert len(origin.asked("/events")) == 1
    origin.publish(tree(sources=SOURCES))
    looked.page.clock.run_for(2500)
    assert len(origin.asked("/events")) == 1
    looked.page.clock.run_for(1000)
    looked.until(lambda: len(origin.asked("/events")) == 2)
    looked.page.clock.run_for(2000)
    looked.until_revision(origin)  # by asking, meanwhile
    origin.refusing = 0
    looked.page.clock.run_for(2000)
    looked.until(lambda: looked.text("#page-lost") == "")


def test_a_stream_that_has_died_without_a_word_is_opened_anew(origin, look):
    looked = look(origin.url, clock=True)
    looked.until(lambda: origin.has_listeners and origin.asked("/state"))
    origin.silent = True
    origin.publish(tree(sources=SOURCES))
    for _ in range(4):
        asked = len(origin.asked("/state"))
        looked.page.clock.run_for(5000)
        looked.until(lambda asked=asked: len(origin.asked("/state")) > asked)
    looked.until_revision(origin)
    looked.until(lambda: len(origin.asked("/events")) == 2)


def test_a_server_whose_clock_was_set_back_is_believed(origin, look):
    origin.publish(tree(sources=SOURCES))
    looked = look(origin.url, allowed=OUTAGE)
    looked.until(lambda: origin.has_listeners)
    origin.restart(tree(sources={"other": source()}), 1000)
    looked.until(lambda: looked.page.locator("#sources\\/other").count() == 1)
    looked.until_text("#page-revision", "1000")
    looked.until(lambda: looked.text("#page-lost") == "")


def test_transitions_are_told_once_and_together(origin, look):
    origin.publish(tree(sources={f"n{number}": source(children={"part": source()}) for number in range(8)}))
    looked = look(origin.url, clock=True)
    looked.until(lambda: origin.has_listeners)
    assert looked.text("#page-announcer") == ""
    dead = source("down", children={"part": source("down")})
    origin.publish(tree(sources={f"n{number}": dead for number in range(8)}))
    looked.until_revision(origin)
    looked.page.clock.run_for(1000)
    looked.until_text("#page-announcer", "Now n0 down, n1 down, n2 down, n3 down, n4 down and 3 more.")
    origin.publish(tree(sources={f"n{number}": attrs.evolve(dead, message="Still.") for number in range(8)}))
    looked.until_revision(origin)
    looked.page.clock.run_for(2000)
    assert looked.text("#page-announcer").startswith("Now n0 down"), "a new message is no transition"
