"""What the documented endpoints answer after a restart, until the first probe has finished."""

from __future__ import annotations

import json
from typing import Any

import pytest

from statusd import Document, Node, Report, Snapshot, SourceInfo, Status, View, ViewContext
from statusd.model.assembly import Assembly, Origin, State
from statusd.model.merge import Reading, expired
from statusd_plugins.models import ModelsView
from statusd_plugins.redis_queue import QueueView
from statusd_plugins.takeoff import StatusView


def restored(plugin: str, *reports: Report, is_stale: bool = False, models: tuple[str, ...] = ()) -> State:
    reading = Reading(reports=reports, observed_at=1.0, expires_at=20.0)
    return State.restored(
        Origin(name="s", plugin=plugin, backend=plugin, models=models, made_of="f"),
        expired(reading, "Old.") if is_stale else reading,
    )


def answer(kind: type[View], path: str, state: State) -> Document:
    models = state.origin.models
    root: Node = Assembly([state], {model: ["s"] for model in models}).tree({})
    info = SourceInfo(name="s", plugin=state.origin.plugin, backend=state.origin.backend)
    view = kind(context=ViewContext(sources=(info,), models=models, serving=dict.fromkeys(models, ("s",))))
    return view.render(path, Snapshot(root=root, revision=1, version=1, at=10.0))


QUEUE: dict[str, Any] = {"slot_occupied": True, "queue_size": 10**30}


@pytest.mark.parametrize("report", [Report.ok(facts=QUEUE), Report.degraded("bad_value", facts=QUEUE)])
def test_the_queue_is_what_it_was_and_marked(report: Report) -> None:
    document = answer(QueueView, "/queue/status", restored("redis_queue", report))
    assert json.loads(document.body) == QUEUE
    assert (document.status, document.detail) == (200, "restored")


@pytest.mark.parametrize(
    ("report", "detail"),
    [
        (Report.down("refused"), "redis_unreachable"),
        (Report.unknown("no_key"), "no_key"),
        (Report.ok(facts={"slot_occupied": 1, "queue_size": 3}), "not_observed"),
        (Report.ok(facts={"slot_occupied": True, "queue_size": -3}), "not_observed"),
    ],
)
def test_a_queue_that_was_not_known_or_is_nonsense_is_nothing(report: Report, detail: str) -> None:
    document = answer(QueueView, "/queue/status", restored("redis_queue", report))
    assert json.loads(document.body) == {"slot_occupied": False, "queue_size": 0}
    assert document.detail == detail


def test_a_queue_of_long_ago_is_nothing_and_stale() -> None:
    document = answer(
        QueueView, "/queue/status", restored("redis_queue", Report.ok(facts=QUEUE), is_stale=True)
    )
    assert json.loads(document.body) == {"slot_occupied": False, "queue_size": 0}
    assert document.detail == "stale"


@pytest.mark.parametrize("report", [Report.ok(), Report.down("refused"), Report.degraded("loading")])
def test_there_is_no_body_to_relay_before_the_first_probe(report: Report) -> None:
    document = answer(StatusView, "/status", restored("takeoff", report))
    assert (document.status, document.detail) == (503, "restored")
    assert json.loads(document.body)["reason"] == "pending"


def test_models_are_what_they_were_and_marked() -> None:
    state = restored("omnirt", Report.ok(), Report.down("not_listed", model="b"), models=("a", "b"))
    document = answer(ModelsView, "/models", state)
    assert document.detail == "restored"
    assert [
        (one["id"], one["connected"], one["reason"]) for one in json.loads(document.body)["statuses"]
    ] == [
        ("a", True, "omnirt"),
        ("b", False, "omnirt_unavailable"),
    ]


def test_models_of_long_ago_are_stale_and_not_connected() -> None:
    document = answer(ModelsView, "/models", restored("omnirt", Report.ok(), models=("a",), is_stale=True))
    assert document.detail == "stale"
    assert not json.loads(document.body)["statuses"][0]["connected"]


def test_a_word_of_its_own_is_kept_for_a_model() -> None:
    state = restored("local", Report.ok(), Report.ok(model="a", label="local_runtime"), models=("a",))
    (status,) = json.loads(answer(ModelsView, "/models", state).body)["statuses"]
    assert (status["reason"], Status(state.judgement.models["a"].report.status)) == ("local_runtime", "ok")
