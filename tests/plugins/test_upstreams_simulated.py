"""`takeoff`, `omnirt` and `direct_ws` against simulated servers: real clients, real sockets, a mock clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest
from trio.testing import MockClock

from statusd import Report, Secret, Source, Url
from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.tcp import TcpClient
from statusd.net.trace import Trace
from statusd.net.websocket import WebSocketClient
from statusd.runtime.context import SourceLog
from statusd.runtime.probing import Prober
from statusd.testing import (
    NOT_AVAILABLE,
    SCHEMAS,
    Behaviour,
    Cut,
    Drip,
    Drop,
    FakeContext,
    FlashHead,
    Hang,
    Ignore,
    OmniRT,
    Refuse,
    Takeoff,
    Unreachable,
    endless_body,
    garbage_model_lists,
    garbage_status_answers,
    say,
)
from statusd_plugins.direct_ws import DirectWsSource
from statusd_plugins.omnirt import OmniRtSource
from statusd_plugins.takeoff import TakeoffSource

MODELS = ("flashtalk", "wav2lip")
SILENT = [Hang(), Hang(first=b"HTTP/1.1 200 OK\r\nContent-"), Ignore(), Drip()]
"""What a server can do for ever without ever being done."""

Probe = Callable[..., Awaitable[dict[str, Report]]]


@pytest.fixture
def patient_clock() -> MockClock:
    """A mock clock that lets loopback sockets deliver before it jumps."""
    return MockClock(autojump_threshold=0.05)


@pytest.fixture
async def probe() -> AsyncIterator[Probe]:
    """Probe a source as the daemon does; the reports come by path, those of models as ``model:<id>``."""
    trace = Trace()
    http = HttpClient(Resolver(), trace)
    context = FakeContext(
        models=MODELS,
        http=http,
        websocket=WebSocketClient(Resolver(), trace),
        tcp=TcpClient(Resolver(), trace),
    )

    async def run(source_type: type[Source], **options: Any) -> dict[str, Report]:
        prober = Prober(
            name="example",
            source=source_type(context=context, **options),
            timeout=2.0,
            models=MODELS,
            trace=trace,
            redact=lambda value: value,
            log=SourceLog("example"),
        )
        reports = await prober.probe()
        return {f"model:{report.model}" if report.model else report.path: report for report in reports}

    yield run
    await http.aclose()


def verdict(found: dict[str, Report], path: str = "") -> tuple[str, str]:
    return found[path].status.value, found[path].reason


def body_of(found: dict[str, Report]) -> bytes:
    payload = found[""].payload
    assert payload is not None
    return payload.body


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_takeoff_readers_through_their_life_in_every_version(schema: Any, probe: Probe):
    async with Takeoff(schema=schema, now=lambda: 1763751600.0) as server:
        url = Url.parse(server.url)
        steps: list[tuple[dict[str, Any], tuple[str, str]]] = [
            ({}, ("ok", "no_readers")),
            ({"one": "loading"}, ("degraded", "loading")),
            ({"one": "live"}, ("ok", "ok")),
            ({"two": "loading"}, ("ok", "ok")),
            ({"two": "live", "one": "dead"}, ("degraded", "some_dead")),
            ({"two": "dead"}, ("down", "all_dead")),
            ({"one": "live", "two": "live"}, ("ok", "ok")),
        ]
        for changes, expected in steps:
            for name, state in changes.items():
                server.put(name, state)
            found = await probe(TakeoffSource, url=url)
            assert (verdict(found), body_of(found)) == (expected, server.body())
            assert {path.removeprefix("readers/") for path in found} - {"", "readers"} == set(server.readers)
            assert found[""].facts["shape"] == "management"
        assert found["readers/one"].facts["model_name"] == server.readers["one"].model_name
        assert found["readers/one"].measurements["heartbeat_timestamp"] == 1763751600.0
        server.is_milliseconds = True
        found = await probe(TakeoffSource, url=url)
        assert found["readers/one"].measurements["heartbeat_timestamp"] == 1763751600.0
        assert server.forbidden_requests == []
        assert set(server.targets) == {"GET /status"}


@pytest.mark.parametrize(
    ("change", "expected", "shape"),
    [
        ({"shape": "inference"}, ("degraded", "some_dead"), "inference"),
        ({"is_list": True}, ("degraded", "some_dead"), "management"),
        ({"shape": "inference", "is_list": True}, ("degraded", "some_dead"), "inference"),
        ({"is_null": True}, ("unknown", "null_status"), "management"),
        ({"extra": {"later": {"field": [1]}}}, ("degraded", "some_dead"), "management"),
        ({"padding": 900_000}, ("degraded", "some_dead"), "management"),
    ],
)
async def test_takeoff_answers_of_every_shape_are_relayed(
    change: dict[str, Any], expected: tuple[str, str], shape: str, probe: Probe
):
    async with Takeoff(**change) as server:
        server.put("one", "live")
        server.put("two", "dead")
        found = await probe(TakeoffSource, url=Url.parse(server.url))
        assert (verdict(found), found[""].facts["shape"]) == (expected, shape)
        assert body_of(found) == server.body()


async def test_takeoff_redacts_what_it_relays(probe: Probe):
    async with Takeoff() as server:
        server.put("one", "live")
        found = await probe(
            TakeoffSource, url=Url.parse(server.url), redact=("/config", "/status/*/one/pids")
        )
        expected = json.loads(server.body())
        del expected["config"], expected["status"]["live_readers"]["one"]["pids"]
        assert json.loads(body_of(found)) == expected


TAKEOFF_FAULTS: list[tuple[Behaviour, str]] = [
    *((behaviour, "unavailable") for behaviour in NOT_AVAILABLE),
    *(
        (behaviour, {"redirect": "redirect", "deep": "too_large"}.get(name, "bad_json"))
        for name, behaviour in garbage_status_answers().items()
    ),
    *((behaviour, "timeout") for behaviour in (*SILENT, Unreachable())),
    (Refuse(), "refused"),
    (Drop(), "connection_lost"),
    (Drop(is_reset=True), "connection_lost"),
    (Cut(), "connection_lost"),
    (endless_body(), "too_large"),
    (say(200, b" " * (1 << 20) + b"{}"), "too_large"),
    (say(404), "http_error"),
]


@pytest.mark.parametrize(("behaviour", "reason"), TAKEOFF_FAULTS, ids=lambda value: str(value)[:40])
async def test_takeoff_faults_are_told_apart_relay_nothing_and_pass(
    behaviour: Behaviour, reason: str, probe: Probe, patient_clock: MockClock
):
    async with Takeoff() as server:
        server.put("one", "live")
        server.behaviour = behaviour
        url = Url.parse(server.url)
        found = await probe(TakeoffSource, url=url)
        assert (list(found), verdict(found), found[""].payload) == ([""], ("down", reason), None)
        server.behaviour = Takeoff().behaviour
        assert verdict(await probe(TakeoffSource, url=url)) == ("ok", "ok")


async def test_omnirt_models_connect_and_drop(probe: Probe):
    async with OmniRT(api_key="k3y", prefix="/gateway") as server:
        options = {
            "endpoint": Url.parse(f"ws://127.0.0.1:{server.port}/gateway/"),
            "api_key": Secret("k3y"),
        }
        found = await probe(OmniRtSource, **options)
        assert verdict(found) == ("ok", "ok")
        assert found["model:flashtalk"].facts == {"server_reason": "fallback_runtime"}
        server.connect("flashtalk")
        server.connect("flashhead")
        found = await probe(OmniRtSource, **options)
        assert (verdict(found, "model:flashtalk"), verdict(found, "model:wav2lip")) == (
            ("ok", "ok"),
            ("down", "not_connected"),
        )
        assert {"flashhead", "musetalk"} <= set(found[""].facts["unlisted"])
        server.drop("flashtalk")
        found = await probe(OmniRtSource, **options)
        assert verdict(found, "model:flashtalk") == ("down", "not_connected")
        assert found["model:flashtalk"].facts == {"server_reason": "worker_lost"}


@pytest.mark.parametrize("key", [None, Secret("wrong")])
async def test_omnirt_without_the_key_is_unauthorized(key: Secret | None, probe: Probe):
    async with OmniRT(api_key="k3y", connected=["flashtalk"]) as server:
        found = await probe(OmniRtSource, endpoint=Url.parse(server.url), api_key=key)
        assert (list(found), verdict(found)) == ([""], ("down", "unauthorized"))


async def test_omnirt_with_the_legacy_path_only(probe: Probe):
    async with OmniRT(has_current_path=False, has_legacy_path=True, connected=["wav2lip"]) as server:
        found = await probe(OmniRtSource, endpoint=Url.parse(server.url))
        assert verdict(found, "model:wav2lip") == ("ok", "ok")
        assert server.targets == ["GET /v1/audio2video/models", "GET /v1/avatar/models"]


OMNIRT_FAULTS: list[tuple[Behaviour, str]] = [
    *(
        (behaviour, {"redirect": "redirect", "models_is_text": "unexpected_answer"}.get(name, "bad_json"))
        for name, behaviour in garbage_model_lists().items()
        if name != "models_of_numbers"
    ),
    *((behaviour, "timeout") for behaviour in SILENT),
    (Refuse(), "refused"),
    (Drop(), "connection_lost"),
]


@pytest.mark.parametrize(("behaviour", "reason"), OMNIRT_FAULTS, ids=lambda value: str(value)[:40])
async def test_omnirt_faults_are_told_apart(
    behaviour: Behaviour, reason: str, probe: Probe, patient_clock: MockClock
):
    async with OmniRT(connected=["flashtalk"]) as server:
        server.behaviour = behaviour
        found = await probe(OmniRtSource, endpoint=Url.parse(server.url))
        assert (list(found), verdict(found)) == ([""], ("down", reason))


async def test_omnirt_lists_of_other_things_connect_nothing(probe: Probe):
    async with OmniRT() as server:
        server.behaviour = garbage_model_lists()["models_of_numbers"]
        found = await probe(OmniRtSource, endpoint=Url.parse(server.url))
        assert {verdict(found, f"model:{model}") for model in MODELS} == {("down", "not_listed")}


@pytest.mark.parametrize("check", ["http", "handshake", "tcp"])
async def test_direct_ws_finds_a_websocket_server(check: str, probe: Probe):
    async with FlashHead() as server:
        url = Url.parse(server.websocket_url)
        assert verdict(await probe(DirectWsSource, url=url, check=check)) == ("ok", "ok")
        assert server.close_codes == ([1000] if check == "handshake" else [])


async def test_direct_ws_by_handshake_needs_a_free_slot_and_the_right_path(probe: Probe):
    async with FlashHead(is_single=True, is_taken=True) as server:
        url = Url.parse(server.websocket_url)
        assert verdict(await probe(DirectWsSource, url=url, check="handshake")) == ("down", "unavailable")
        assert verdict(await probe(DirectWsSource, url=url)) == ("ok", "ok")
        elsewhere = attrs.evolve(url, path="/elsewhere")
        found = await probe(DirectWsSource, url=elsewhere, check="handshake")
        assert verdict(found) == ("down", "unexpected_answer")


@pytest.mark.parametrize("assume", [False, True])
@pytest.mark.parametrize("check", ["http", "handshake"])
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [*((behaviour, "timeout") for behaviour in SILENT), (Refuse(), "refused"), (Drop(), "connection_lost")],
    ids=str,
)
async def test_direct_ws_never_calls_a_hung_server_connected_but_where_it_is_told_to_assume(
    behaviour: Behaviour, reason: str, check: Any, assume: Any, probe: Probe, patient_clock: MockClock
):
    async with FlashHead() as server:
        server.behaviour = behaviour
        url = Url.parse(server.websocket_url)
        found = await probe(DirectWsSource, url=url, check=check, assume_connected=assume)
        assert verdict(found) == ("down", reason)
        models = {
            path: (report.status.value, report.reason, report.label) for path, report in found.items() if path
        }
        assumed = ("degraded", "assume_connected", "explicit_enabled")
        assert models == ({f"model:{model}": assumed for model in MODELS} if assume else {})
