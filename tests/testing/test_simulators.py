"""The simulators of Takeoff, OmniRT, FlashHead, llama.cpp and the table of other servers."""

from __future__ import annotations

import json

import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
)
from wsproto.events import Request as Handshake

from statusd.testing import (
    NOT_AVAILABLE,
    SCHEMAS,
    SERVERS,
    CannedServer,
    FlashHead,
    LlamaCpp,
    OmniRT,
    Reader,
    Takeoff,
    garbage_model_lists,
    garbage_status_answers,
    management_document,
)

EXAMPLE = {
    "config": {
        "allow_remote_images": False,
        "body_size_limit_bytes": 2097152,
        "echo": False,
        "enable_metrics": True,
        "heartbeat_check_interval": 1,
        "internal_port": 3005,
        "management_port": 3001,
        "max_prompt_string_bytes": 150000,
        "max_user_batch_size": 1000,
        "openai_port": 3003,
        "port": 3000,
        "reader_message_timeout_ms": 500,
        "repository_path": "/path/to/home/artefacts",
        "reserved_consumers": "",
        "snowflake_port": 3004,
        "vertex_port": 3002,
    },
    "status": {
        "dead_readers": {},
        "last_heartbeat": {},
        "live_readers": {},
        "loading_readers": {},
        "reserved_consumers": [],
    },
}
"""The published example of the seed, with its two placeholders at their defaults."""
READER_FIELDS = {
    "0.10": {"model_name", "model_type", "pids"},
    "0.11": {"backend", "consumer_group", "model_name", "model_type", "pids"},
    "0.16": {"backend", "consumer_group", "model_name", "model_type", "pids"},
    "next": {"consumer_groups", "consumer_name", "device", "model_name", "model_type", "pids"},
    "0.21": {"consumer_groups", "consumer_name", "device", "model_name", "model_type", "pids"},
    "doubleword": {
        "consumer_groups",
        "consumer_name",
        "device",
        "enable_document_processing",
        "loras",
        "model_name",
        "model_type",
        "pids",
    },
}


def test_the_newest_schema_is_the_published_example():
    assert management_document({}) == EXAMPLE


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_schema_has_the_reader_fields_of_its_version(schema):
    document = management_document({"r": Reader()}, schema)
    assert set(document["status"]["live_readers"]["r"]) == READER_FIELDS[schema]
    assert document["config"]["heartbeat_check_interval"] == 1
    assert ("input_model_paths" in document["status"]) == (schema in {"0.10", "0.11"})
    assert ("batch_duration_millis" in document["config"]) == (schema in {"0.10", "0.11", "0.16"})
    assert ("reserved_consumers" in document["config"]) == (schema in {"0.21", "doubleword"})
    assert ("reserved_consumers" in document["status"]) == (schema == "doubleword")


async def test_takeoff_readers_load_live_die_and_go(ask):
    async with Takeoff(now=lambda: 1000.0) as takeoff:
        seen = []
        for state in ("loading", "live", "dead"):
            takeoff.put("generate-1", state)
            status = json.loads((await ask(takeoff, "/status")).body)["status"]
            seen.append([name for name in status if "generate-1" in status[name]])
        assert seen == [
            ["loading_readers"],
            ["live_readers", "last_heartbeat"],
            ["dead_readers", "last_heartbeat"],
        ]
        takeoff.remove("generate-1")
        assert json.loads((await ask(takeoff, "/status")).body) == EXAMPLE


async def test_takeoff_brings_the_heartbeat_of_live_readers_up_to_now(ask):
    now = 1000.0
    async with Takeoff(now=lambda: now) as takeoff:
        takeoff.put("a", "live")
        takeoff.put("b", "dead")
        now = 1060.0
        beats = json.loads((await ask(takeoff, "/status")).body)["status"]["last_heartbeat"]
        assert {name: beat["heartbeat_timestamp"] for name, beat in beats.items()} == {"a": 1060, "b": 1000}


async def test_takeoff_can_beat_in_the_future_and_in_milliseconds(ask):
    async with Takeoff(now=lambda: 1000.0, is_milliseconds=True) as takeoff:
        takeoff.put("a", "live", heartbeat_at=5000.0)
        beats = json.loads((await ask(takeoff, "/status")).body)["status"]["last_heartbeat"]
        assert beats["a"]["heartbeat_timestamp"] == 5_000_000


async def test_takeoff_inference_shape_is_flat_and_masked(ask):
    async with Takeoff(shape="inference") as takeoff:
        takeoff.put("a", "live")
        takeoff.put("b", "dead")
        takeoff.put("c", "loading")
        document = json.loads((await ask(takeoff, "/status")).body)
        assert set(document) == {"live_readers", "dead_readers", "ports"}
        assert (list(document["live_readers"]), list(document["dead_readers"])) == (["a"], ["b"])
        assert set(document["live_readers"]["a"]) == {
            "consumer_groups",
            "device",
            "loras",
            "model_name",
            "model_type",
        }
        assert (await ask(takeoff, "/reader_groups")).status == 404


async def test_takeoff_oddities_of_a_well_formed_body(ask):
    async with Takeoff(extra={"version": "9"}, is_list=True, padding=1 << 20) as takeoff:
        takeoff.put("a", "live")
        answer = await ask(takeoff, "/status")
        document = json.loads(answer.body)
        assert document["version"] == "9"
        assert document["status"]["live_readers"][0]["consumer_name"] == "a"
        assert len(answer.body) > 1 << 20
        takeoff.is_null = True
        assert json.loads((await ask(takeoff, "/status")).body)["status"] is None


async def test_takeoff_lists_also_in_the_inference_shape(ask):
    async with Takeoff(shape="inference", is_list=True) as takeoff:
        takeoff.put("a", "live")
        assert isinstance(json.loads((await ask(takeoff, "/status")).body)["live_readers"], list)


async def test_takeoff_other_endpoints(ask):
    async with Takeoff() as takeoff:
        assert (await ask(takeoff, "/healthz")).status == 503
        takeoff.put("a", "live")
        assert (await ask(takeoff, "/healthz")).status == 200
        assert (await ask(takeoff, "/metrics")).body.startswith(b"http_requests_total")
        groups = json.loads((await ask(takeoff, "/reader_groups")).body)
        assert groups["primary"][0] == {
            "reader_id": "a",
            "device": "cuda",
            "model_name": "TitanML/dummy_model",
            "model_type": "causal",
            "pids": [41],
            "ready": True,
        }
        assert (await ask(takeoff, "/readers")).status == 404


async def test_takeoff_names_the_requests_that_pollers_must_not_send(ask):
    async with Takeoff() as takeoff:
        for target in ("/status", "/healthz", "/healthz?state=live"):
            await ask(takeoff, target)
        assert takeoff.forbidden_requests == []
        await ask(takeoff, "/healthz?wait=true")
        await ask(takeoff, "/reader/a", method="DELETE")
        assert takeoff.forbidden_requests == ["GET /healthz?wait=true", "DELETE /reader/a"]


async def test_takeoff_is_unavailable_in_three_ways(ask):
    async with Takeoff() as takeoff:
        seen = []
        for behaviour in NOT_AVAILABLE:
            takeoff.behaviour = behaviour
            answer = await ask(takeoff, "/status")
            seen.append((answer.status, answer.headers.get("content-type"), answer.body))
        assert seen == [
            (503, None, b""),
            (503, "text/plain; charset=utf-8", b"Server is not available"),
            (503, "application/json", b'{"error":"Server is not available"}'),
        ]


@pytest.mark.parametrize("answers", [garbage_status_answers(), garbage_model_lists()])
async def test_garbage_is_no_object_at_200(ask, answers):
    """None of it may decode to a JSON object in strict JSON, but for a list of models of the wrong type."""
    async with Takeoff() as takeoff:
        for name, behaviour in answers.items():
            takeoff.behaviour = behaviour
            answer = await ask(takeoff, "/status")
            if name == "redirect":
                assert answer.status == 307
                continue
            assert answer.status == 200
            try:
                value = json.loads(answer.body.decode(), parse_constant=int)
                json.dumps(value, ensure_ascii=False).encode()
            except (ValueError, RecursionError):
                continue
            assert not isinstance(value, dict) or name.startswith("models_")


async def test_omnirt_fresh_body_is_the_real_one(ask):
    async with OmniRT() as omnirt:
        answer = await ask(omnirt, "/v1/audio2video/models")
        assert answer.body == (
            b'{"models":[],"statuses":[{"id":"flashtalk","connected":false,"reason":"fallback_runtime"},'
            b'{"id":"wav2lip","connected":false,"reason":"runtime_not_enabled"},'
            b'{"id":"quicktalk","connected":false,"reason":"runtime_not_enabled"},'
            b'{"id":"musetalk","connected":false,"reason":"not_configured"},'
            b'{"id":"fasterliveportrait","connected":false,"reason":"runtime_not_enabled"},'
            b'{"id":"fasterliveportrait_video_clone","connected":false,"reason":"runtime_not_enabled"}]}'
        )


async def test_omnirt_models_connect_and_drop(ask):
    async with OmniRT() as omnirt:
        omnirt.connect("wav2lip")
        omnirt.connect("wav2lip")
        document = json.loads((await ask(omnirt, "/v1/audio2video/models")).body)
        assert document["models"] == ["wav2lip"]
        assert {"id": "wav2lip", "connected": True, "reason": "ready"} in document["statuses"]
        omnirt.drop("wav2lip")
        document = json.loads((await ask(omnirt, "/v1/audio2video/models")).body)
        assert document["models"] == []
        assert {"id": "wav2lip", "connected": False, "reason": "worker_lost"} in document["statuses"]


async def test_omnirt_wants_its_key_for_the_list_only(ask):
    async with OmniRT(api_key="k3y") as omnirt:
        refused = await ask(omnirt, "/v1/audio2video/models")
        assert (refused.status, refused.body) == (401, b'{"detail":"Unauthorized"}')
        wrong = await ask(omnirt, "/v1/audio2video/models", Authorization="Bearer other")
        assert wrong.status == 401
        assert (await ask(omnirt, "/v1/audio2video/models", Authorization="Bearer k3y")).status == 200
        assert (await ask(omnirt, "/healthz")).body == b'{"ok":true}'
        assert json.loads((await ask(omnirt, "/readyz")).body)["ok"] is True
        assert (await ask(omnirt, "/metrics")).status == 200


async def test_omnirt_paths_and_prefix(ask):
    async with OmniRT(prefix="/gw", has_current_path=False, has_legacy_path=True) as omnirt:
        assert (await ask(omnirt, "/gw/v1/avatar/models")).status == 200
        assert (await ask(omnirt, "/gw/v1/audio2video/models")).status == 404
        assert (await ask(omnirt, "/v1/avatar/models")).status == 404


async def shake(client, path="/", *, headers=()):
    """Send a handshake and return the connection with the first event that comes back."""
    connection = WSConnection(ConnectionType.CLIENT)
    await client.stream.send_all(
        connection.send(Handshake(host="localhost", target=path, extra_headers=list(headers)))
    )
    return connection, await following(client, connection)


async def following(client, connection):
    while True:
        for event in connection.events():
            return event
        connection.receive_data(bytes(await client.stream.receive_some(4096)))


async def test_flashhead_opens_a_session_and_closes_it(connect):
    async with FlashHead(path="/v1") as flashhead, await connect(flashhead) as client:
        assert flashhead.websocket_url == f"ws://127.0.0.1:{flashhead.port}/v1"
        connection, event = await shake(client, "/v1")
        assert isinstance(event, AcceptConnection)
        assert flashhead.sessions == 1
        await client.stream.send_all(connection.send(Ping(b"x")))
        assert isinstance(await following(client, connection), Pong)
        await client.stream.send_all(connection.send(CloseConnection(1000)))
        event = await following(client, connection)
        assert isinstance(event, CloseConnection)
        assert (event.code, flashhead.close_codes) == (1000, [1000])
        with trio.fail_after(5):
            while flashhead.sessions:
                await trio.lowlevel.checkpoint()


async def test_flashhead_simulates_no_session_protocol(connect):
    async with FlashHead() as flashhead, await connect(flashhead) as client:
        connection, _ = await shake(client)
        await client.stream.send_all(connection.send(BytesMessage(b"hello")))
        event = await following(client, connection)
        assert isinstance(event, CloseConnection)
        assert event.code == 1008


async def test_flashhead_survives_a_faulty_frame(connect):
    async with FlashHead() as flashhead, await connect(flashhead) as client:
        await shake(client)
        await client.stream.send_all(b"\xff\xff\xff\xff")
        with trio.fail_after(5):
            while flashhead.open_connections:
                await trio.lowlevel.checkpoint()


async def test_flashhead_survives_a_faulty_handshake(connect):
    async with FlashHead() as flashhead, await connect(flashhead) as client:
        await client.send("/", Upgrade="websocket", Connection="Upgrade")
        with trio.fail_after(5):
            while flashhead.open_connections:
                await trio.lowlevel.checkpoint()
        assert flashhead.sessions == 0


@pytest.mark.parametrize("plain_status", [426, 404])
async def test_flashhead_answers_a_plain_get(ask, plain_status):
    async with FlashHead(plain_status=plain_status) as flashhead:
        assert (await ask(flashhead, "/")).status == plain_status
        assert (await ask(flashhead, "/elsewhere")).status == 404


async def test_flashhead_with_a_single_session_turns_the_second_away(connect):
    async with FlashHead(is_single=True) as flashhead, await connect(flashhead) as first:
        await shake(first)
        async with await connect(flashhead) as second:
            _, event = await shake(second)
            assert isinstance(event, RejectConnection)
            assert event.status_code == 503


async def test_flashhead_with_its_session_taken_turns_everyone_away(connect):
    async with FlashHead(is_single=True, is_taken=True) as flashhead, await connect(flashhead) as client:
        _, event = await shake(client)
        assert isinstance(event, RejectConnection)


async def test_llamacpp_loads_then_serves(ask):
    async with LlamaCpp(is_loading=True) as llama:
        answer = await ask(llama, "/health")
        assert answer.status == 503
        assert answer.body == b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
        llama.is_loading = False
        assert (await ask(llama, "/health")).body == b'{"status":"ok"}'
        assert (await ask(llama, "/v1/health")).status == 200
        assert json.loads((await ask(llama, "/v1/models")).body)["data"][0]["id"] == "tiny-llama-q4.gguf"
        assert (await ask(llama, "/none")).status == 404


async def test_llamacpp_slots(ask):
    async with LlamaCpp(slots=[False, True]) as llama:
        assert json.loads((await ask(llama, "/slots?fail_on_no_slot=1")).body) == [
            {"id": 0, "is_processing": False},
            {"id": 1, "is_processing": True},
        ]
        llama.slots = [True, True]
        assert (await ask(llama, "/slots?fail_on_no_slot=1")).status == 503
        assert (await ask(llama, "/slots")).status == 200
        llama.has_slots = False
        assert (await ask(llama, "/slots")).status == 501


async def test_llamacpp_wants_its_key_for_all_but_health(ask):
    async with LlamaCpp(api_key="k") as llama:
        assert (await ask(llama, "/health")).status == 200
        assert (await ask(llama, "/v1/models")).status == 401
        assert (await ask(llama, "/v1/models", Authorization="Bearer k")).status == 200


@pytest.mark.parametrize("name", SERVERS)
async def test_every_server_of_the_table_is_well_or_not(ask, name):
    kind = SERVERS[name]
    async with CannedServer.named(name, prefix="/gw") as server:
        for path, response in kind.well.items():
            assert (await ask(server, f"/gw{path}")).status == response.status < 300
        server.is_well = False
        for path, response in kind.unwell.items():
            assert (await ask(server, f"/gw{path}")).status == response.status >= 400
        assert (await ask(server, "/gw/nowhere")).status == 404
        assert len(server.requests) == len(kind.well) + len(kind.unwell) + 1


@pytest.mark.parametrize(
    ("name", "target"),
    [("litellm", "/health"), ("sglang", "/health_generate"), ("llama_swap", "/upstream/qwen/health")],
)
async def test_forbidden_requests_are_named(ask, name, target):
    async with CannedServer.named(name) as server:
        await ask(server, "/v1/models")
        await ask(server, "/health/readiness")
        assert server.forbidden_requests == []
        await ask(server, target)
        await ask(server, "/v1/models", method="POST")
        assert server.forbidden_requests == [f"GET {target}", "POST /v1/models"]
