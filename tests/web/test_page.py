"""The page as it is sent: everything in it, nothing of it taken for markup, and nothing but itself allowed."""

import base64
import hashlib
import json
import re
import urllib.parse
from html.parser import HTMLParser

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from statusd import Node, Snapshot, Status, segment
from statusd.model.tree import walk
from statusd.web.bodies import encode, state_body
from statusd.web.page import HEADERS, render_page, words
from tests.web.trees import HOSTILE, NOW, candidate, roots, served, tree

VOID = {"meta", "link"}
EMPTY_SVG = {"path", "use"}


class Tree(HTMLParser):
    """Reads a document strictly: each element is closed in order; keeps what is shown where."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.ids = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), "an attribute twice"
        element = Element(tag, dict(attributes), tuple(self.open))
        self.elements.append(element)
        for above in self.open:
            above.below.append(element)
        if tag not in VOID:
            self.open.append(element)
        if "id" in element.attributes and not any(above.tag == "template" for above in self.open):
            self.ids.append(element.attributes["id"])

    def handle_startendtag(self, tag, attributes):
        assert tag in EMPTY_SVG, f"<{tag}/> is no empty element of HTML"
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        for element in self.open:
            element.text += data

    def by_id(self, name):
        (found,) = [one for one in self.elements if one.attributes.get("id") == name and one.is_shown]
        return found

    def tagged(self, tag):
        return [one for one in self.elements if one.tag == tag]


@attrs.define(eq=False)
class Element:
    tag: str
    attributes: dict
    above: tuple
    text: str = ""
    below: list = attrs.field(factory=list)

    @property
    def is_shown(self):
        return not any(one.tag == "template" for one in self.above)

    def slot(self, name):
        """Return the first element of a class below this one: what is its own comes before what is its children's."""
        return next(one for one in self.below if name in one.attributes.get("class", "").split())


def page(root, **rest):
    document = render_page(Snapshot(root=root, revision=7, version=1, at=NOW, **rest))
    assert document.status == 200
    assert document.content_type == "text/html; charset=utf-8"
    return document.body.decode()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_an_upstream_is_markup(text):
    part = Node(
        status=Status.DOWN, reason="dead", message=text, facts={text: [text, {text: text}], "plain": text}
    )
    source = Node(status=Status.OK, message=text, children={segment(text): part})
    one = candidate(text, label=text, backend=text + "!")
    root = tree(sources={"inference": source}, models={segment(text): served(message=text, candidates=[one])})
    found = Tree(page(root))
    harmless = Tree(
        page(tree(sources={"inference": source}, models={"m": served(candidates=[candidate("s")])}))
    )
    assert [one.tag for one in found.tagged("script")] == ["script"]
    assert {one.tag for one in found.elements} == {one.tag for one in harmless.elements}
    for element in found.elements:
        assert not {name for name in element.attributes if name.startswith("on")}
    shown = found.by_id(f"sources/inference/{segment(text)}")
    assert shown.slot("name").text == text
    assert shown.slot("message").text == text
    assert [one.text for one in shown.below if one.tag == "dt"] == [text, "plain"]
    assert [one.text for one in shown.below if one.tag == "dd"] == [
        f"[{json.dumps(text)}, {{{json.dumps(text)}: {json.dumps(text)}}}]",
        text,
    ]
    model = found.by_id(f"models/{segment(text)}")
    assert model.slot("name").text == text
    assert model.slot("candidate-source").text == text
    assert model.slot("candidate").below[-2].text == text + "!"


def test_only_what_is_in_the_page_may_run_and_it_talks_to_its_own_origin_only():
    found = Tree(page(tree()))
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    (script,), (style,) = found.tagged("script"), found.tagged("style")

    def source(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy == {
        "default-src": "'none'",
        "script-src": source(script.text),
        "style-src": source(style.text),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert HEADERS["Referrer-Policy"] == "no-referrer"
    assert script.text.strip()
    assert style.text.strip()


def test_it_needs_nothing_from_elsewhere_and_has_no_inline_handlers_or_styles():
    text = page(tree(sources={"queue": Node(status=Status.OK)}))
    for element in Tree(text).elements:
        assert "style" not in element.attributes
        assert "src" not in element.attributes
        href = element.attributes.get("href", "#")
        assert href.startswith(("#page-", "data:image/svg+xml,")) or href in {"#", "state"}, href
    style, script = (
        re.search("<style>(.*?)</style>", text, re.DOTALL)[1],
        re.search('module">(.*)</script>', text, re.DOTALL)[1],
    )
    assert not re.search(r"url\(|@import|expression", style)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script
    )
    for inline in (style, script):
        assert "<!--" not in inline
        assert not re.search(r"</?(script|style)", inline, re.IGNORECASE)
        assert "\r" not in inline


def test_it_reads_as_a_document():
    found = Tree(page(tree(sources={"queue": Node(status=Status.DOWN)}, models={"mock": served()})))
    assert found.tagged("html")[0].attributes == {"lang": "en"}
    assert [len(found.tagged(tag)) for tag in ("title", "h1", "main", "header", "footer")] == [1] * 5
    assert len(found.ids) == len(set(found.ids))
    for element in found.elements:
        if element.is_shown and (name := element.attributes.get("aria-labelledby")):
            assert found.by_id(name).text
    headings = [one.text for one in found.tagged("h2") if one.is_shown]
    assert headings == ["Models", "Sources"]


@given(roots)
def test_every_node_of_the_tree_is_in_the_page_once_with_what_it_says(root):
    found = Tree(page(root))
    expected = {path: node for path, node in walk(root) if path}
    assert sorted(name for name in found.ids if not name.startswith("page-")) == sorted(expected)
    for path, node in expected.items():
        shown = found.by_id(path)
        assert shown.attributes["data-status"] == shown.slot("status").text == node.status
        assert shown.slot("shape").below[0].attributes["href"] == f"#page-{node.status}"
        assert shown.slot("message").text == words.visible(node.message)
        assert shown.slot("reason").text in {node.reason, ""}
        if "/" in path:
            assert shown.slot("name").text == words.visible(words.label(path.rpartition("/")[2]))
    above = {path: path.rpartition("/")[0] for path in expected if path.count("/") > 0}
    for path, parent in above.items():
        assert found.by_id(parent) in found.by_id(path).above


plain_text = st.text(
    st.characters(
        exclude_categories=["Cc", "Cs"],
        exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    )
)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
)


@given(st.dictionaries(plain_text, plain_values, max_size=3))
@example({"queue_size": 10**40, "load": 1e16, "zero": -0.0})
def test_facts_are_shown_as_state_spells_them_to_the_last_digit(facts):
    root = tree(sources={"queue": Node(status=Status.OK, facts=facts)})
    body = encode(state_body(Snapshot(root=root, revision=7, version=1, at=NOW), "sources/queue"))
    shown = Tree(page(root)).by_id("sources/queue")
    names, values = ([one.text for one in shown.below if one.tag == tag] for tag in ("dt", "dd"))
    expected = exactly(body)["node"]["facts"]
    found = dict(zip(names, values, strict=True))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] if isinstance(value, str) else exactly(found[name])) == value


def exactly(text):
    """Return a JSON value with its numbers as they are spelled."""
    return json.loads(text, parse_int=lambda digits: (digits,), parse_float=lambda digits: (digits,))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tab\tand\nnewline", "tab\tand\nnewline"),
        ("NUL \0, ESC \x1b, CR \r, DEL \x7f, CSI \x9b", "NUL �, ESC �, CR �, DEL �, CSI �"),
        ("gpj\u202egnp.exe", "gpj�gnp.exe"),
        ("half \ud83d of a smile", "half � of a smile"),
        ("Größe 🙂", "Größe 🙂"),
    ],
)
def test_what_nobody_would_see_shows_as_a_replacement_character(text, shown):
    root = tree(sources={"queue": Node(status=Status.OK, message=text, facts={text: text})})
    node = Tree(page(root)).by_id("sources/queue")
    assert node.slot("message").text == shown
    assert [one.text for one in node.below if one.tag in {"dt", "dd"}] == [shown, shown]


@pytest.mark.parametrize(
    ("status", "models", "sources", "sentence"),
    [
        ("ok", ["ok", "off"], ["ok"], "Everything is as it should be."),
        ("off", ["off"], [], "Nothing that counts is configured."),
        ("down", ["down", "ok", "off"], ["ok"], "1 of 2 models is not ok."),
        ("down", ["down"], [], "1 of 1 model is not ok."),
        ("unknown", ["ok"], ["unknown", "down", "ok"], "2 of 3 sources are not ok."),
        ("degraded", ["degraded"], ["down", "ok"], "1 of 1 model and 1 of 2 sources are not ok."),
        ("ok", ["down", "ok", "ok"], [], "1 of 3 models is not ok, and the whole is."),
        ("unknown", [], [], "The whole is not ok."),
    ],
)
def test_the_whole_in_one_sentence(status, models, sources, sentence):
    def nodes(statuses):
        return {f"n{number}": Node(status=Status(one)) for number, one in enumerate(statuses)}

    root = attrs.evolve(tree(sources=nodes(sources), models=nodes(models)), status=Status(status))
    head = Tree(page(root)).by_id("page-verdict")
    assert head.slot("status").text == status
    assert head.slot("sentence").text == sentence


def test_a_node_that_does_not_count_says_so_and_takes_no_part_in_the_sentence():
    root = tree(sources={"queue": Node(status=Status.DOWN, counts=False), "omnirt": Node(status=Status.OK)})
    found = Tree(page(root))
    assert found.by_id("sources/queue").slot("apart").text == "does not count"
    assert found.by_id("sources/omnirt").slot("apart").text == ""
    assert found.by_id("page-verdict").slot("sentence").text == "Everything is as it should be."


def test_a_model_shows_its_backend_and_its_candidates():
    candidates = [candidate("ws", backend="direct_ws"), candidate("omnirt", "down", reason="timeout")]
    found = Tree(page(tree(models={"flashtalk": served(candidates=candidates), "x": served(Status.OFF)})))
    model = found.by_id("models/flashtalk")
    assert model.slot("serving").text == "connected, backend direct_ws from source ws"
    assert [" ".join(one.text.split()) for one in model.below if one.tag == "li"] == [
        "ws ok direct_ws selected",
        "omnirt down timeout",
    ]
    assert not [one for one in model.below if one.tag == "dt"], "they are said already"
    assert found.by_id("models/x").slot("connected").text == "not connected"


@pytest.mark.parametrize("candidates", [None, "text", 7, {}, [None], ["x"], [{"source": 1, "status": "ok"}]])
def test_a_model_with_other_facts_still_shows(candidates):
    model = Node(status=Status.OK, facts={"backend": 1, "source": None, "candidates": candidates})
    assert Tree(page(tree(models={"m": model}))).by_id("models/m").slot("name").text == "m"


def test_times_without_a_script_are_those_of_the_clock_and_not_ages_that_stand_still():
    node = Node(status=Status.OK, since=NOW - 60, observed_at=NOW - 1, expires_at=NOW + 8)
    never = Node(status=Status.UNKNOWN, since=NOW, observed_at=NOW)
    text = page(tree(sources={"queue": node, "first": never}))
    shown = Tree(text).by_id("sources/queue")
    assert shown.slot("since").text == "since 2027-01-15 07:59:00 UTC"
    assert shown.slot("since").attributes["datetime"] == "2027-01-15T07:59:00.000Z"
    assert shown.slot("seen").text == "seen 2027-01-15 07:59:59 UTC"
    assert Tree(text).by_id("sources/first").slot("seen").text == "", "a statement for good is no reading"
    assert "the state at 2027-01-15 08:00:00 UTC" in text


def test_a_rule_other_than_worst_says_what_decided():
    branch = Node(status=Status.DOWN, rule="at_least(2)", decided_by=tuple("abcdef"))
    found = Tree(page(Node(status=Status.DOWN, children={"models": branch})))
    assert found.by_id("models").slot("rule").text == "at_least(2): decided by a, b, c, d, e and 1 more"


def test_names_are_decoded_once():
    found = Tree(page(tree(models={segment("a/b%2Fc"): served(), "%FF": served()})))
    assert found.by_id("models/" + urllib.parse.quote("a/b%2Fc", safe="")).slot("name").text == "a/b%2Fc"
    assert found.by_id("models/%FF").slot("name").text == "%FF"
