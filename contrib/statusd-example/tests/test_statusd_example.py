"""The example plugin, tested as any author would: with the fakes and conformance checks of `statusd.testing`."""

from __future__ import annotations

import json

import pytest

from statusd import Context, Node, ProbeError, Report, Secret, Snapshot, SourceInfo, Status, Url, ViewContext
from statusd.testing import FakeContext, FakeHttp, FakeResponse, check_source
from statusd_example import LlamaCppSlots, SlotsView

URL = Url.parse("http://127.0.0.1:8080")
LOADING = FakeResponse(503, b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}')


def slots(*busy: bool) -> FakeResponse:
    return FakeResponse(
        200, json.dumps([{"id": n, "is_processing": one} for n, one in enumerate(busy)]).encode()
    )


def source(**answers: FakeResponse) -> LlamaCppSlots:
    http = FakeHttp({f"/{path}": answer for path, answer in answers.items()})
    return LlamaCppSlots(context=FakeContext(http=http), url=URL, api_key=Secret("sesame"))


async def test_busy_slots_are_counted():
    example = source(slots=slots(True, False, False))
    assert await example.probe() == Report.ok(facts={"busy": 1, "total": 3})
    assert example.context.http.asked[0][1] == {"Authorization": "Bearer sesame"}


async def test_a_server_without_a_free_slot_is_degraded():
    report = await source(slots=slots(True, True)).probe()
    assert (report.status, report.reason, report.facts) == (Status.DEGRADED, "busy", {"busy": 2, "total": 2})


@pytest.mark.parametrize("code", [404, 501, 503])
async def test_without_slots_the_health_endpoint_decides(code):
    report = await source(slots=FakeResponse(code), health=FakeResponse(200, b'{"status":"ok"}')).probe()
    assert (report.status, report.facts) == (Status.OK, {})


async def test_a_loading_server_is_not_connected():
    with pytest.raises(ProbeError, match="loading") as caught:
        await source(slots=LOADING, health=LOADING).probe()
    assert caught.value.reason == "loading"


@pytest.mark.parametrize("body", [b"[]", b"{}", b"[1]", b'[{"id": 0}]', b'[{"is_processing": true}, null]'])
async def test_another_kind_of_answer_is_a_fault(body):
    with pytest.raises(ProbeError) as caught:
        await source(slots=FakeResponse(200, body)).probe()
    assert caught.value.reason == "unexpected_answer"


@pytest.mark.usefixtures("autojump_clock")
async def test_it_keeps_what_every_source_owes_the_daemon():
    def make(context: Context) -> LlamaCppSlots:
        return LlamaCppSlots(context=context, url=URL, api_key=Secret("sesame"))

    def answers(context: FakeContext) -> None:
        context.http.answers["/slots"] = slots(False, True)

    await check_source(make, models=("tiny",), answers=answers)


def test_the_endpoint_shows_what_is_known():
    names = ("a", "b", "c", "other")
    infos = [SourceInfo(name=name, plugin="llamacpp_slots", backend="x") for name in names[:3]]
    infos.append(SourceInfo(name="other", plugin="http", backend="x"))
    facts = {"busy": 1, "total": 4}
    nodes = {
        "a": Node(status=Status.OK, facts=facts),
        "b": Node(status=Status.UNKNOWN, reason="stale", facts=facts),
    }
    root = Node(status=Status.OK, children={"sources": Node(status=Status.OK, children=nodes)})
    view = SlotsView(context=ViewContext(sources=tuple(infos), models=()))
    document = view.render("/slots", Snapshot(root=root, revision=1, version=1, at=0.0))
    assert json.loads(document.body) == {
        "sources": [
            {"name": "a", "busy": 1, "total": 4},
            {"name": "b", "busy": None, "total": None},
            {"name": "c", "busy": None, "total": None},
        ]
    }
