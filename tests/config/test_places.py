"""Paths of the tree in a configuration: one spelling each, and something configured at every one of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from statusd import segment
from statusd.config import read_text
from statusd.config.places import Places, canonical
from statusd.model.rollup import BEST, WORST, Rule
from statusd.model.tree import join
from statusd.plugin.validation import MAX_SEGMENTS

PLACES = Places(
    sources=["queue", "gpu-1"], models=["flashtalk", "Qwen/Qwen2.5-7B", "qwen:7b", "a/b", "a%2Fb"]
)
FOUND = """
[sources.queue]
plugin = "p"
[sources.gpu-1]
plugin = "p"
[models]
flashtalk = "queue"
"Qwen/Qwen2.5-7B" = "queue"
"""

names = st.lists(st.one_of(st.text(min_size=1), st.sampled_from([".", "..", "%", "a/b", "~"])), min_size=1)
raw = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/%@"), max_size=2)


def told(text):
    return [str(one) for one in read_text(FOUND + text, "test.toml", {"M": "s3cret/x"}).mistakes]


@given(names)
def test_a_path_of_the_tree_is_its_own_canonical_form(parts):
    path = join(*map(segment, parts))
    assert canonical(path) == path


@given(names, st.data())
def test_every_equivalent_spelling_has_the_same_canonical_form(parts, data):
    """An escape in lower case, or one of a character that needs none, says the same (RFC 3986, section 6.2.2)."""

    def spelled(match):
        escape = match[0] if match[0].startswith("%") else f"%{ord(match[0]):02X}"
        return data.draw(st.sampled_from([match[0], escape, escape.lower()]))

    path = join(*map(segment, parts))
    other = re.sub("%..|[^/]", spelled, path)
    assume(not any(one in {".", ".."} for one in other.split("/")))
    assert canonical(other) == path


@given(st.text())
def test_any_text_is_a_canonical_path_or_told(text):
    error = path = None
    try:
        path = canonical(text)
    except ValueError as raised:
        error = raised
    if error is None:
        assert canonical(path or "/") == path
        assert re.fullmatch(r"[A-Za-z0-9_.~%/-]*", path)
    else:
        assert type(error) is ValueError
        assert str(error).isprintable()


@given(st.lists(raw, min_size=1, max_size=2))
def test_raw_names_are_told_with_the_path_that_was_meant(parts):
    meant = join(*(segment(f"{part}:") for part in parts))
    with pytest.raises(ValueError, match=re.escape(f'is not percent-encoded; write "{meant}"')):
        canonical("/".join(f"{part}:" for part in parts))


@given(st.sampled_from(sorted(PLACES.models)))
def test_every_model_is_found_by_its_path_and_no_other_is_taken_for_it(model):
    assert PLACES.find(f"models/{segment(model)}") == f"models/{segment(model)}"


@pytest.mark.parametrize(
    "path",
    [
        "sources",
        "models",
        "plugins",
        "daemon",
        "sources/queue",
        "sources/gpu-1/readers/r%2F1",
        "sources/queue" + "/x" * MAX_SEGMENTS,
        "plugins/anything",
        "daemon/loop",
    ],
)
def test_what_may_stand_in_the_tree_is_found(path):
    assert PLACES.find(path) == path
    assert PLACES.find("/") == ""


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", '"" is no path; write "/" for the whole tree'),
        ("//", '"//" is no path; write "/" for the whole tree'),
        ("/models/flashtalk", '"/models/flashtalk" has an empty segment; write "models/flashtalk"'),
        ("models/", '"models/" has an empty segment; write "models"'),
        (
            r"models/\u0007",
            r'"models/\u0007" holds characters that cannot be printed; write them percent-encoded',
        ),
        ("models/flashtlk", '"models/flashtlk" names no model; did you mean "models/flashtalk"?'),
        (
            "models/xyz",
            '"models/xyz" names no model; expected "models/Qwen%2FQwen2.5-7B" or "models/flashtalk"',
        ),
        (
            "models/Qwen/Qwen2.5-7B",
            '"models/Qwen/Qwen2.5-7B" is written "models/Qwen%2FQwen2.5-7B" in the tree',
        ),
        ("models/qwen:7b", '"models/qwen:7b" is not percent-encoded; write "models/qwen%3A7b"'),
        ("models/100%", '"models/100%" is not percent-encoded; write "models/100%25"'),
        ("models/a%2fb:c", '"models/a%2fb:c" is not percent-encoded; write "models/a%2Fb%3Ac"'),
        ("sources/queue/..", '"sources/queue/.." is not percent-encoded; write "sources/queue/%2E%2E"'),
        ("models/u:p@h", '"***@h" is not percent-encoded; write it as /state shows it'),
        ("models/${M}:", '"models/${M}:" is not percent-encoded; write it as /state shows it'),
        ("models//${M}", '"models//${M}" has an empty segment; write it as /state shows it'),
        (
            "models/flashtalk/x",
            '"models/flashtalk/x" goes on below a model, where nothing is; cut it there',
        ),
        ("plugins/p/x", '"plugins/p/x" goes on below a plugin, where nothing is; cut it there'),
        (
            "daemon/loop/x",
            '"daemon/loop/x" goes on below a part of the daemon, where nothing is; cut it there',
        ),
        ("sources/quue", '"sources/quue" names no source; did you mean "sources/queue"?'),
        ("sources/xyz/p", '"sources/xyz/p" names no source; expected "sources/gpu-1" or "sources/queue"'),
        ("daemon/lop", '"daemon/lop" names no part of the daemon; did you mean "daemon/loop"?'),
        ("model/flashtalk", '"model/flashtalk" begins with no branch of the tree; did you mean "models"?'),
        ("flashtalk", '"flashtalk" begins with no branch of the tree; did you mean "models/flashtalk"?'),
        ("queue/x", '"queue/x" begins with no branch of the tree; did you mean "sources/queue"?'),
        (
            "xyz",
            '"xyz" begins with no branch of the tree; expected "daemon", "models", "plugins" or "sources"',
        ),
        (
            "sources/queue" + "/x" * (MAX_SEGMENTS + 1),
            f'"sources/queue{"/x" * 9}" is too long; below a source are at most {MAX_SEGMENTS} segments',
        ),
    ],
)
def test_a_path_where_nothing_can_stand_is_told_with_the_remedy(path, message):
    assert told(f'[ready]\nrequire = ["{path}"]') == [f"ready.require[0]: {message}"]


def test_an_id_that_looks_encoded_is_no_other_models_raw_one():
    assert PLACES.find("models/a%2Fb") == "models/a%2Fb"
    assert PLACES.find("models/a%252Fb") == "models/a%252Fb"
    alone = Places(sources=[], models=["a%2Fb"])
    with pytest.raises(ValueError, match='is written "models/a%252Fb" in the tree'):
        alone.find("models/a%2Fb")


def test_a_long_id_is_told_whole():
    model = "x/" * 90
    with pytest.raises(ValueError, match=f'is written "models/{"x%2F" * 90}" in the tree'):
        Places(sources=[], models=[model]).find(f"models/{model}")


def test_where_nothing_is_configured_the_remedy_is_to_do_so():
    text = '[ready]\nrequire = ["models/a", "sources/a"]'
    assert [str(one) for one in read_text(text, "test.toml", {}).mistakes] == [
        'ready.require[0]: "models/a" names no model; no model is configured; add it to [models]',
        'ready.require[1]: "sources/a" names no source; no source is configured; add a table [sources.<name>]',
    ]


def test_what_has_a_mistake_of_its_own_is_a_place_all_the_same():
    text = '[sources.a]\n[models]\nm = "none"\n[ready]\nrequire = ["sources/a", "models/m"]'
    assert len(read_text(text, "test.toml", {}).mistakes) == 2


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        ("require = [1]", "ready.require[0]: expected a string, found the integer 1; write it in quotes"),
        (
            'require = "models"',
            'ready.require: expected an array of strings, found the string "models"; write it in brackets',
        ),
        ('requires = ["models"]', 'ready.requires: unknown key; did you mean "require"?'),
        (
            'require = ["models/flashtalk", "models/flash%74alk"]',
            'ready.require[1]: "models/flash%74alk" is listed twice; remove one',
        ),
        (
            'require = ["${UNSET}"]',
            'ready.require[0]: the variable UNSET is not set; set it, or give a default as in "${UNSET:-default}"',
        ),
    ],
)
def test_each_mistake_in_what_readiness_wants_is_told(table, mistake):
    assert told(f"[ready]\n{table}") == [mistake]


def test_every_mistake_in_what_readiness_wants_is_told_at_once():
    assert len(told('[ready]\nrequire = ["sources/x", 1, "", "models"]\nother = 1')) == 4


@pytest.mark.parametrize(
    ("table", "rules"),
    [
        ('"/" = "best"', {"": BEST}),
        ('models = "at_least(2)"\nplugins = "worst"', {"models": Rule(2), "plugins": WORST}),
        ('"models/Qwen%2fQwen2.5-7B" = "${RULE:- worst }"', {"models/Qwen%2FQwen2.5-7B": WORST}),
        ('"sources/queue/readers" = "best"', {"sources/queue/readers": BEST}),
    ],
)
def test_rules_are_kept_by_the_path_of_their_branch(table, rules):
    found = read_text(f"{FOUND}[rollup]\n{table}", "test.toml", {})
    assert (found.mistakes, found.rollup) == ((), rules)


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        ('models = "wrost"', 'models: "wrost" is no rule; expected "worst", "best" or "at_least(2)"'),
        (
            'models = "at_least(0)"',
            'models: "at_least(0)" is out of range; expected at_least(1) to at_least(10000)',
        ),
        (
            "models = 2",
            'models: expected a rule as a string, found the integer 2; write "at_least(2)"',
        ),
        (
            "models = true",
            (
                "models: expected a rule as a string, found the boolean true; "
                'write "worst", "best" or "at_least(2)"'
            ),
        ),
        (
            'sources.queue.readers = "best"',
            (
                "sources: expected a rule as a string, found a table; "
                'a path has slashes, and quotes around it: "sources/queue/readers"'
            ),
        ),
        (
            '"sources/queue" = "best"',
            (
                '"sources/queue": is decided by the report of the source itself; '
                'remove it, or name "sources" or a branch below it'
            ),
        ),
        (
            '"plugins/http" = "best"',
            '"plugins/http": has nothing below it that could be rolled up; remove it, or name "plugins"',
        ),
        (
            '"daemon/loop" = "best"',
            '"daemon/loop": has nothing below it that could be rolled up; remove it, or name "daemon"',
        ),
        (
            '"models/x" = "best"',
            '"models/x": names no model; expected "models/Qwen%2FQwen2.5-7B" or "models/flashtalk"',
        ),
        ('"" = "best"', '"": is no path; write "/" for the whole tree'),
        ('model = "best"', 'model: begins with no branch of the tree; did you mean "models"?'),
        (
            '"models/flashtalk" = "best"\n"models/flash%74alk" = "worst"',
            '"models/flash%74alk": names the same branch as a key before it; remove one',
        ),
    ],
)
def test_each_mistake_in_a_rule_is_told(table, mistake):
    assert told(f"[rollup]\n{table}") == [f"rollup.{mistake}"]


def test_path_and_rule_are_told_at_once():
    assert told('[rollup]\n"models/flashtlk" = "wurst"') == [
        'rollup."models/flashtlk": "wurst" is no rule; expected "worst", "best" or "at_least(2)"',
        'rollup."models/flashtlk": names no model; did you mean "models/flashtalk"?',
    ]
