"""The presets, each against the simulated server it is for, and the requests that must never be sent."""

from __future__ import annotations

import typing

import pytest

from statusd import OptionError, ProbeError, Report, Status, Url
from statusd.plugin.validation import checked_reports
from statusd.testing import SERVERS, FakeContext, FakeHttp, FakeResponse
from statusd_plugins.http import HttpHealthSource
from statusd_plugins.http_presets import PRESETS

BASE = Url.parse("http://127.0.0.1:9000")
CONFIGURED = {"triton": ("resnet",), "kserve": ("resnet",), "llama_swap": ("qwen", "smollm")}


def server(preset: str) -> str:
    return "triton" if preset == "kserve" else preset


def source_of(preset: str, *models: str, is_well: bool = True, **keys) -> HttpHealthSource:
    kind = SERVERS[server(preset)]
    answers = {**kind.well, **({} if is_well else kind.unwell)}
    http = FakeHttp({path: FakeResponse(one.status, one.body) for path, one in answers.items()})
    return HttpHealthSource(context=FakeContext(models=models, http=http), url=BASE, preset=preset, **keys)


async def probed(source: HttpHealthSource) -> dict[str, Report]:
    reports = checked_reports(await source.probe(), models=source.context.models)
    return {report.model or "": report for report in reports}


def test_there_is_a_preset_for_every_simulated_server_and_for_every_word_of_the_key():
    hints = typing.get_type_hints(HttpHealthSource)["preset"]
    words = typing.get_args(typing.get_args(hints)[0])
    assert set(words) == set(PRESETS)
    assert {server(word) for word in words} == set(SERVERS)


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_server_that_is_well_is_ok_with_its_models_and_asked_for_nothing_costly(preset):
    kind = SERVERS[server(preset)]
    models = CONFIGURED.get(preset, kind.models)
    source = source_of(preset, *models, "not-there")
    reports = await probed(source)
    assert reports[""].status is Status.OK
    for model in models:
        assert reports[model].status is Status.OK, model
    if preset == "ray_serve":
        assert "not-there" not in reports  # it has no list, so its models follow the source
    else:
        assert (reports["not-there"].status, reports["not-there"].reason) == (Status.DOWN, "not_listed")
    asked = [url.path for url, _ in source.context.http.asked]
    for forbidden in kind.forbidden:
        assert not any(
            path.startswith(forbidden) if forbidden.endswith("/") else path == forbidden for path in asked
        )
    assert "secret" not in repr(reports)


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"sglang"}))
async def test_a_server_that_is_not_well_is_down_with_the_reason(preset):
    with pytest.raises(ProbeError) as caught:
        await source_of(preset, "m", is_well=False).probe()
    assert caught.value.reason == ("loading" if preset == "llamacpp" else "unavailable")


async def test_sglangs_own_health_is_asked_only_when_told_to():
    """Its /health may generate a token, so the preset keeps away from it, and sees less."""
    assert (await probed(source_of("sglang", is_well=False)))[""].status is Status.OK
    with pytest.raises(ProbeError):
        await source_of("sglang", is_well=False, path="/health").probe()


async def test_facts_are_the_allowed_ones_only():
    facts = {preset: dict((await probed(source_of(preset)))[""].facts) for preset in PRESETS}
    for found in facts.values():
        found.pop("listed", None)
        found.pop("unlisted", None)
    assert facts == {
        "vllm": {},
        "tgi": {"model_id": "tiiuae/falcon-7b", "model_dtype": "torch.float16"},
        "triton": {},
        "kserve": {},
        "ollama": {"version": "0.12.0", "loaded": ["gemma3:latest"]},
        "llamacpp": {},
        "sglang": {"model_path": "qwen/qwen2.5-0.5b-instruct", "is_generation": True},
        "litellm": {"db": "connected"},
        "ray_serve": {},
        "llama_swap": {"running": ["qwen"]},
    }


async def test_ollamas_latest_is_what_a_name_without_a_tag_means():
    reports = await probed(source_of("ollama", "gemma3", "gemma3:27b"))
    assert reports["gemma3"].status is Status.OK
    assert reports["gemma3:27b"].reason == "not_listed"
    assert reports[""].facts["unlisted"] == []


async def test_an_idle_ollama_is_well():
    source = source_of("ollama", "gemma3")
    source.context.http.answers["/api/ps"] = FakeResponse(200, b'{"models":[]}')
    reports = await probed(source)
    assert (reports["gemma3"].status, reports[""].facts["loaded"]) == (Status.OK, [])


@pytest.mark.parametrize("answer", [FakeResponse(404), FakeResponse(200, b"x"), ProbeError("refused", "No.")])
async def test_what_is_in_memory_decides_nothing(answer):
    source = source_of("llama_swap", "qwen")
    source.context.http.answers["/running"] = answer
    reports = await probed(source)
    assert (reports[""].status, reports["qwen"].status) == (Status.OK, Status.OK)
    assert "running" not in reports[""].facts


class TestTriton:
    @pytest.mark.parametrize(
        ("code", "status", "reason"),
        [
            (200, Status.OK, "ok"),
            (400, Status.DOWN, "unavailable"),
            (503, Status.DOWN, "unavailable"),
            (204, Status.DOWN, "unavailable"),
            (404, Status.DOWN, "not_listed"),
            (401, Status.UNKNOWN, "unauthorized"),
        ],
    )
    async def test_each_model_is_asked_for_by_code_alone(self, code, status, reason):
        source = source_of("triton", "a/b c", model_names={"a/b c": "r/s t"})
        source.context.http.answers["/v2/models/r%2Fs%20t/ready"] = FakeResponse(code)
        report = (await probed(source))["a/b c"]
        assert (report.status, report.reason) == (status, reason)

    async def test_braces_in_a_name_are_only_a_name(self):
        source = source_of("kserve", "{0.__class__}")
        await source.probe()
        assert source.context.http.asked[-1][0].path == "/v2/models/%7B0.__class__%7D/ready"


async def test_a_draining_ray_is_not_connected_even_at_200():
    source = source_of("ray_serve")
    source.context.http.answers["/-/healthz"] = FakeResponse(200, b"This node is being drained.")
    with pytest.raises(ProbeError) as caught:
        await source.probe()
    assert caught.value.reason == "unexpected_answer"


async def test_explicit_keys_win_over_the_preset():
    source = source_of("llama_swap", "m", path="/v1/models", models_path="", contains="qwen")
    assert list(await probed(source)) == [""]
    assert [url.path for url, _ in source.context.http.asked] == ["/v1/models"]


async def test_another_list_has_its_own_form():
    source = source_of("tgi", "x", models_path="/v1/models")
    source.context.http.answers["/v1/models"] = FakeResponse(200, b'{"data":[{"id":"x"}]}')
    assert (await probed(source))["x"].status is Status.OK


@pytest.mark.parametrize(
    ("preset", "url", "path"),
    [
        ("litellm", "http://x:4000", "/health"),
        ("litellm", "http://x:4000", "/health/"),
        ("litellm", "http://x:4000", "/%68ealth"),
        ("litellm", "http://x:4000", "//health"),
        ("litellm", "http://x:4000", "/v1/../health"),
        ("litellm", "http://x:4000", "/health?model=gpt"),
        ("litellm", "http://gateway/llm", "/health"),
        ("sglang", "http://x", "/health_generate"),
        ("sglang", "http://x", "/get_server_info"),
        (None, "http://x", "/health_generate"),
        (None, "http://x:3000", "/healthz?wait=30"),
        (None, "http://x:3000", "/healthz?wait="),
        ("llama_swap", "http://x", "/upstream/qwen/health"),
        ("llama_swap", "http://x", "/upstream"),
    ],
)
def test_costly_requests_are_refused_with_the_remedy(preset, url, path):
    for keys in ({"path": path}, {"models_path": path}):
        with pytest.raises(OptionError, match=r"leave it out|plugin") as caught:
            HttpHealthSource(context=FakeContext(), preset=preset, url=Url.parse(url), **keys)
        assert caught.value.option in keys


def test_a_costly_url_is_refused_too():
    with pytest.raises(OptionError) as caught:
        HttpHealthSource(context=FakeContext(), url=Url.parse("http://x/health_generate"))
    assert caught.value.option == "url"


@pytest.mark.parametrize(
    ("preset", "path"),
    [
        ("litellm", "/health/liveliness"),
        ("litellm", "/unhealth"),
        ("vllm", "/health"),
        ("sglang", "/health"),
        (None, "/health"),
        (None, "/healthz"),
        (None, "/upstream/x"),
        ("llama_swap", "/running"),
    ],
)
def test_other_requests_are_not(preset, path):
    HttpHealthSource(context=FakeContext(), preset=preset, url=BASE, path=path)
