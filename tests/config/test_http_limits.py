"""The table [http.limits]: each bound within its range, and all of them together leave room."""

from __future__ import annotations

import attrs
import pytest

from statusd.config import read_text
from statusd.config.http_limits import LimitSettings
from statusd.web.edge.limits import Limits


def read(keys, environ=None):
    return read_text(f"[http.limits]\n{keys}", "test.toml", environ or {})


def limits(keys, environ=None):
    found = read(keys, environ)
    assert found.mistakes == ()
    return found.http.limits


def told(keys):
    return [str(mistake).removeprefix("http.limits.") for mistake in read(keys).mistakes]


def names(cls):
    return {field.name for field in attrs.fields(cls)}


def test_what_the_configuration_gives_is_what_the_edge_takes():
    assert names(LimitSettings) <= names(Limits)
    given, taken = LimitSettings(), Limits()
    derived = {name for name in names(LimitSettings) if getattr(given, name) is None}
    assert derived == {"connections", "streams", "waiting"}
    assert [(name, getattr(given, name)) for name in sorted(names(LimitSettings) - derived)] == [
        (name, getattr(taken, name)) for name in sorted(names(LimitSettings) - derived)
    ]


def test_each_bound_is_taken():
    whole = {
        "connections": 1000,
        "connections_per_peer": 7,
        "reserved": 8,
        "streams": 500,
        "waiting": 400,
        "header_bytes": 1024,
        "body_bytes": 1,
        "requests": 1,
    }
    seconds = {
        "handshake_timeout": 0.1,
        "header_timeout": 3600.0,
        "body_timeout": 0.5,
        "request_timeout": 61.0,
        "idle_timeout": 60.0,
        "send_timeout": 60.0,
    }
    assert whole.keys() | seconds.keys() == names(LimitSettings)
    text = "\n".join(f"{name} = {value}" for name, value in {**whole, **seconds}.items())
    assert limits(text) == LimitSettings(**whole, **seconds)
    assert limits('streams = "${S}"', {"S": "5"}).streams == 5


@pytest.mark.parametrize(
    ("key", "least", "most", "unit"),
    [
        ("connections", 1, 1_000_000, "connections"),
        ("connections_per_peer", 0, 1_000_000, "connections, 0 for no bound"),
        ("reserved", 1, 1_000_000, "connections"),
        ("streams", 1, 1_000_000, "event streams"),
        ("waiting", 1, 1_000_000, "requests"),
        ("header_bytes", 1024, 1_048_576, "bytes"),
        ("body_bytes", 1, 67_108_864, "bytes"),
        ("requests", 1, 1_000_000_000, "requests"),
    ],
)
def test_what_is_beyond_a_range_is_told_with_its_unit(key, least, most, unit):
    for value in (least - 1, most + 1):
        assert told(f"{key} = {value}") == [
            f"{key}: {value} is out of range; expected {least} to {most} {unit}"
        ]
    # `connections` must have room for what is reserved, and `reserved` has no say where it is not set.
    assert getattr(limits(f"{key} = {most}"), key) == most


@pytest.mark.parametrize("key", sorted(name for name in names(LimitSettings) if name.endswith("_timeout")))
def test_no_timeout_is_zero_or_over_an_hour(key):
    for value in ("0", "0.09", "3601", "-1"):
        assert told(f"{key} = {value}") == [f"{key}: {value} is out of range; expected 0.1 to 3600 seconds"]
    assert told(f"{key} = inf") == [f"{key}: inf is no finite number; write one"]
    assert told(f"{key} = true") == [f"{key}: expected a number, found the boolean true"]


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        (
            "connections = 112\nstreams = 50\nwaiting = 30",
            ("connections: 112 leaves no room beside streams (50), waiting (30) and reserved (32); "
            "write at least 113, or lower those"),
        ),
        (
            "connections = 82\nstreams = 50",
            ("connections: 82 leaves no room beside streams (50) and reserved (32); "
            "write at least 83, or lower those"),
        ),
        (
            "connections = 32",
            "connections: 32 leaves no room beside reserved (32); write at least 33, or lower that",
        ),
        (
            "request_timeout = 10",
            ("request_timeout: 10 leaves no time beside body_timeout (5) and send_timeout (5); "
            "write more than 10, or lower those"),
        ),
        (
            "body_timeout = 80\nsend_timeout = 10.5",
            ("request_timeout: 90 leaves no time beside body_timeout (80) and send_timeout (10.5); "
            "write more than 90.5, or lower those"),
        ),
        ("stream = 5", 'stream: unknown key; did you mean "streams"?'),
        ("requests = 1.5", "requests: expected an integer, found the number 1.5"),
    ],
)  # fmt: skip
def test_bounds_that_leave_no_room_are_told(keys, mistake):
    assert told(keys) == [mistake]


@pytest.mark.parametrize(
    "keys",
    ["connections = 113\nstreams = 50\nwaiting = 30", "connections = 33", "connections = 2\nreserved = 1"],
)
def test_room_for_one_more_is_enough(keys):
    assert limits(keys).connections is not None
