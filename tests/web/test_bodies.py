import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Node, Status
from statusd.web.bodies import encode, state_body, timestamp
from tests.web.client import snapshot


def render(found, path):
    body = state_body(found, path)
    return body and encode(body)


def test_the_tree_has_exactly_the_documented_keys_in_order():
    child = Node(
        status=Status.DOWN,
        reason="timeout",
        message="Too slow.",
        source="s",
        counts=False,
        since=1_700_000_000.5,
        observed_at=1.25,
        expires_at=2.0,
    )
    root = Node(
        status=Status.DOWN,
        reason="timeout",
        facts={"b": 1, "a": [None]},
        children={"x": child},
        rule="worst",
        decided_by=("x",),
        revision=5,
    )
    assert render(snapshot(root), "") == (
        b'{"revision":5,"path":"","node":{"status":"down","reason":"timeout","message":"","since":null,'
        b'"observed_at":null,"expires_at":null,"source":null,"counts":true,"restored":false,'
        b'"rollup":{"rule":"worst","decided_by":["x"]},"facts":{"b":1,"a":[null]},"children":{"x":{"status":"down",'
        b'"reason":"timeout","message":"Too slow.","since":"2023-11-14T22:13:20.500Z",'
        b'"observed_at":"1970-01-01T00:00:01.250Z","expires_at":"1970-01-01T00:00:02.000Z","source":"s",'
        b'"counts":false,"restored":false,"rollup":null,"facts":{},"children":{}}}}}'
    )


def test_a_branch_names_its_path():
    body = json.loads(render(snapshot(), "models/a%2Fb"))
    assert body["path"] == "models/a%2Fb"
    assert body["node"]["status"] == "ok"


def test_an_absent_branch_has_no_document():
    assert render(snapshot(), "models/a/b") is None


@pytest.mark.parametrize("value", [None, 0.0, float("nan"), float("inf"), 1e300, -1e300])
def test_what_is_no_date_is_null(value):
    assert timestamp(value) is None


@given(st.floats(min_value=0.001, max_value=4e9))
def test_timestamps_are_rfc_3339_with_milliseconds_and_order_like_their_instants(seconds):
    text = timestamp(seconds)
    assert len(text) == len("2026-11-21T20:37:25.123Z")
    assert text[10] == "T"
    assert text[-1] == "Z"
    assert text <= timestamp(seconds + 0.002)


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (2**200, 2**200),
        (MappingProxyType({"a": (1, 2)}), {"a": [1, 2]}),
        ("\ud800", "\ud800"),
        (1j, "1j"),
        (float("nan"), None),
        ("语音", "语音"),
    ],
)
def test_facts_of_any_kind_are_rendered(fact, expected):
    root = Node(status=Status.OK, facts={"fact": fact})
    assert json.loads(render(snapshot(root), ""))["node"]["facts"] == {"fact": expected}
