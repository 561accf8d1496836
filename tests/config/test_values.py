"""Values into the types that plugins declare, and what is said when they do not fit."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import Secret, Url
from statusd.config.convert import convert
from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN, Expanded
from statusd.config.keytypes import mentions, type_words
from statusd.errors import PluginError

Port = NewType("Port", int)


class Colour(enum.Enum):
    RED = "red"


def converted(value, wanted, environ=None):
    findings = Findings(environ=environ or {})
    result = convert(value, wanted, "x", findings)
    assert (result is BROKEN) == bool(findings.mistakes)
    return result, [str(mistake) for mistake in findings.mistakes]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('text = "a"', {"text": "a"}),
        ("number = 4", {"number": 4}),
        ("ratio = 1", {"ratio": 1.0}),
        ("ratio = 0.5", {"ratio": 0.5}),
        ("flag = true", {"flag": True}),
        ('choice = "tcp"', {"choice": "tcp"}),
        ('names = ["a", "b"]', {"names": ["a", "b"]}),
        ('pair = [3, "c"]', {"pair": (3, "c")}),
        ('headers = { X-A = "1" }', {"headers": {"X-A": "1"}}),
        ('unit = "a"', {"unit": "a"}),
        ('unit = ["a"]', {"unit": ["a"]}),
        ('url = ""', {"url": Url()}),
        ('url = "http://h:1/p"', {"url": Url.parse("http://h:1/p")}),
        ('mirrors = ["http://h"]', {"mirrors": [Url.parse("http://h")]}),
        ("", {}),
    ],
)
def test_each_kind_of_key_takes_its_value(options, keys, expected):
    assert options(keys) == expected


@pytest.mark.parametrize(
    ("keys", "environ", "expected"),
    [
        ('number = "${N}"', {"N": " 4 "}, {"number": 4}),
        ('number = "${N:--4}"', {}, {"number": -4}),
        ('number = "${N}"', {"N": "0o660"}, {"number": 0o660}),
        ('ratio = "${N:-2.5}"', {}, {"ratio": 2.5}),
        ('ratio = "${N}"', {"N": "1e3"}, {"ratio": 1000.0}),
        ('flag = "${N}"', {"N": "True"}, {"flag": True}),
        ('flag = "${N:-false}"', {}, {"flag": False}),
        ('text = "${N}"', {"N": "4"}, {"text": "4"}),
        ('names = ["${N}"]', {"N": "a"}, {"names": ["a"]}),
        ('choice = "${N}"', {"N": "tcp"}, {"choice": "tcp"}),
        ('unit = "${N}"', {"N": "a"}, {"unit": "a"}),
    ],
)
def test_text_from_the_environment_becomes_what_the_key_wants(options, keys, environ, expected):
    found = options(keys, environ)
    assert found == expected
    assert not any(isinstance(value, Expanded) for value in found.values())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("text = 1", "text: expected a string, found the integer 1; write it in quotes"),
        ("text = 1979-05-27", "text: expected a string, found the date 1979-05-27; write it in quotes"),
        ("text = 07:32:00", "text: expected a string, found the date 07:32:00; write it in quotes"),
        ("text = true", "text: expected a string, found the boolean true; write it in quotes"),
        ('text = ["a"]', "text: expected a string, found an array"),
        ('number = "4"', 'number: expected an integer, found the string "4"; write it without quotes'),
        ('number = "four"', 'number: expected an integer, found the string "four"'),
        ("number = 4.0", "number: expected an integer, found the number 4.0"),
        ("number = true", "number: expected an integer, found the boolean true"),
        (
            "number = 9223372036854775808",
            "number: expected an integer of at most 64 bits, found the integer 9223372036854775808",
        ),
        (
            f"number = 0x{'f' * 5000}",
            "number: expected an integer of at most 64 bits, found an integer of more than 64 bits",
        ),
        ("number = 3", "number: 3 must be even"),
        ('ratio = "fast"', 'ratio: expected a number, found the string "fast"'),
        ("ratio = nan", "ratio: nan is no finite number; write one"),
        ("ratio = inf", "ratio: inf is no finite number; write one"),
        ("ratio = 0", "ratio: 0 must be greater than 0"),
        ('flag = "true"', 'flag: expected a boolean, found the string "true"; write it without quotes'),
        ("flag = 1", "flag: expected a boolean, found the integer 1"),
        (
            'choice = "htpp"',
            'choice: expected "http", "handshake" or "tcp", found the string "htpp"; did you mean "http"?',
        ),
        ('choice = "x"', 'choice: expected "http", "handshake" or "tcp", found the string "x"'),
        ('names = "a"', 'names: expected an array of strings, found the string "a"; write it in brackets'),
        ('names = ["a", 1]', "names[1]: expected a string, found the integer 1; write it in quotes"),
        ("pair = [1]", "pair: expected an array of 2, found one of 1"),
        ('pair = ["a", "b"]', 'pair[0]: expected an integer, found the string "a"'),
        ("headers = { A = 1 }", "headers.A: expected a string, found the integer 1; write it in quotes"),
        (
            'headers = { "a b" = 1 }',
            'headers."a b": expected a string, found the integer 1; write it in quotes',
        ),
        ("headers = []", "headers: expected a table, found an array"),
        (
            "unit = 1",
            "unit: expected a string or an array of strings, found the integer 1; write it in quotes",
        ),
        ("unit = [1]", "unit[0]: expected a string, found the integer 1; write it in quotes"),
        ("url = 1", "url: expected a URL as a string, found the integer 1; write it in quotes"),
        (
            'url = "localhost:80"',
            'url: "localhost:80" is not a URL: it must begin with a scheme, such as "http://"',
        ),
        ('url = "ftp://h"', 'url: "ftp://h" has the scheme "ftp://"; expected "http://", "https://"'),
        ('url = "http://h:99999"', 'url: "http://h:99999" has a port that is not a number from 1 to 65535'),
        ('text = "clash"\nflag = true', "flag: does not go with this text; remove it"),
    ],
)
def test_what_does_not_fit_is_told_with_type_value_and_remedy(one_mistake, keys, message):
    assert one_mistake(keys) == message


def test_a_mistake_in_an_expanded_string_shows_the_file_and_not_the_environment(one_mistake):
    environ = {"N": "hidden-value"}
    assert one_mistake('number = "${N}"', environ) == (
        'number: expected an integer, found the string "${N}"; its text after expansion must be one'
    )
    assert one_mistake('choice = "${N}"', environ) == (
        'choice: expected "http", "handshake" or "tcp", found the string "${N}"'
    )
    assert one_mistake('url = "${N}"', environ) == (
        'url: "${N}" is not a URL: it must begin with a scheme, such as "http://"'
    )
    assert one_mistake('url = "${N}://h"', {"N": "ftp"}) == (
        'url: "${N}://h" has the scheme "ftp://"; expected "http://", "https://"'
    )


def test_long_and_unprintable_values_are_cut_and_escaped(one_mistake):
    assert one_mistake(f'number = "{"x" * 500}"') == (
        f'number: expected an integer, found the string "{"x" * 80}…"'
    )
    assert one_mistake('number = "a\\u202eb\\u0007\\"c"') == (
        'number: expected an integer, found the string "a\\u202eb\\u0007\\"c"'
    )


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ({"a": [1, "x"]}, Any, {"a": [1, "x"]}),
        ([Expanded("a", "${A}")], object, ["a"]),
        (["a"], tuple[str, ...], ("a",)),
        (["a"], frozenset[str], frozenset("a")),
        (["a"], Sequence[str], ["a"]),
        (["a"], list, ["a"]),
        ([1, "a"], tuple, (1, "a")),
        ({"a": 1}, dict, {"a": 1}),
        ({"a": 1}, Mapping[str, int], {"a": 1}),
        ("a", Optional[str], "a"),  # noqa: UP045  # a plugin may be written so
        (8000, Port, 8000),
        (5, Annotated[int, msgspec.Meta(ge=1)], 5),
        (["a"], Annotated[list[str], "names"], ["a"]),
        (5, Annotated[int, {"unhashable": 1}], 5),
        ([5], list[Annotated[int, {"unhashable": 1}]], [5]),
        ("red", Colour, Colour.RED),
        (2, Literal[1, 2], 2),
        (Expanded("2", "${N}"), int | str, 2),
        (Expanded("x", "${N}"), int | str, "x"),
    ],
)
def test_further_types_that_plugins_may_declare(value, wanted, expected):
    assert converted(value, wanted) == (expected, [])


@pytest.mark.parametrize(
    ("value", "wanted", "message"),
    [
        (0, Annotated[int, msgspec.Meta(ge=1)], "x: 0 does not fit: Expected int >= 1"),
        ("blue", Colour, 'x: "blue" does not fit: not one of its values'),
        (True, Literal[1, 2], "x: expected 1 or 2, found the boolean true"),
        ("a", int | bool, 'x: expected an integer or a boolean, found the string "a"'),
        ({}, int | list[int], "x: expected an integer or an array of integers, found a table"),
        ("a", list[Annotated[int, []]], 'x: expected an array, found the string "a"; write it in brackets'),
        ({"env": 1}, str | Secret, "x.env: expected a string, found the integer 1"),
    ],
)
def test_what_does_not_fit_further_types(value, wanted, message):
    assert converted(value, wanted) == (BROKEN, [message])


def test_what_is_broken_already_is_not_told_again():
    for value, wanted in (
        (BROKEN, int),
        ([BROKEN], list[int]),
        ({"a": BROKEN}, dict[str, int]),
        ([BROKEN], Any),
    ):
        findings = Findings(environ={})
        assert convert(value, wanted, "x", findings) is BROKEN
        assert findings.mistakes == []


@pytest.mark.parametrize("wanted", [type("Odd", (), {}), set[list[int]], "Unresolved", [1]])
def test_a_type_that_no_value_can_have_is_the_plugins_fault(wanted):
    with pytest.raises(PluginError, match="which no configuration value can have") as caught:
        converted([[1]], wanted)
    assert caught.value.reason == "plugin_failed"


values = st.recursive(
    st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.dates(), st.just(BROKEN)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=6,
)
types = st.sampled_from(
    [
        str,
        int,
        float,
        bool,
        Url,
        Secret,
        Secret | None,
        list[str],
        dict[str, int | str],
        tuple[int, ...],
        Any,
        Literal["a", 1],
        str | list[Url],
        Colour,
        Annotated[int, msgspec.Meta(ge=1)],
    ]
)


@settings(deadline=None)
@given(values, types)
def test_any_value_is_converted_or_told_in_one_line_a_mistake(value, wanted):
    findings = Findings(environ={})
    result = convert(value, wanted, "x", findings)
    assert not (findings.mistakes and result is not BROKEN)
    assert all(str(mistake).isprintable() for mistake in findings.mistakes)


def test_types_are_told_in_the_words_of_toml():
    assert type_words(list[Url]) == "an array of URLs"
    assert type_words(Secret | None) == "a secret by reference"
    assert type_words(tuple[int, ...] | bool) == "an array of integers or a boolean"
    assert type_words(Annotated[dict[str, Any], "x"]) == "a table"
    assert type_words(Any) == "another value"
    assert mentions(dict[str, Secret | None], Secret)
    assert not mentions(Literal["a"] | list[str], Secret)
