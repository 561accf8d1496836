"""The page for everybody: without scripts, by keyboard, by ear, on a phone, in the dark, on paper."""

from importlib.resources import files

import attrs
import pytest

from statusd import Node, Status
from tests.browser.origin import first
from tests.browser.test_live import OUTAGE
from tests.web.trees import candidate, served, tree

pytestmark = pytest.mark.browser

LONG = "http://127.0.0.1:8000/" + "a-path-without-any-place-to-break-it" * 4
PHONE = {"width": 320, "height": 640}


def node(status, message="", **rest):
    return Node(status=Status(status), reason=rest.pop("reason", status), message=message, **rest)


def sample():
    """Return a tree with everything that the page can show."""
    now = 1_732_190_000.0
    seen = {"observed_at": now - 2, "expires_at": now + 8}
    part = node("down", "The reader is dead.", reason="dead", facts={"model": "x" * 80}, counts=False, **seen)
    readers = node(
        "degraded", children={"embed-1": part, "generate-1": node("ok", counts=False)}, rule="worst"
    )
    sources = {
        "inference": node(
            "degraded", f"Half of {LONG}.", children={"readers": readers}, facts={"live": 1}, **seen
        ),
        "queue": node(
            "unknown", "The last report is past its lifetime.", reason="stale", counts=False, **seen
        ),
        "omnirt": node("down", "No answer within 2 s.", reason="timeout", facts={LONG: [LONG]}, **seen),
        "quicktalk": node("off", "No address is configured.", reason="not_configured"),
    }
    both = [candidate("omnirt", "down", reason="timeout"), candidate("direct", backend="direct_ws")]
    models = {
        "flashtalk": served(candidates=both[::-1], **seen),
        "meta-llama%2FLlama-3.1-8B-Instruct-with-a-long-name": served(Status.DOWN, both[:1], message="Gone."),
        "quicktalk": served(Status.OFF, [candidate("quicktalk", "off")], counts=False),
    }
    plugins = {name: node("ok", facts={"version": "0.1.0"}) for name in ("http", "local", "mock")}
    root = tree(sources=sources, models=models, plugins=plugins, daemon={"loop": node("ok")})
    return attrs.evolve(root, status=Status.DOWN, reason="timeout")


@pytest.fixture
def shown(origin, look):
    """Opens the page of the sample."""
    origin.snapshot = first(sample())

    def show(**options):
        looked = look(origin.url, **options)
        if options.get("java_script_enabled", True):
            looked.until(lambda: origin.has_listeners)
            looked.until(lambda: looked.text("#models .since >> nth=0").startswith("for "))
        return looked

    return show


def test_it_reads_without_scripts(shown):
    looked = shown(java_script_enabled=False)
    assert "Without scripts the page does not follow it" in looked.text("noscript")
    assert looked.text("h1") == "Down 1 of 2 models and 2 of 2 sources are not ok."
    model = looked.text("#models\\/flashtalk")
    assert "flashtalk" in model
    assert "connected, backend direct_ws from source direct" in model
    queue = " ".join(looked.text("#sources\\/queue").split())
    assert queue.startswith("queue unknown stale does not count since 20")
    assert "UTC" in queue
    assert "The last report is past its lifetime." in queue
    assert not looked.page.locator("#page-reconnect").is_visible()
    looked.page.locator("#sources\\/omnirt summary >> nth=0").click()
    assert LONG in looked.text("#sources\\/omnirt dt")


def test_each_status_has_a_word_and_a_shape_of_its_own_and_off_is_quiet(shown):
    looked = shown()
    marks = looked.page.locator("#sources > .nodes > .node, #models > .nodes > .node").evaluate_all(
        """all => all.map(one => [
            one.dataset.status, one.querySelector(".status").innerText,
            one.querySelector("use").getAttribute("href"), one.querySelector(".shape").getBoundingClientRect().width > 8,
        ])"""
    )
    assert {status for status, *_ in marks} == {"ok", "degraded", "unknown", "down", "off"}
    for status, *rest in marks:
        assert rest == [status, f"#page-{status}", True]
    outlines = looked.page.locator("symbol path").evaluate_all("all => all.map(one => one.getAttribute('d'))")
    assert len(set(outlines)) == 5
    assert not looked.page.locator("#sources\\/quicktalk > .message").is_visible()
    assert not looked.page.locator("#sources\\/quicktalk > .facts").is_visible()


def test_it_is_worked_by_keyboard_alone(shown):
    looked = shown()
    visited = []
    for _ in range(30):
        looked.page.keyboard.press("Tab")
        tag, where, outline = looked.page.evaluate(
            """() => { const at = document.activeElement; const style = getComputedStyle(at); return [
                at.localName, at.closest("[id]")?.id, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
            ]; }"""
        )
        if tag == "body":
            break
        assert outline, f"the focus on {tag} at {where} is not to be seen"
        visited.append((tag, where))
    assert ("summary", "sources/inference") in visited
    assert ("summary", "plugins/http") in visited
    assert visited[-1][0] == "a"
    looked.page.locator("#sources\\/inference > .parts > summary").focus()
    looked.page.keyboard.press("Enter")
    assert not looked.page.locator("[id='sources/inference/readers']").is_visible()
    looked.page.keyboard.press("Space")
    assert looked.page.locator("[id='sources/inference/readers']").is_visible()


def test_the_button_that_reconnects_is_the_first_stop(shown, origin):
    looked = shown(allowed=OUTAGE)
    origin.stop()
    looked.until(lambda: looked.page.locator("#page-reconnect").is_visible())
    looked.page.keyboard.press("Tab")
    assert looked.page.evaluate("document.activeElement.id") == "page-reconnect"


def test_it_has_landmarks_and_headings_for_who_listens(shown):
    looked = shown()
    for role in ("banner", "main", "contentinfo"):
        assert looked.page.get_by_role(role).count() == 1, role
    for name in ("Models", "Sources", "Plugins", "Daemon"):
        assert looked.page.get_by_role("region", name=name).count() == 1
        assert looked.page.get_by_role("heading", name=name, level=2).count() == 1
    assert looked.page.get_by_role("heading", level=1).count() == 1
    assert looked.page.get_by_role("listitem").filter(has_text="embed-1").count() >= 1
    assert looked.page.get_by_role("status").count() == 2, (
        "always there, so that what comes into them is told"
    )


@pytest.mark.parametrize("java_script_enabled", [True, False], ids=["live", "without-scripts"])
def test_a_narrow_phone_scrolls_down_only(shown, java_script_enabled):
    looked = shown(viewport=PHONE, java_script_enabled=java_script_enabled)
    for summary in looked.page.locator(".facts:not([hidden]) > summary:visible").all():
        summary.click()
    wide = "() => [...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > innerWidth + 0.5 && !one.closest('.heard, .shapes')).map(one => one.outerHTML.slice(0, 80))"
    assert looked.page.evaluate(wide) == []
    assert looked.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_a_lost_connection_fits_on_a_phone(shown, origin):
    looked = shown(viewport=PHONE, allowed=OUTAGE)
    origin.stop()
    looked.until(lambda: looked.page.locator("#page-reconnect").is_visible())
    assert looked.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    box = looked.page.locator("#page-reconnect").bounding_box()
    assert box["height"] >= 24
    assert box["width"] >= 24


def test_it_is_dark_where_that_is_wanted(shown):
    shade = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)"
    assert shown(scheme="dark").page.evaluate(shade) < 150
    assert shown(scheme="light").page.evaluate(shade) > 600


@pytest.mark.parametrize(("motion", "expected"), [("no-preference", 1), ("reduce", 0)])
def test_what_changes_flashes_unless_less_motion_is_wanted(shown, origin, motion, expected):
    looked = shown(reduced_motion=motion)
    root = sample()
    plugins = root.children["plugins"]
    changed = attrs.evolve(plugins, children={**plugins.children, "mock": node("down")})
    looked.page.evaluate(
        """() => { window.flashes = 0; const animate = Element.prototype.animate;
            Element.prototype.animate = function (...rest) { window.flashes += 1; return animate.apply(this, rest); }; }"""
    )
    origin.publish(attrs.evolve(root, children={**root.children, "plugins": changed}))
    looked.until_text("#plugins\\/mock .status", "down")
    assert looked.page.evaluate("window.flashes") == expected


def test_on_paper_nothing_is_folded_and_nothing_is_to_be_pressed(shown, origin):
    looked = shown(allowed=OUTAGE)
    origin.stop()
    looked.until(lambda: looked.page.locator("#page-reconnect").is_visible())
    assert not looked.page.locator("#sources\\/omnirt dd").is_visible()
    looked.page.emulate_media(media="print")
    assert not looked.page.locator("#page-reconnect").is_visible()
    assert looked.page.locator("#sources\\/omnirt dd").bounding_box()["height"] > 0


VIEWS = {
    "light": {},
    "dark": {"scheme": "dark"},
    "phone": {"viewport": PHONE},
    "contrast": {"contrast": "more"},
    "dark contrast": {"scheme": "dark", "contrast": "more"},
}


@pytest.mark.parametrize("is_lost", [False, True], ids=["live", "lost"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_that_would_shut_anybody_out(shown, origin, view, is_lost):
    pytest.importorskip("axe_playwright_python", reason="no axe-core (pip install 'statusd[test]')")
    script = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    looked = shown(allowed=OUTAGE, **VIEWS[view])
    if is_lost:
        origin.stop()
        looked.until(lambda: looked.page.locator("#page-reconnect").is_visible())
    for summary in looked.page.locator(".facts:not([hidden]) > summary:visible").all():
        summary.click()
    looked.page.evaluate(script)
    found = looked.page.evaluate("axe.run({ resultTypes: ['violations'] })")
    assert [
        (one["id"], one["help"], [(at["html"], at["failureSummary"]) for at in one["nodes"]])
        for one in found["violations"]
    ] == []
