"""The `takeoff` source and the view of ``/status``."""

from __future__ import annotations

import json
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import (
    Node,
    OptionError,
    ProbeError,
    Report,
    Snapshot,
    SourceInfo,
    Status,
    Url,
    ViewContext,
    parse_object,
)
from statusd.model.basis import Basis
from statusd.model.merge import Reading, expired
from statusd.plugin.validation import checked_reports
from statusd.testing import Reader
from statusd.testing.fakes import FakeContext, FakeResponse
from statusd.testing.takeoff_schemas import management_document
from statusd_plugins import takeoff, takeoff_redaction
from statusd_plugins.takeoff import StatusView, TakeoffSource
from statusd_plugins.takeoff_body import TakeoffStatus
from statusd_plugins.takeoff_redaction import redacted
from tests.model.samples import node_of

BODY = b"""{ "config": {"port": 3000, "big": 1180591620717411303424, "repository_path": "/home"},
  "status": {"live_readers": {"r1": {"pids": [41], "model_name": "m"}, "r2": {"pids": [], "model_name": "m"}},
    "dead_readers": {}, "loading_readers": {}, "last_heartbeat": {}, "reserved_consumers": []},
  "status_extra": 1e2 }\r\n"""


def source(context: FakeContext, **options: Any) -> TakeoffSource:
    return TakeoffSource(context=context, url=Url.parse("http://127.0.0.1:3000"), **options)


def answering(status: int, body: bytes, target: str = "/status") -> FakeContext:
    context = FakeContext(name="inference", plugin="takeoff")
    context.http.answers[target] = FakeResponse(status, body)
    return context


async def probed(context: FakeContext, **options: Any) -> Report:
    """Probe and return the report about the source itself, held against the contract."""
    return checked_reports(await source(context, **options).probe())[0]


async def failure(context: FakeContext, **options: Any) -> str:
    with pytest.raises(ProbeError) as caught:
        await source(context, **options).probe()
    return caught.value.reason


async def test_a_good_answer_is_relayed_byte_for_byte():
    report = await probed(answering(200, BODY))
    assert report.payload is not None
    assert (report.payload.body, report.payload.content_type) == (BODY, "application/json")
    assert (report.status, report.facts["live"]) == (Status.OK, 2)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b'{"config":{},"status":null}', Status.UNKNOWN, "null_status"),
        (b"{}", Status.UNKNOWN, "unexpected_answer"),
        (b'{"status":"green"}', Status.UNKNOWN, "unexpected_answer"),
        (b'{"live_readers":{},"dead_readers":{},"ports":[0]}', Status.OK, "no_readers"),
        (b'{"live_readers":{},"dead_readers":{"r":{}}}', Status.DOWN, "all_dead"),
    ],
)
async def test_any_json_object_is_relayed_whatever_it_says(body: bytes, status: Status, reason: str):
    report = await probed(answering(200, body))
    assert (report.status, report.reason) == (status, reason)
    assert report.payload is not None
    assert report.payload.body == body


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, b"", "unavailable"),
        (503, b"Server is not available", "unavailable"),
        (503, b'{"detail":"Server is not available"}', "unavailable"),
        (503, BODY, "unavailable"),
        (500, BODY, "http_error"),
        (404, b"", "http_error"),
        (401, b"", "unauthorized"),
        (307, b"", "redirect"),
        (204, b"", "unexpected_answer"),
        (203, BODY, "unexpected_answer"),
        (200, b"", "bad_json"),
        (200, BODY[:-20], "bad_json"),
        (200, BODY + BODY, "bad_json"),
        (200, b"<!doctype html><title>It works</title>", "bad_json"),
        (200, b"[]", "bad_json"),
        (200, b"null", "bad_json"),
        (200, b'{"config":NaN}', "bad_json"),
        (200, b'{"config":1e999}', "bad_json"),
        (200, b'{"a":"\xff"}', "bad_json"),
        (200, b'{"a":"\\ud800"}', "bad_json"),
        (200, b"\xef\xbb\xbf{}", "bad_json"),
        (200, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "bad_json"),
        (200, b'{"a":' + b"9" * 5000 + b"}", "bad_json"),
    ],
)
async def test_every_other_answer_is_a_failure_with_its_reason(status: int, body: bytes, reason: str):
    assert await failure(answering(status, body)) == reason


async def test_a_body_over_the_limit_is_too_large():
    assert await failure(answering(200, BODY), max_body=len(BODY) - 1) == "too_large"
    assert (await probed(answering(200, BODY), max_body=len(BODY))).status is Status.OK


async def test_the_clients_errors_pass_through():
    context = FakeContext()
    context.http.answers["/status"] = ProbeError("refused", "Nothing listens.")
    assert await failure(context) == "refused"


@pytest.mark.parametrize(
    ("url", "path", "target"),
    [
        ("http://h:3000", "/status", "/status"),
        ("http://h:3000/", "status", "/status"),
        ("https://h/gateway/", "/status", "/gateway/status"),
        ("http://h/own", "", "/own"),
        ("http://h?token=x", "/status", "/status?token=x"),
    ],
)
async def test_the_path_is_appended_to_the_url(url: str, path: str, target: str):
    context = answering(200, b"{}", target)
    probe = TakeoffSource(context=context, url=Url.parse(url), path=path)
    assert checked_reports(await probe.probe())[0].payload is not None
    assert [(asked.target, headers) for asked, headers in context.http.asked] == [(target, {})]


def test_without_a_url_it_is_not_configured():
    assert not TakeoffSource(context=FakeContext()).is_configured
    assert source(FakeContext()).is_configured


@pytest.mark.parametrize(
    "options",
    [
        {"url": Url.parse("ftp://h")},
        {"url": Url.parse("http://h/?wait=5")},
        {"url": Url.parse("http://h/?a=1&wait")},
        {"path": "/healthz?wait=1"},
        {"path": "/a b"},
        {"path": "/a\r\nX: y"},
        {"path": "/é"},
        {"max_body": 0},
        {"redact": ("config",)},
        {"redact": ("/config", "")},
        {"redact": ("",)},
        {"redact": ("/a~2b",)},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]):
    with pytest.raises(ValueError, match=r"must|scheme|pointer|whole"):
        TakeoffSource(context=FakeContext(), **options)


async def test_redacted_values_leave_the_body_and_nothing_else_does():
    report = await probed(
        answering(200, BODY), redact=("/config/repository_path", "/status/live_readers/*/pids")
    )
    assert report.payload is not None
    expected = json.loads(BODY)
    del expected["config"]["repository_path"]
    for reader in expected["status"]["live_readers"].values():
        del reader["pids"]
    assert json.loads(report.payload.body) == expected
    assert "redact_unmatched" not in report.facts


async def test_a_pointer_that_names_nothing_is_a_fact():
    report = await probed(answering(200, BODY), redact=("/config", "/config/port", "/confgi", "/config/0"))
    assert report.facts["redact_unmatched"] == ["/confgi", "/config/0"]
    assert report.payload is not None
    assert "config" not in json.loads(report.payload.body)


@pytest.mark.parametrize(
    ("text", "document", "expected"),
    [
        ("/a", {"a": 1, "b": 2}, {"b": 2}),
        ("/a/b", {"a": {"b": 1}}, {"a": {}}),
        ("/", {"": 1, "b": 2}, {"b": 2}),
        ("/a~1b", {"a/b": 1, "a": {"b": 2}}, {"a": {"b": 2}}),
        ("/a~0b", {"a~b": 1}, {}),
        ("/~01", {"~1": 1, "/": 2}, {"/": 2}),
        ("/a/1", {"a": [1, 2, 3]}, {"a": [1, None, 3]}),
        ("/a/01", {"a": [1, 2, 3]}, {"a": [1, 2, 3]}),
        ("/a/-", {"a": [1, 2]}, {"a": [1, 2]}),
        ("/a/9", {"a": [1, 2]}, {"a": [1, 2]}),
        ("/a/*", {"a": [1, 2]}, {"a": [None, None]}),
        ("/*", {"a": 1, "b": 2}, {}),
        ("/*/x", {"a": {"x": 1, "y": 2}, "b": {"x": 3}, "c": 4}, {"a": {"y": 2}, "b": {}, "c": 4}),
        ("/a/b/c", {"a": "text"}, {"a": "text"}),
    ],
)
def test_json_pointers(text: str, document: dict[str, Any], expected: dict[str, Any]):
    body, unmatched = redacted(msgspec.json.encode(document), (text,))
    assert parse_object(body) == expected
    assert unmatched == ([text] if document == expected else [])


def test_a_document_that_cannot_be_encoded_again_is_bad_json(monkeypatch: pytest.MonkeyPatch):
    def refuse(_document: object) -> bytes:
        raise RecursionError

    monkeypatch.setattr(takeoff_redaction.msgspec.json, "encode", refuse)
    with pytest.raises(ProbeError) as caught:
        redacted(b"{}", ())
    assert caught.value.reason == "bad_json"


texts = st.text(st.sampled_from("ab/~*01"), max_size=3)
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@given(st.dictionaries(texts, values, max_size=4), st.data())
@settings(deadline=None)
def test_what_a_pointer_names_is_gone_and_redacting_twice_changes_nothing(
    document: dict[str, Any], data: Any
):
    key = data.draw(st.sampled_from(sorted(document)) if document else texts)
    text = "/" + key.replace("~", "~0").replace("/", "~1")
    body, unmatched = redacted(msgspec.json.encode(document), (text,))
    rest = parse_object(body)
    assert key not in rest
    assert unmatched == ([] if key in document or (key == "*" and document) else [text])
    if key != "*":
        assert rest == {name: value for name, value in document.items() if name != key}
    assert redacted(body, (text,))[0] == body


def test_registration():
    class Registry:
        def __init__(self) -> None:
            self.added: list[type] = []

        def add(self, added: type) -> None:
            self.added.append(added)

    sources, views = Registry(), Registry()
    takeoff.statusd_register_sources(sources)
    takeoff.statusd_register_views(views)
    assert (sources.added, views.added) == ([TakeoffSource], [StatusView])


def info(name: str, plugin: str = "takeoff") -> SourceInfo:
    return SourceInfo(name=name, plugin=plugin, backend=plugin)


def view(*sources: SourceInfo, **options: Any) -> StatusView:
    return StatusView(context=ViewContext(sources=sources, models=()), **options)


def snapshot(**nodes: Node) -> Snapshot:
    branch = Node(status=Status.OK, children=nodes)
    return Snapshot(root=Node(status=Status.OK, children={"sources": branch}), revision=1, version=1, at=0.0)


def node(*reports: Report) -> Node:
    return node_of(Reading(reports=reports, observed_at=1.0, expires_at=9.0))


async def good_node(body: bytes = BODY) -> Node:
    return node(*await source(answering(200, body)).probe())


async def test_status_is_the_relayed_body():
    document = view(info("inference")).render("/status", snapshot(inference=await good_node()))
    assert (document.status, document.content_type, document.body) == (200, "application/json", BODY)


async def test_an_unknown_node_that_has_a_body_still_relays_it():
    body = b'{"config": {}, "status": null}'
    found = await good_node(body)
    assert found.status is Status.UNKNOWN
    assert view(info("inference")).render("/status", snapshot(inference=found)).body == body


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (node(Report.down("refused", "Nothing listens.")), "refused"),
        (node(Report.unknown("pending", "Not yet.")), "pending"),
        (node(Report.off("not_configured", "No URL.")), "not_configured"),
    ],
)
def test_without_a_body_it_is_503_and_says_why(found: Node, reason: str):
    document = view(info("inference")).render("/status", snapshot(inference=found))
    assert (document.status, document.content_type) == (503, "application/problem+json")
    assert parse_object(document.body) == {
        "type": "about:blank",
        "title": "Server is not available",
        "status": 503,
        "reason": reason,
        "detail": found.message,
    }


async def test_a_stale_body_is_not_relayed():
    reading = Reading(reports=tuple(await source(answering(200, BODY)).probe()))
    stale = node_of(expired(reading, "Past its lifetime."))
    document = view(info("inference")).render("/status", snapshot(inference=stale))
    assert (document.status, parse_object(document.body)["reason"]) == (503, "stale")


def test_without_any_takeoff_source_it_is_not_configured():
    nobody = view(info("queue", "redis_queue"))
    assert nobody.paths() == ("/status",)
    document = nobody.render("/status", snapshot())
    assert (document.status, parse_object(document.body)["reason"]) == (503, "not_configured")


def test_a_source_that_the_tree_does_not_hold_is_503():
    assert view(info("gone")).render("/status", snapshot()).status == 503


async def test_each_source_has_a_path_and_the_first_or_the_named_one_has_status():
    sources = info("queue", "redis_queue"), info("a"), info("b")
    tree = snapshot(a=await good_node(b'{"a":1}'), b=await good_node(b'{"b":1}'))
    first, named = view(*sources), view(*sources, source="b")
    assert first.paths() == named.paths() == ("/status", "/status/a", "/status/b")
    assert [first.render(path, tree).body for path in first.paths()] == [b'{"a":1}', b'{"a":1}', b'{"b":1}']
    assert [named.render(path, tree).body for path in named.paths()] == [b'{"b":1}', b'{"a":1}', b'{"b":1}']


@pytest.mark.parametrize(("name", "match"), [("queue", 'name one of "a"'), ("nobody", 'name one of "a"')])
def test_a_named_source_that_is_none_is_refused_with_the_remedy(name: str, match: str):
    with pytest.raises(OptionError, match=match) as caught:
        view(info("queue", "redis_queue"), info("a"), source=name)
    assert caught.value.option == "source"


def test_a_named_source_without_any_to_name_is_refused_with_the_remedy():
    with pytest.raises(OptionError, match='configure one with plugin = "takeoff"'):
        view(source="a")


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        (node(Report.down("refused", "Nothing listens.")), "refused"),
        (node(Report.unknown("pending", "Not yet.")), "not_observed"),
        (node(Report.off("not_configured", "No URL.")), "not_configured"),
    ],
)
def test_where_nothing_can_be_relayed_the_answer_is_marked(found: Node, detail: str):
    assert view(info("inference")).render("/status", snapshot(inference=found)).detail == detail
    assert view(info("inference")).render("/status", snapshot()).detail == "not_observed"
    assert view().render("/status", snapshot()).detail == "not_configured"


async def test_a_relayed_body_stands_in_for_nothing():
    assert view(info("inference")).render("/status", snapshot(inference=await good_node())).detail == ""


async def test_it_follows_the_newest_probe_whatever_thresholds_or_a_parent_make_of_the_node():
    good = await good_node()
    failed = Basis(newest=Report.down("timeout", "No answer."))
    deciding = attrs.evolve(good, payload=None, basis=failed, message="1 of 3 probes say down (timeout).")
    parentless = attrs.evolve(good, status=Status.UNKNOWN, reason="parent_down")
    document = view(info("inference")).render("/status", snapshot(inference=deciding))
    problem = parse_object(document.body)
    assert (problem["reason"], problem["detail"], document.detail) == ("timeout", "No answer.", "timeout")
    assert view(info("inference")).render("/status", snapshot(inference=parentless)).body == BODY


def test_behind_each_path_is_its_own_source():
    shown = view(info("queue", "redis_queue"), info("a"), info("b"), source="b")
    assert [shown.sources(path) for path in shown.paths()] == [("b",), ("a",), ("b",)]
    assert view().sources("/status") == ()


SEED = {
    "config": {
        "allow_remote_images": False, "body_size_limit_bytes": 2097152, "echo": False, "enable_metrics": True,
        "heartbeat_check_interval": 1, "internal_port": 3005, "management_port": 3001,
        "max_prompt_string_bytes": 150000, "max_user_batch_size": 1000, "openai_port": 3003, "port": 3000,
        "reader_message_timeout_ms": 500, "repository_path": "/path/to/home/artefacts",
        "reserved_consumers": "string", "snowflake_port": 3004, "vertex_port": 3002,
    },
    "status": {
        "dead_readers": {}, "last_heartbeat": {}, "live_readers": {}, "loading_readers": {},
        "reserved_consumers": ["string"],
    },
}  # fmt: skip
"""The example of the documentation."""


def test_the_documented_type_is_the_documented_one():
    assert msgspec.convert(SEED, TakeoffStatus, strict=True).config.port == 3000
    assert msgspec.convert(SEED | {"status": None}, TakeoffStatus).status is None
    document = management_document({"a": Reader(), "b": Reader(state="dead")})
    assert json.loads(msgspec.json.encode(msgspec.convert(document, TakeoffStatus))) == document
    _, components = msgspec.json.schema_components([TakeoffStatus])
    config = components["AppConfig"]
    assert len(config["properties"]) == len(config["required"]) == 16
    assert config["properties"]["vertex_port"] == {"type": "integer", "format": "int32", "default": 3002}
    assert config["properties"]["heartbeat_check_interval"]["format"] == "int64"
    assert {name: each["default"] for name, each in config["properties"].items()} == SEED["config"] | {
        "reserved_consumers": ""
    }
    assert components["TakeoffStatus"]["required"] == ["config"]
    assert {"type": "null"} in components["TakeoffStatus"]["properties"]["status"]["anyOf"]
    assert "loras" not in components["ReaderInfo"]["required"]
