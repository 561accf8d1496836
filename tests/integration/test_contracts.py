"""The five documented endpoints against every state of their upstreams, over real sockets."""

import json
from pathlib import Path

import pytest
import trio

from statusd.testing import (
    NOT_AVAILABLE,
    SCHEMAS,
    Cut,
    Drip,
    Drop,
    FlashHead,
    Hang,
    Ignore,
    OmniRT,
    Raw,
    Refuse,
    Takeoff,
    Unreachable,
    Upstream,
    endless_body,
    endless_headers,
    endless_interim,
    garbage_model_lists,
    html,
    huge_body,
    redirect,
    say,
)
from tests import seeds
from tests.integration.inprocess import running

DEFAULT = (Path(__file__).parents[2] / "etc" / "statusd.toml").read_text()
NO_REDIS = {"OPENTALKING_REDIS_URL": "redis://127.0.0.1:1/0"}
BROKEN = {
    "refused": (Refuse(), "refused"),
    "accepts and never answers": (Hang(), "timeout"),
    "accepts and never reads": (Ignore(), "timeout"),
    "SYNs dropped": (Unreachable(), "timeout"),
    "half a header": (Hang(b"HTTP/1.1 200 OK\r\nContent-"), "timeout"),
    "drips": (Drip(0.05), "timeout"),
    "closes": (Drop(), "connection_lost"),
    "resets": (Drop(is_reset=True), "connection_lost"),
    "cut body": (Cut(), "connection_lost"),
    "another protocol": (Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol_error"),
    "HTML at 200": (html(), "bad_json"),
    "empty 200": (say(200), "bad_json"),
    "cut JSON": (say(200, b'{"config":{'), "bad_json"),
    "an array": (say(200, b"[]"), "bad_json"),
    "NaN": (say(200, b'{"x":NaN}'), "bad_json"),
    "redirect": (redirect("http://127.0.0.1:1/status"), "redirect"),
    "401": (say(401), "unauthorized"),
    "404": (say(404), "http_error"),
    "500": (say(500), "http_error"),
    "1 GiB": (huge_body(1024), "too_large"),
    "endless body": (endless_body(), "too_large"),
    "endless chunks": (endless_body(is_chunked=True), "too_large"),
    "endless headers": (endless_headers(), "too_large"),
    "one endless header": (endless_headers(is_one=True), "too_large"),
    "endless 102": (endless_interim(), "too_large"),
}
TAKEOFF = """
[sources.inference]
plugin = "takeoff"
url = "{url}"
interval = 0.05
timeout = 0.4
"""
OMNIRT = """
[sources.omnirt]
plugin = "omnirt"
endpoint = "{url}"
api_key = {{ env = "KEY" }}
interval = 0.05
timeout = 0.4
[models]
flashtalk = "omnirt"
wav2lip = "omnirt"
"""


async def test_with_no_file_and_an_empty_environment_every_answer_is_the_seeds():
    async with running(DEFAULT, NO_REDIS) as client:
        for path in ("/health", "/healthz"):
            answer = await client.get(path)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert answer.body == b'{"status":"ok"}'
        # At once: the very first answers, with no waiting for a probe.
        models = await client.get("/models")
        assert json.loads(models.body) == seeds.MODELS
        assert list(json.loads(models.body)["statuses"][0]) == ["id", "backend", "connected", "reason"]
        queue = await client.get("/queue/status")
        assert (queue.status, json.loads(queue.body)) == (200, {"slot_occupied": False, "queue_size": 0})
        status = await client.get("/status")
        assert (status.status, status.headers["content-type"]) == (503, "application/problem+json")
        problem = json.loads(status.body)
        assert (problem["title"], problem["reason"]) == ("Server is not available", "not_configured")
        state = await client.json("/state")
        assert list(state) == ["revision", "path", "node"]
        assert list(state["node"]) == [
            "status", "reason", "message", "since", "observed_at", "expires_at", "source", "counts", "restored",
            "rollup", "facts", "children",
        ]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("shape", ["management", "inference"])
async def test_status_is_relayed_byte_for_byte_while_readers_come_and_go(shape, schema):
    async with (
        Takeoff(shape=shape, schema=schema) as takeoff,
        running(TAKEOFF.format(url=takeoff.url)) as client,
    ):
        await client.until_reason("sources/inference", "no_readers")
        takeoff.put("TitanML/a", "loading")
        if shape == "management":  # the masked shape does not show what loads
            node = await client.until_reason("sources/inference", "loading")
            assert node["status"] == "degraded"
        takeoff.put("TitanML/a", "live")
        await client.until_reason("sources/inference/readers/TitanML%2Fa", "ok")
        takeoff.put("b", "dead")
        assert (await client.until_reason("sources/inference", "some_dead"))["status"] == "degraded"
        takeoff.remove("TitanML/a")
        assert (await client.until_reason("sources/inference", "all_dead"))["status"] == "down"
        answer = await client.get("/status")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.body == takeoff.body()
        assert (await client.get("/status/inference")).body == answer.body
        assert takeoff.forbidden_requests == []


@pytest.mark.parametrize("settings", [{"is_null": True}, {"is_list": True}, {"is_milliseconds": True},
                                      {"extra": {"new": [1, 2]}}, {"now": lambda: 4e9}])  # fmt: skip
async def test_odd_but_documented_bodies_are_relayed_too(settings):
    async with Takeoff(**settings) as takeoff, running(TAKEOFF.format(url=takeoff.url)) as client:
        takeoff.put("a", "live")
        expected = "null_status" if settings.get("is_null") else "ok"
        await client.until_reason("sources/inference", expected)
        answer = await client.get("/status")
        assert answer.status == 200
        # Heartbeats move between two bodies; everything else is equal.
        assert set(json.loads(answer.body)) == set(takeoff.document())


@pytest.mark.parametrize("behaviour", NOT_AVAILABLE)
async def test_the_documented_503_in_each_of_its_bodies(behaviour):
    async with Takeoff(behaviour=behaviour) as takeoff, running(TAKEOFF.format(url=takeoff.url)) as client:
        await client.until_reason("sources/inference", "unavailable")
        await expect_problem(client, "unavailable")


async def expect_problem(client, reason):
    answer = await client.get("/status")
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    problem = json.loads(answer.body)
    assert (problem["title"], problem["reason"]) == ("Server is not available", reason)


@pytest.mark.parametrize(("behaviour", "reason"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_inference_server_is_503_with_the_reason_and_comes_back(behaviour, reason):
    async with Takeoff() as takeoff, running(TAKEOFF.format(url=takeoff.url)) as client:
        await client.until_reason("sources/inference", "no_readers")
        takeoff.behaviour = behaviour
        node = await client.until_reason("sources/inference", reason)
        assert node["status"] == "down"
        await expect_problem(client, reason)
        takeoff.behaviour = Takeoff().behaviour
        await client.until_reason("sources/inference", "no_readers")
        assert (await client.get("/status")).body == takeoff.body()


async def test_a_body_over_max_body_is_refused_and_one_of_exactly_that_size_relayed():
    async with Takeoff() as takeoff:
        size = len(takeoff.body())
        async with running(TAKEOFF.format(url=takeoff.url) + f"max_body = {size}\n") as client:
            await client.until_reason("sources/inference", "no_readers")
            takeoff.padding = 1
            await client.until_reason("sources/inference", "too_large")


async def test_models_follow_an_omnirt_server_as_they_connect_and_drop():
    async with (
        OmniRT(api_key="sesame-key") as omnirt,
        running(OMNIRT.format(url=omnirt.url), {"KEY": "sesame-key"}) as client,
    ):
        for connected in (["flashtalk"], ["flashtalk", "wav2lip"], [], [" FlashTalk "]):
            omnirt.connected = connected
            wanted = {model.strip().lower() for model in connected}
            models = await client.until(
                client.models,
                lambda now, wanted=wanted: {name for name in now if now[name]["connected"]} == wanted,
            )
            for name, status in models.items():
                assert status["backend"] == "omnirt"
                assert status["reason"] == ("omnirt" if name in wanted else "omnirt_unavailable")


@pytest.mark.parametrize(("behaviour", "reason"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_omnirt_is_never_connected_keeps_its_word_and_says_why_in_the_tree(behaviour, reason):
    async with OmniRT(behaviour=behaviour) as omnirt, running(OMNIRT.format(url=omnirt.url), {}) as client:
        await client.until_reason("sources/omnirt", reason)
        answer = await client.get("/models")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert json.loads(answer.body) == {
            "models": ["flashtalk", "wav2lip"],
            "statuses": [
                {"id": name, "backend": "omnirt", "connected": False, "reason": "omnirt_unavailable"}
                for name in ("flashtalk", "wav2lip")
            ],
        }


async def test_a_wrong_key_is_told_apart_from_everything_else():
    async with (
        OmniRT(api_key="right-key") as omnirt,
        running(OMNIRT.format(url=omnirt.url), {"KEY": "wrong-key"}) as client,
    ):
        await client.until_reason("sources/omnirt", "unauthorized")
        assert (await client.models())["flashtalk"]["reason"] == "omnirt_unavailable"
        assert "wrong-key" not in (await client.get("/state")).body.decode()


@pytest.mark.parametrize("behaviour", garbage_model_lists().values(), ids=garbage_model_lists())
async def test_garbage_at_200_never_breaks_models(behaviour):
    async with OmniRT(behaviour=behaviour) as omnirt, running(OMNIRT.format(url=omnirt.url), {}) as client:
        await omnirt.wait_for_requests(3)
        answer = await client.json("/models")
        assert [one["connected"] for one in answer["statuses"]] == [False, False]


DIRECT = """
[sources.flashhead]
plugin = "direct_ws"
url = "{url}"
interval = 0.05
timeout = 0.4
check = "{check}"
[models]
flashhead = "flashhead"
"""


@pytest.mark.parametrize("check", ["http", "handshake", "tcp"])
@pytest.mark.parametrize(
    "behaviour", [Hang(), Ignore(), Unreachable(), Refuse()], ids=lambda one: type(one).__name__
)
async def test_no_hung_websocket_is_called_connected(check, behaviour):
    async with FlashHead() as flashhead:
        url = flashhead.url.replace("http", "ws")
        async with running(DIRECT.format(url=url, check=check), {}) as client:
            await client.until(client.models, lambda now: now["flashhead"]["connected"])
            assert (await client.models())["flashhead"]["reason"] == "direct_ws"
            flashhead.behaviour = behaviour
            if check == "tcp" and isinstance(behaviour, Hang | Ignore):
                return  # a bare connect cannot tell, which is why it is not the default
            models = await client.until(client.models, lambda now: not now["flashhead"]["connected"])
            assert models["flashhead"]["reason"] == "direct_ws_unavailable"


async def test_while_every_upstream_hangs_every_endpoint_answers_without_waiting_for_any():
    async with Upstream(behaviour=Hang()) as hung:
        place = hung.url.removeprefix("http://")
        environ = {
            "TAKEOFF_URL": hung.url,
            "OPENTALKING_REDIS_URL": f"redis://{place}/0",
            "OMNIRT_ENDPOINT": f"ws://{place}/prefix",
            "FLASHHEAD_WS_URL": f"ws://{place}/ws",
        }
        async with running(DEFAULT, environ) as client:
            with trio.fail_after(1):  # one probe takes two seconds to time out
                connected = {name for name, one in (await client.models()).items() if one["connected"]}
                assert connected == {"mock", "quicktalk"}
                assert (await client.json("/queue/status")) == {"slot_occupied": False, "queue_size": 0}
                await expect_problem(client, "pending")
                assert (await client.json("/health")) == {"status": "ok"}
            await client.until_reason("sources/omnirt", "timeout")
            await expect_problem(client, "timeout")


async def test_what_omnirt_lists_beyond_all_of_models_is_unlisted():
    async with OmniRT() as omnirt:
        environ = {"OMNIRT_ENDPOINT": omnirt.url, **NO_REDIS}
        async with running(DEFAULT, environ) as client:
            node = await client.until_reason("sources/omnirt", "ok")
            assert node["facts"]["unlisted"] == ["fasterliveportrait", "fasterliveportrait_video_clone"]
            assert "quicktalk" in node["facts"]["listed"]
