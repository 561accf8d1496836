"""The view of ``/models``."""

from __future__ import annotations

import json
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import Node, OptionError, Snapshot, Status, ViewContext, segment
from statusd.model.nodes import Candidate, model_node
from statusd.model.tree import graft
from statusd_plugins import models
from statusd_plugins.models import ModelsView
from tests import seeds
from tests.model.samples import candidate


def claim(source: str, status: str, label: str = "", **rest: Any) -> Candidate:
    return candidate(source, status, label=label, **({"reason": "why"} | rest))


def snapshot(**candidates: list[Candidate]) -> Snapshot:
    nodes = {segment(model): model_node(claims) for model, claims in candidates.items()}
    branch = Node(status=Status.OK, children=nodes)
    return Snapshot(root=Node(status=Status.OK, children={"models": branch}), revision=1, version=1, at=0.0)


def view(*ids: str, **options: Any) -> ModelsView:
    return ModelsView(context=ViewContext(sources=(), models=ids), **options)


def rendered(given: ModelsView, tree: Snapshot) -> dict[str, Any]:
    document = given.render("/models", tree)
    assert (document.status, document.content_type) == (200, "application/json")
    body: dict[str, Any] = json.loads(document.body)
    return body


def status_of(*claims: Candidate) -> dict[str, Any]:
    found: dict[str, Any] = rendered(view("m"), snapshot(m=list(claims)))["statuses"][0]
    return found


def test_the_example_of_the_seed():
    off = {"reason": "not_configured"}
    tree = snapshot(
        mock=[claim("mock", "ok", "local_self_test")],
        flashtalk=[claim("omnirt", "off", **off)],
        musetalk=[claim("omnirt", "off", **off)],
        wav2lip=[claim("omnirt", "off", **off)],
        flashhead=[claim("flashhead", "off", plugin="direct_ws", backend="direct_ws", **off)],
        quicktalk=[claim("quicktalk", "ok", "local_runtime", plugin="local", backend="local")],
    )
    body = view(*seeds.MODELS["models"]).render("/models", tree).body
    assert json.loads(body) == seeds.MODELS
    assert body == json.dumps(seeds.MODELS, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("status", "label", "connected", "reason"),
    [
        ("ok", "", True, "omnirt"),
        ("degraded", "", True, "omnirt"),
        ("unknown", "", False, "omnirt_unavailable"),
        ("down", "", False, "omnirt_unavailable"),
        ("off", "", False, "not_configured"),
        ("ok", "local_runtime", True, "local_runtime"),
        ("degraded", "legacy_ws", True, "legacy_ws"),
        ("down", "local_adapter_missing", False, "local_adapter_missing"),
        ("unknown", "word", False, "word"),
        ("off", "word", False, "word"),
    ],
)
def test_the_decision_table(status: str, label: str, connected: bool, reason: str):
    assert status_of(claim("one", status, label, plugin="omnirt", backend="gpu")) == {
        "id": "m",
        "backend": "gpu",
        "connected": connected,
        "reason": reason,
    }


@pytest.mark.parametrize(
    ("statuses", "selected"),
    [
        (("down", "ok"), "b"),
        (("unknown", "degraded"), "b"),
        (("degraded", "ok"), "a"),
        (("ok", "ok"), "a"),
        (("down", "unknown"), "a"),
        (("off", "down"), "b"),
        (("off", "off"), "a"),
    ],
)
def test_with_several_sources_the_selected_one_speaks(statuses: tuple[str, str], selected: str):
    found = status_of(claim("a", statuses[0]), claim("b", statuses[1]))
    assert found["backend"] == selected
    assert found["connected"] == bool({"ok", "degraded"} & set(statuses))


def test_models_are_in_the_configured_order_and_ids_may_hold_anything():
    ids = ("TitanML/dummy model", "é%2F", "a")
    tree = snapshot(**{model: [claim("s", "ok")] for model in reversed(ids)})
    body = rendered(view(*ids), tree)
    assert body["models"] == [each["id"] for each in body["statuses"]] == list(ids)
    assert all(each["connected"] for each in body["statuses"])


def test_default_model_is_added_only_where_one_is_named():
    tree = snapshot(a=[claim("s", "ok")], b=[claim("s", "down")])
    plain, named = rendered(view("a", "b"), tree), rendered(view("a", "b", default="b"), tree)
    assert "default_model" not in plain
    assert named == plain | {"default_model": "b"}


def test_a_default_that_is_no_model_is_refused_with_the_configured_ones():
    with pytest.raises(OptionError, match=r'"c" is no model of .*"a", "b"') as caught:
        view("a", "b", default="c")
    assert caught.value.option == "default"
    with pytest.raises(OptionError, match="none"):
        view(default="c")


def test_a_model_missing_from_the_tree_is_shown_as_not_connected():
    empty = Snapshot(root=Node(status=Status.OK), revision=1, version=1, at=0.0)
    assert rendered(view("m"), empty) == {
        "models": ["m"],
        "statuses": [{"id": "m", "backend": "", "connected": False, "reason": "pending"}],
    }


def test_without_models_both_lists_are_empty():
    assert rendered(view(), snapshot()) == {"models": [], "statuses": []}


claims = st.lists(
    st.builds(
        claim,
        st.sampled_from("abc"),
        st.sampled_from([status.value for status in Status]),
        st.sampled_from(["", "word"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.source,
)


@given(st.dictionaries(st.sampled_from(["x", "y/z", "é", "q"]), claims))
@settings(deadline=None)
def test_it_is_whole_and_connected_exactly_where_a_source_is(table: dict[str, list[Candidate]]):
    body = rendered(view(*table), snapshot(**table))
    assert body["models"] == list(table)
    for shown, (model, candidates) in zip(body["statuses"], table.items(), strict=True):
        assert list(shown) == ["id", "backend", "connected", "reason"]
        assert shown["id"] == model
        assert shown["connected"] is any(one.status.is_connected for one in candidates)
        assert shown["backend"] in {one.backend for one in candidates}


def test_registration():
    added: list[type] = []
    models.statusd_register_views(type("Registry", (), {"add": staticmethod(added.append)})())
    assert added == [ModelsView]
    assert view("a").paths() == ("/models",)


@pytest.mark.parametrize(
    ("selected", "detail"),
    [
        ([("ok", "ok"), ("down", "timeout")], ""),
        ([("off", "not_configured")], ""),
        ([("ok", "ok"), ("unknown", "pending")], "not_observed"),
        ([("unknown", "stale"), ("unknown", "pending")], "not_observed"),
        ([("unknown", "parent_down"), ("unknown", "stale")], "stale"),
        ([("unknown", "parent_down"), ("unknown", "bad_report")], "parent_down"),
        ([("unknown", "plugin_missing")], "plugin_missing"),
    ],
)
def test_it_says_where_connected_is_false_without_anybody_knowing(
    selected: list[tuple[str, str]], detail: str
):
    claims = {
        f"m{place}": [claim("s", status, reason=reason)] for place, (status, reason) in enumerate(selected)
    }
    document = view(*claims).render("/models", snapshot(**claims))
    assert document.detail == detail


def test_a_model_that_the_tree_does_not_hold_yet_is_not_observed():
    empty = Snapshot(root=Node(status=Status.OK), revision=1, version=1, at=0.0)
    assert view("m").render("/models", empty).detail == "not_observed"


def test_a_candidate_that_is_not_selected_makes_no_default():
    tree = snapshot(m=[claim("a", "ok"), claim("b", "unknown", reason="pending")])
    assert view("m").render("/models", tree).detail == ""


def test_behind_it_are_the_sources_that_serve_models_each_once():
    context = ViewContext(sources=(), models=("x", "y"), serving={"x": ("b", "a"), "y": ("a", "c")})
    assert ModelsView(context=context).sources("/models") == ("b", "a", "c")


@pytest.mark.parametrize("default", ["", "m"])
def test_the_answer_is_of_the_type_that_openapi_shows(default: str):
    ((code, kind),) = view("m").responses("/models").items()
    assert code == 200
    body = view("m", default=default).render("/models", snapshot(m=[claim("s", "ok")])).body
    assert msgspec.json.encode(msgspec.json.decode(body, type=kind)) == body


@pytest.mark.parametrize("place", ["", "models", "models/m"])
def test_what_an_operator_has_drained_is_not_connected_whatever_its_sources_say(place: str):
    tree = snapshot(m=[claim("a", "ok")], n=[claim("b", "off", "own_word")])
    drained = attrs.evolve(tree.find(place), status=Status.OFF, reason="drained")
    tree = attrs.evolve(tree, root=graft(tree.root, place, drained))
    first, second = rendered(view("m", "n"), tree)["statuses"]
    assert (first["connected"], first["reason"], first["backend"]) == (False, "drained", "a")
    assert (second["connected"], second["reason"]) == (False, "own_word")


def test_a_model_whose_only_source_is_drained_shows_the_label_although_it_is_off():
    found = status_of(claim("a", "off", "drained", reason="drained"))
    assert (found["connected"], found["reason"]) == (False, "drained")
