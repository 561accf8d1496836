"""What a Takeoff status document is understood to say, in every documented version and in none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import Report, Status, parse_object
from statusd.plugin.validation import checked_reports
from statusd_plugins import takeoff_readers
from statusd_plugins.takeoff_readers import MAPS, MAX_PARTS, MAX_READERS, reports, understand

OURS = {
    "consumer_groups": ["generate"],
    "consumer_name": "generate-1",
    "device": "cuda",
    "enable_document_processing": False,
    "loras": None,
    "model_name": "TitanML/dummy_model",
    "model_type": "causal",
    "pids": [41],
}
MASKED = {name: OURS[name] for name in ("consumer_groups", "device", "loras", "model_name", "model_type")}
OLD = {
    "backend": "compress-cuda",
    "consumer_group": "primary",
    "model_name": "m",
    "model_type": "CAUSAL",
    "pids": [7, 3],
}


def management(**maps: Any) -> dict[str, Any]:
    empty = {"dead_readers": {}, "last_heartbeat": {}, "live_readers": {}, "loading_readers": {}}
    return {"config": {"port": 3000}, "status": {**empty, "reserved_consumers": [], **maps}}


def said(document: dict[str, Any]) -> dict[str, Report]:
    """Return the reports by path, held against the contract of reports."""
    return {report.path: report for report in checked_reports(reports(understand(document)))}


def verdict(document: dict[str, Any]) -> tuple[str, str]:
    whole = said(document)[""]
    return whole.status.value, whole.reason


A, B, C = {"a": OURS}, {"b": OURS}, {"c": OURS}


@pytest.mark.parametrize(
    ("live", "loading", "dead", "expected"),
    [
        ({}, {}, {}, ("ok", "no_readers")),
        (A, {}, {}, ("ok", "ok")),
        (A, B, {}, ("ok", "ok")),
        (A, {}, B, ("degraded", "some_dead")),
        (A, B, C, ("degraded", "some_dead")),
        ({}, A, {}, ("degraded", "loading")),
        ({}, A, B, ("degraded", "loading")),
        ({}, {}, A, ("down", "all_dead")),
    ],
)
@pytest.mark.parametrize("shape", ["management", "inference"])
def test_the_verdict_follows_the_readers(
    shape: str, live: Any, loading: Any, dead: Any, expected: tuple[str, str]
):
    maps = {"live_readers": live, "loading_readers": loading, "dead_readers": dead}
    document = management(**maps) if shape == "management" else {**maps, "ports": [0]}
    found = said(document)
    assert verdict(document) == expected
    assert found[""].facts == {
        "shape": shape,
        "live": len(live),
        "loading": len(loading),
        "dead": len(dead),
    }
    parts = live.keys() | loading.keys() | dead.keys()
    assert found.keys() == {"", *(f"readers/{part}" for part in parts), *(["readers"] if parts else [])}
    if parts:
        assert (found["readers"].status.value, found["readers"].reason) == expected
    for readers, status in ((live, "ok"), (loading, "degraded"), (dead, "down")):
        assert all(found[f"readers/{name}"].status.value == status for name in readers)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"config": {}, "status": None}, "null_status"),
        ({"status": None}, "null_status"),
        ({}, "unexpected_answer"),
        ({"config": {}}, "unexpected_answer"),
        ({"status": {}}, "unexpected_answer"),
        ({"status": "ok"}, "unexpected_answer"),
        ({"status": [], "config": {}}, "unexpected_answer"),
        ({"ports": [0]}, "unexpected_answer"),
        ({"live_readers": 5}, "unexpected_answer"),
        ({"live_readers": "generate-1", "dead_readers": A}, "unexpected_answer"),
        ({"live_readers": {}, "loading_readers": B, "dead_readers": True}, "unexpected_answer"),
        ({"live_readers": {str(n): {} for n in range(MAX_READERS + 1)}}, "unexpected_answer"),
    ],
)
def test_what_says_nothing_about_readers_is_unknown_and_never_healthy(document: dict[str, Any], reason: str):
    assert verdict(document) == ("unknown", reason)


def test_a_live_reader_decides_even_when_another_map_cannot_be_read():
    found = said({"live_readers": A, "dead_readers": 5})
    assert (found[""].status, found[""].reason) == (Status.OK, "ok")
    assert found[""].facts == {"shape": "inference", "live": 1, "loading": 0, "unreadable": ["dead_readers"]}


def test_null_and_missing_maps_are_empty():
    assert verdict({"live_readers": None}) == ("ok", "no_readers")
    assert verdict({"status": {"live_readers": {}}}) == ("ok", "no_readers")


def test_the_nested_maps_win_over_flat_ones_and_flat_ones_over_a_null_status():
    assert verdict({"status": {"dead_readers": A}, "live_readers": B}) == ("down", "all_dead")
    assert verdict({"status": None, "live_readers": B}) == ("ok", "ok")


@pytest.mark.parametrize(
    ("info", "facts"),
    [
        (
            OURS,
            {
                "model_name": "TitanML/dummy_model",
                "model_type": "causal",
                "device": "cuda",
                "consumer_name": "generate-1",
                "consumer_groups": ["generate"],
                "enable_document_processing": False,
                "pids": [41],
            },
        ),
        (
            MASKED,
            {
                "model_name": "TitanML/dummy_model",
                "model_type": "causal",
                "device": "cuda",
                "consumer_groups": ["generate"],
            },
        ),
        (
            OLD,
            {
                "model_name": "m",
                "model_type": "CAUSAL",
                "backend": "compress-cuda",
                "consumer_groups": ["primary"],
                "pids": [3, 7],
            },
        ),
        ({"loras": "adapter", "token": "secret", "model_name": "m"}, {"model_name": "m", "loras": "adapter"}),
        ({"pids": []}, {"pids": []}),
        (
            {
                "model_name": 5,
                "device": None,
                "consumer_groups": "x",
                "pids": {"a": 1},
                "enable_document_processing": 1,
            },
            {},
        ),
        (
            {"consumer_groups": ["b", 3, None, "a"], "pids": [True, -1, 2.0, 1 << 40, 9]},
            {"consumer_groups": ["a", "b"], "pids": [9]},
        ),
        (None, {}),
        ("text", {}),
        ([1], {}),
    ],
)
def test_a_readers_facts_are_what_is_known_and_of_the_documented_type(info: Any, facts: dict[str, Any]):
    assert said(management(live_readers={"r": info}))["readers/r"].facts == facts


def test_neither_the_configuration_nor_an_unknown_field_reaches_the_tree():
    document = management(live_readers={"r": {**OURS, "secret": "hidden"}}, secret="hidden")
    document["config"]["repository_path"] = "hidden"
    document["secret"] = "hidden"
    assert "hidden" not in repr(said(document))


@pytest.mark.parametrize(
    ("heartbeat", "measurements"),
    [
        (
            {"heartbeat_timestamp": 1763751600, "heartbeat_wait_interval": 10},
            {"heartbeat_timestamp": 1763751600.0, "heartbeat_wait_interval": 10.0},
        ),
        ({"heartbeat_timestamp": 1763751600123}, {"heartbeat_timestamp": 1763751600.123}),
        ({"heartbeat_timestamp": 4000000000}, {"heartbeat_timestamp": 4000000000.0}),
        ({"heartbeat_timestamp": 10**400, "heartbeat_wait_interval": "10"}, {}),
        ({"heartbeat_timestamp": True, "heartbeat_wait_interval": None}, {}),
        ({}, {}),
        (None, {}),
        ([1, 2], {}),
    ],
)
def test_a_heartbeat_becomes_measurements_in_seconds(heartbeat: Any, measurements: dict[str, float]):
    document = management(live_readers={"r": OURS}, last_heartbeat={"r": heartbeat, "other": {}})
    assert said(document)["readers/r"].measurements == measurements


@pytest.mark.parametrize("heartbeats", [None, 5, [], "r"])
def test_a_heartbeat_map_of_another_type_is_passed_over(heartbeats: Any):
    assert said(management(live_readers=A, last_heartbeat=heartbeats))["readers/a"].measurements == {}


def test_a_reader_in_two_maps_counts_once_in_its_worst_state():
    found = said(management(live_readers={"a": OURS, "b": OURS}, loading_readers=B, dead_readers=A))
    assert found["readers/a"].status is Status.DOWN
    assert found["readers/b"].status is Status.DEGRADED
    assert {name: found[""].facts[name] for name in ("live", "loading", "dead")} == {
        "live": 0,
        "loading": 1,
        "dead": 1,
    }


def test_lists_of_readers_are_read_like_maps():
    found = said(
        {
            "live_readers": ["x", {"reader_id": "y", "model_name": "m"}, {"consumer_name": "z"}, {}, 7],
            "dead_readers": ["q", "q", {}],
        }
    )
    assert found.keys() - {"", "readers"} == {
        f"readers/{name}" for name in ("x", "y", "z", "live-3", "live-4", "q", "q%231", "dead-2")
    }
    assert found["readers/y"].facts == {"model_name": "m"}
    assert found[""].facts == {"shape": "inference", "live": 5, "loading": 0, "dead": 3}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("TitanML/a b", "readers/TitanML%2Fa%20b"),
        ("", "readers/~e3b0c44298fc1c14"),
        (".", "readers/.~cdb4ee2aea69cc6a"),
        ("..", "readers/..~5ec1f7e700f37c3d"),
    ],
)
def test_any_reader_id_becomes_one_path_segment(key: str, path: str):
    assert path in said(management(live_readers={key: OURS}))


def test_long_reader_ids_stay_apart():
    keys = ["é" * 100_000 + end for end in "ab"]
    assert len(said(management(live_readers=dict.fromkeys(keys, OURS)))) == 4


def test_the_order_in_which_a_server_lists_readers_does_not_matter():
    readers = dict.fromkeys("abc", OURS)
    backwards = dict(reversed(readers.items()))
    assert list(said(management(live_readers=readers))) == list(said(management(live_readers=backwards)))


def test_beyond_the_limit_the_worst_readers_are_shown_and_a_fact_counts_the_rest():
    live = {f"live-{n}": OURS for n in range(MAX_PARTS)}
    found = said(management(live_readers=live, dead_readers={"zombie": OURS}))
    assert len(found) == MAX_PARTS + 2
    assert "readers/zombie" in found
    assert found[""].facts["readers_left_out"] == 1
    assert found[""].facts["live"] == MAX_PARTS


def test_facts_over_the_budget_are_left_out_reader_by_reader():
    fat = dict.fromkeys(takeoff_readers.TEXTS, "x" * 10_000)
    found = said(management(live_readers={f"r{n}": fat for n in range(400)}))
    bare = [path for path, report in found.items() if path.startswith("readers/") and not report.facts]
    assert 0 < len(bare) < 400
    assert found[""].facts["readers_without_facts"] == len(bare)


def test_reserved_consumers_of_the_status_are_a_fact():
    document = management(reserved_consumers=["generate", 5, "embed"])
    assert said(document)[""].facts["reserved_consumers"] == ["embed", "generate"]
    document["config"]["reserved_consumers"] = "hidden"
    assert "hidden" not in repr(said(document))


def test_the_example_of_the_first_releases_is_understood():
    status = {"input_model_paths": {"primary": "/m"}, "live_readers": {"primary": OLD}, "dead_readers": {}}
    assert verdict({"config": {"max_batch_size": 8}, "status": status}) == ("ok", "ok")


texts = st.text(st.sampled_from("aZ./~%#é\U0001f600\x00 "), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
infos = (
    st.dictionaries(st.sampled_from([*OURS, "backend", "consumer_group", "reader_id"]), anything) | anything
)
reader_maps = st.dictionaries(texts, infos, max_size=5) | st.lists(infos, max_size=5) | anything
statuses = st.dictionaries(st.sampled_from([*MAPS, "last_heartbeat", "reserved_consumers"]), reader_maps)
documents = statuses | st.fixed_dictionaries({"status": statuses | anything, "config": anything})


@given(documents)
@settings(deadline=None)
def test_any_document_gives_reports_within_the_contract(document: dict[str, Any]):
    found = said(document)
    whole = found[""]
    counts = {name: whole.facts.get(name) for name in ("live", "loading", "dead")}
    for state, status in (("live", Status.OK), ("loading", Status.DEGRADED), ("dead", Status.DOWN)):
        parts = [path for path, r in found.items() if path.startswith("readers/") and r.status is status]
        assert len(parts) == (counts[state] or 0)
    assert whole.status is not Status.OK or counts["live"] or whole.reason == "no_readers"


@given(texts, texts)
@settings(max_examples=300, deadline=None)
def test_different_readers_never_share_a_place(one: str, other: str):
    expected = 3 if one == other else 4
    assert len(said(management(live_readers={one: {}, other: {}}))) == expected


@given(documents)
@settings(deadline=None)
def test_reading_it_from_bytes_gives_the_same(document: dict[str, Any]):
    body = msgspec.json.encode(document)
    assert [r.status for r in said(parse_object(body)).values()] == [
        r.status for r in said(document).values()
    ]
