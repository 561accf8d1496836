"""JSON Pointer: the examples of RFC 6901, and the wildcard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd_plugins.json_pointer import Pointer

RFC = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", RFC),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_section_5(text, value):
    assert Pointer.parse(text).find(RFC) == [value]


@pytest.mark.parametrize(
    "text", ["/nope", "/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/x", "/foo/0/0", "//", "/foo/9999999999"]
)
def test_what_is_not_there_is_nothing(text):
    assert Pointer.parse(text).find(RFC) == []


def test_a_star_is_every_element_of_a_list_or_object():
    document = {"data": [{"id": "a"}, {"id": "b"}, {}, 3], "map": {"x": {"id": "c"}}}
    assert Pointer.parse("/data/*/id").find(document) == ["a", "b"]
    assert Pointer.parse("/*/*/id").find(document) == ["a", "b", "c"]
    assert Pointer.parse("/*").find("text") == []


@pytest.mark.parametrize("text", ["foo", "~", "/~", "/~2", "/a~", "#/foo"])
def test_what_is_no_pointer_is_refused(text):
    with pytest.raises(ValueError, match="no JSON pointer"):
        Pointer.parse(text)


@given(st.dictionaries(st.text(max_size=4), st.integers(), min_size=1))
def test_every_key_can_be_pointed_at(document):
    for key, value in document.items():
        text = "/" + key.replace("~", "~0").replace("/", "~1")
        if key != "*":
            assert Pointer.parse(text).find(document) == [value]


@given(st.text(max_size=12), JSON)
def test_no_text_and_no_document_raise_anything_else(text, document):
    try:
        found = Pointer.parse(text).find(document)
    except ValueError:
        return
    assert isinstance(found, list)
