"""Variables in strings: the forms, the defaults, the escape, what is refused, and where a text came from."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from statusd.config.interpolate import (
    BROKEN,
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_NESTING,
    Expanded,
    InterpolationError,
    expand,
    expand_values,
)
from statusd.config.mistakes import Mistake

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
texts = st.text(max_size=30)
plain = texts.filter(lambda text: "$" not in text and "}" not in text)


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("${A}", {"A": "1"}, "1"),
        ("x${A}y${B}z", {"A": "1", "B": "2"}, "x1y2z"),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-d}", {"A": "1"}, "1"),
        ("${A:-}", {}, ""),
        ("${A}", {"A": ""}, ""),
        ("${A:-${B:-d}}", {}, "d"),
        ("${A:-${B:-d}}", {"B": "2"}, "2"),
        ("${A:-http://${HOST:-h}:${PORT:-80}/}", {"HOST": "example"}, "http://example:80/"),
        ("${A:-${B}}", {"A": "1"}, "1"),
        ("${A:-a:-b}", {}, "a:-b"),
        ("${A:-{}", {}, "{"),
        ("$${A}", {"A": "1"}, "${A}"),
        ("$$${A}", {"A": "1"}, "$${A}"),
        ("${A:-$${B}}", {}, "${B}"),
        ("${A:-$${B}}", {"A": "1"}, "1"),
        ("$A $ $$ } {", {"A": "1"}, "$A $ $$ } {"),
        ("${A}", {"A": "${B} $${ }"}, "${B} $${ }"),
    ],
)
def test_each_form_gives_what_the_shell_gives(text, environ, expected):
    assert expand(text, environ) == expected


@settings(deadline=None)
@given(texts)
@example("$${")
@example("$$${}")
def test_text_with_its_openings_escaped_comes_out_as_it_was(text):
    assert expand(text.replace("${", "$${"), {}) == text


@settings(deadline=None)
@given(names, texts.filter(bool), plain)
def test_a_value_is_taken_as_it_is_and_never_expanded_again(name, value, default):
    value = value.replace("\ud800", "")
    assert expand(f"<${{{name}:-{default}}}>", {name: value or "x"}) == f"<{value or 'x'}>"


@settings(deadline=None)
@given(names, plain, st.sampled_from([{}, {"empty": True}]))
def test_unset_and_empty_take_the_default(name, default, how):
    assert expand(f"${{{name}:-{default}}}", {name: ""} if how else {}) == default


@settings(deadline=None)
@given(st.text(alphabet="${}:-AB \\\n", max_size=40), st.dictionaries(st.sampled_from("AB"), texts))
def test_any_text_is_expanded_or_refused_with_messages(text, environ):
    try:
        outcome = expand(text, environ)
    except InterpolationError as error:
        outcome = error
    assert isinstance(outcome, str) or (outcome.messages and all(outcome.messages))


@settings(deadline=None)
@given(plain, plain, plain, texts.filter(bool))
def test_spans_mark_exactly_what_the_environment_gave(before, default, after, value):
    result = expand(f"{before}${{A}}${{B:-{default}}}{after}", {"A": value})
    assert isinstance(result, Expanded)
    assert [str(result)[start:end] for start, end in result.spans] == [value]
    assert result.written == f"{before}${{A}}${{B:-{default}}}{after}"


def test_a_string_without_variables_is_no_expanded_one():
    assert type(expand("a $${b}", {})) is str
    assert type(expand("a", {})) is str
    assert type(expand("${A:-}", {})) is Expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${A}", 'the variable A is not set; set it, or give a default as in "${A:-default}"'),
        (
            "x ${A:-b",
            '"x ${A:-b" has a "${" without its "}"; close it, or write "$${" for a literal "${"',
        ),
        ("${", '"${" has a "${" without its "}"; close it, or write "$${" for a literal "${"'),
        ("${A", '"${A" has a "${" without its "}"; close it, or write "$${" for a literal "${"'),
        (
            "${A-b}",
            (
                '"${A-b}" has a "${" that is no variable; expected "${NAME}" or "${NAME:-default}", '
                'or "$${" for a literal "${"'
            ),
        ),
        ("${A:-" * 17 + "}" * 17, '"${" is nested over 16 levels deep; use fewer variables'),
    ],
)
def test_what_is_refused_comes_with_the_remedy(text, message):
    with pytest.raises(InterpolationError) as caught:
        expand(text, {})
    assert caught.value.messages == (message,)


@pytest.mark.parametrize("text", ["${}", "${1}", "${ A}", "${A }", "${A:b}", "${A:?b}", "${é}"])
def test_other_forms_of_the_shell_are_no_variables(text):
    with pytest.raises(InterpolationError, match="that is no variable"):
        expand(text, {"A": "1"})


def test_every_unset_variable_of_a_string_is_told_once():
    with pytest.raises(InterpolationError) as caught:
        expand("${A}${B}${A}", {})
    assert [message[:14] for message in caught.value.messages] == ["the variable A", "the variable B"]


def test_nesting_is_allowed_up_to_its_bound():
    assert expand("${A:-" * MAX_NESTING + "x" + "}" * MAX_NESTING, {}) == "x"


def test_a_value_that_is_not_utf8_is_refused_by_its_name():
    with pytest.raises(InterpolationError, match="the value of the variable A is not UTF-8; correct it"):
        expand("${A}", {"A": "\udcff"})


def test_a_text_that_grows_beyond_the_bound_is_refused():
    assert len(expand("${A}", {"A": "x" * MAX_LENGTH})) == MAX_LENGTH
    with pytest.raises(InterpolationError, match="is over 65536 characters once expanded"):
        expand("${A}x", {"A": "x" * MAX_LENGTH})


def test_values_are_expanded_at_any_depth_and_keys_are_not():
    mistakes = []
    table = {"${A}": ["${A}", {"k": "${A}", "n": 1}], "b": "${B}", "c": ["${B}"]}
    expanded = expand_values(table, {"A": "1"}, "", mistakes)
    assert expanded == {"${A}": ["1", {"k": "1", "n": 1}], "b": BROKEN, "c": [BROKEN]}
    unset = 'the variable B is not set; set it, or give a default as in "${B:-default}"'
    assert mistakes == [Mistake("b", unset), Mistake("c[0]", unset)]


def test_tables_nested_without_end_are_a_mistake_and_no_recursion():
    table = {}
    for _ in range(5000):
        table = {"a": table}
    mistakes = []
    expand_values(table, {}, "", mistakes)
    assert [mistake.message for mistake in mistakes] == [
        f"nested over {MAX_DEPTH} levels deep; quote keys that contain a dot"
    ]
