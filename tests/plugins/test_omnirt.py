"""The `omnirt` source."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from statusd import ProbeError, Report, Secret, Status, Url
from statusd.plugin.validation import checked_reports
from statusd.testing.fakes import FakeContext, FakeResponse
from statusd_plugins import omnirt
from statusd_plugins.omnirt import (
    LEGACY_MODELS_PATH,
    MAX_LISTED,
    MODELS_PATH,
    Listing,
    OmniRtSource,
)
from statusd_plugins.upstream_text import MAX_ITEMS

MODELS = ("flashtalk", "musetalk", "wav2lip")
NO_RUNTIME = {
    "models": [],
    "statuses": [
        {"id": "flashtalk", "connected": False, "reason": "fallback_runtime"},
        {"id": "wav2lip", "connected": False, "reason": "runtime_not_enabled"},
        {"id": "quicktalk", "connected": False, "reason": "runtime_not_enabled"},
        {"id": "musetalk", "connected": False, "reason": "not_configured"},
        {"id": "fasterliveportrait", "connected": False, "reason": "runtime_not_enabled"},
        {"id": "fasterliveportrait_video_clone", "connected": False, "reason": "runtime_not_enabled"},
    ],
}
NOTHING = {"models": [], "statuses": []}
REFUSED = ProbeError("refused", "Nothing listens.")
NOT_FOUND = FakeResponse(404, b'{"detail":"Not Found"}')
UNAUTHORIZED = FakeResponse(401, b'{"detail":"Unauthorized"}')


def said(document: object, status: int = 200) -> FakeResponse:
    return FakeResponse(status, msgspec.json.encode(document))


def context(
    first: object = NOT_FOUND, legacy: object = NOT_FOUND, models: tuple[str, ...] = MODELS
) -> FakeContext:
    answers: dict[str, Any] = {MODELS_PATH: first, LEGACY_MODELS_PATH: legacy}
    made = FakeContext(name="omnirt", plugin="omnirt", models=models)
    made.http.answers = {
        path: answer if isinstance(answer, FakeResponse | ProbeError) else said(answer)
        for path, answer in answers.items()
    }
    return made


def source(asked: FakeContext, endpoint: str = "http://h:9000", **options: Any) -> OmniRtSource:
    return OmniRtSource(context=asked, endpoint=Url.parse(endpoint), **options)


async def probed(probe: OmniRtSource) -> dict[str | None, Report]:
    models = probe.context.models
    return {report.model: report for report in checked_reports(await probe.probe(), models=models)}


async def failure(asked: FakeContext, **options: Any) -> str:
    with pytest.raises(ProbeError) as caught:
        await source(asked, **options).probe()
    return caught.value.reason


def targets(asked: FakeContext) -> list[str]:
    return [url.target for url, _ in asked.http.asked]


async def test_connected_models_are_ok_and_the_others_say_why_they_are_not():
    document = {
        "models": ["flashtalk", "extra"],
        "statuses": [
            {"id": "flashtalk", "connected": True, "reason": "ready"},
            {"id": "musetalk", "connected": False, "reason": "not_configured"},
        ],
    }
    asked = context(document)
    found = await probed(source(asked))
    assert {model: (report.status.value, report.reason) for model, report in found.items()} == {
        None: ("ok", "ok"),
        "flashtalk": ("ok", "ok"),
        "musetalk": ("down", "not_connected"),
        "wav2lip": ("down", "not_listed"),
    }
    assert found["musetalk"].facts == {"server_reason": "not_configured"}
    assert "not_configured" in found["musetalk"].message
    assert found[None].facts == {
        "listed": ["extra", "flashtalk", "musetalk"],
        "connected": ["extra", "flashtalk"],
        "unlisted": ["extra"],
    }
    assert all(report.label == "" for report in found.values())
    assert targets(asked) == [MODELS_PATH]


async def test_the_body_of_a_server_without_runtime():
    found = await probed(source(context(NO_RUNTIME)))
    assert (found[None].status, found[None].facts["connected"]) == (Status.OK, [])
    assert found[None].facts["unlisted"] == [
        "fasterliveportrait",
        "fasterliveportrait_video_clone",
        "quicktalk",
    ]
    assert {model: found[model].facts["server_reason"] for model in MODELS} == {
        "flashtalk": "fallback_runtime",
        "musetalk": "not_configured",
        "wav2lip": "runtime_not_enabled",
    }
    assert {found[model].reason for model in MODELS} == {"not_connected"}


@pytest.mark.parametrize(
    ("document", "connected"),
    [
        ({"models": ["a"]}, {"a"}),
        ({"models": [" FlashTalk\n", "WAV2LIP"]}, {"flashtalk", "wav2lip"}),
        ({"models": [5, True, None, {}, ["x"], "", "  "]}, {"5"}),
        ({"models": [], "statuses": [{"id": "a", "connected": True}]}, set()),
        ({"models": ["a"], "statuses": [{"id": "a", "connected": False}]}, {"a"}),
        ({"statuses": [{"id": " A ", "connected": True}, {"id": "b", "connected": False}]}, {"a"}),
        ({"models": None, "statuses": [{"id": "a", "connected": True}]}, {"a"}),
        ({"models": "a", "statuses": [{"id": "b", "connected": True}]}, {"b"}),
        ({"statuses": [{"id": "a", "connected": "false"}, {"id": "b", "connected": 1}, {"id": "c"}]}, set()),
        ({"statuses": [{"connected": True}, {"id": None, "connected": True}, 5, "a", None, []]}, set()),
        ({"statuses": [{"id": "a", "connected": False}, {"id": "a", "connected": True}]}, {"a"}),
        ({"models": ["a"], "statuses": 5}, {"a"}),
    ],
)
def test_which_ids_are_connected(document: dict[str, Any], connected: set[str]):
    listing = Listing.of(document)
    assert listing.connected == connected
    assert not listing.connected & listing.reasons.keys()


@pytest.mark.parametrize(
    "document", [{}, {"models": "a"}, {"models": None, "statuses": {}}, {"detail": "hello"}]
)
async def test_an_object_without_a_list_is_no_answer(document: dict[str, Any]):
    assert await failure(context(document)) == "unexpected_answer"


@pytest.mark.parametrize("name", ["models", "statuses"])
async def test_a_list_beyond_reason_is_too_large(name: str):
    assert await failure(context({name: ["a"] * (MAX_LISTED + 1)})) == "too_large"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("worker_lost", "worker_lost"),
        ("a\x00b\nc\x1b[0m", "a\ufffdb\ufffdc\ufffd[0m"),
        ("x" * 500, "x" * 97 + "..."),
    ],
)
async def test_the_servers_word_is_shown_cleaned_and_bounded(reason: str, shown: str):
    document = {"models": [], "statuses": [{"id": "flashtalk", "connected": False, "reason": reason}]}
    report = (await probed(source(context(document))))["flashtalk"]
    assert (report.facts, report.message.endswith(f": {shown}.")) == ({"server_reason": shown}, True)


@pytest.mark.parametrize("reason", [None, 5, "", "\n", ["x"]])
async def test_without_a_word_of_the_server_there_is_none_to_show(reason: object):
    document = {"models": [], "statuses": [{"id": "flashtalk", "connected": False, "reason": reason}]}
    report = (await probed(source(context(document))))["flashtalk"]
    assert (report.reason, report.facts) == ("not_connected", {})


async def test_configured_ids_are_compared_like_the_servers():
    found = await probed(source(context({"models": ["flashtalk"]}, models=(" FlashTalk ",))))
    assert (found[" FlashTalk "].status, found[None].facts["unlisted"]) == (Status.OK, [])


@pytest.mark.parametrize(
    ("first", "legacy", "expected"),
    [
        # (connected ids, or the reason of the failure)
        ({"models": ["flashtalk"]}, {"models": ["wav2lip"]}, ["flashtalk"]),
        (NOTHING, {"models": ["wav2lip"]}, ["wav2lip"]),
        (NO_RUNTIME, {"models": ["wav2lip"]}, ["wav2lip"]),
        (NO_RUNTIME, NOTHING, []),
        (NO_RUNTIME, NOT_FOUND, []),
        (NO_RUNTIME, REFUSED, []),
        (NOTHING, NO_RUNTIME, []),
        (NOTHING, NOTHING, []),
        (NOTHING, NOT_FOUND, []),
        (NOT_FOUND, {"models": ["wav2lip"]}, ["wav2lip"]),
        (NOT_FOUND, NO_RUNTIME, []),
        (NOT_FOUND, NOTHING, "http_error"),
        (NOT_FOUND, NOT_FOUND, "http_error"),
        (UNAUTHORIZED, UNAUTHORIZED, "unauthorized"),
        (UNAUTHORIZED, NOT_FOUND, "unauthorized"),
        (UNAUTHORIZED, NOTHING, "unauthorized"),
        (UNAUTHORIZED, {"models": ["wav2lip"]}, ["wav2lip"]),
        (REFUSED, NOT_FOUND, "refused"),
        (FakeResponse(200, b"<html>"), NOT_FOUND, "bad_json"),
        (FakeResponse(200, b"[]"), NOT_FOUND, "bad_json"),
        (FakeResponse(200, b""), REFUSED, "bad_json"),
        (FakeResponse(503), UNAUTHORIZED, "unavailable"),
        (FakeResponse(307), NOT_FOUND, "redirect"),
    ],
)
async def test_the_legacy_path_is_asked_when_the_first_lists_no_connected_model_or_fails(
    first: object, legacy: object, expected: list[str] | str
):
    asked = context(first, legacy)
    if isinstance(expected, str):
        assert await failure(asked) == expected
    else:
        assert (await probed(source(asked)))[None].facts["connected"] == expected
    is_enough = expected == ["flashtalk"]
    assert targets(asked) == ([MODELS_PATH] if is_enough else [MODELS_PATH, LEGACY_MODELS_PATH])


async def test_the_answer_with_statuses_explains_the_models_whichever_path_gave_it():
    for first, legacy in ((NO_RUNTIME, NOTHING), (NOTHING, NO_RUNTIME), (NOT_FOUND, NO_RUNTIME)):
        found = await probed(source(context(first, legacy)))
        assert found["flashtalk"].facts == {"server_reason": "fallback_runtime"}


async def test_another_models_path_has_no_fallback():
    asked = context()
    asked.http.answers["/own"] = said(NOTHING)
    await probed(source(asked, models_path="/own"))
    assert await failure(asked, models_path="/gone") == "http_error"
    assert targets(asked) == ["/own", "/gone"]


async def test_the_legacy_path_can_be_another_one_or_none():
    asked = context(NOTHING)
    asked.http.answers["/old"] = said({"models": ["wav2lip"]})
    assert (await probed(source(asked, legacy_models_path="/old")))["wav2lip"].status is Status.OK
    assert (await probed(source(asked, legacy_models_path="")))["wav2lip"].status is Status.DOWN
    assert targets(asked) == [MODELS_PATH, "/old", MODELS_PATH]


async def test_an_empty_models_path_is_the_default():
    asked = context(NOTHING)
    await probed(source(asked, models_path=""))
    assert targets(asked) == [MODELS_PATH, LEGACY_MODELS_PATH]


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("http://h:9000", "http://h:9000"),
        ("https://h", "https://h"),
        ("ws://h:1/", "http://h:1"),
        ("wss://h/gateway/", "https://h/gateway"),
        ("http://h/a/b?x=1", "http://h/a/b"),
    ],
)
async def test_all_schemes_become_http_and_a_prefix_is_kept(endpoint: str, base: str):
    asked = context()
    with pytest.raises(ProbeError):
        await source(asked, endpoint).probe()
    assert [str(url) for url, _ in asked.http.asked] == [base + MODELS_PATH, base + LEGACY_MODELS_PATH]


@pytest.mark.parametrize(
    ("key", "headers"),
    [(None, {}), (Secret(""), {}), (Secret("k3y"), {"Authorization": "Bearer k3y"})],
)
async def test_the_key_is_a_bearer_token_on_every_request(key: Secret | None, headers: dict[str, str]):
    asked = context(NOTHING, NOTHING)
    probe = source(asked, api_key=key)
    await probed(probe)
    assert [sent for _, sent in asked.http.asked] == [headers, headers]
    assert "k3y" not in repr(probe)


async def test_facts_are_bounded():
    ids = [f"{n:04}" + "x" * 500 for n in range(MAX_ITEMS + 3)]
    facts = (await probed(source(context({"models": ids}))))[None].facts
    for name in ("listed", "connected", "unlisted"):
        assert (len(facts[name]), facts[f"{name}_left_out"]) == (MAX_ITEMS, 3)
        assert max(map(len, facts[name])) == 100


async def test_without_an_endpoint_the_legacy_url_connects_flashtalk_unprobed():
    asked = FakeContext(models=MODELS)
    probe = OmniRtSource(context=asked, legacy_ws_url=Url.parse("ws://h:8765"))
    assert probe.is_configured
    found = await probed(probe)
    assert {model: (r.status.value, r.reason, r.label) for model, r in found.items()} == {
        None: ("degraded", "legacy_ws", ""),
        "flashtalk": ("degraded", "legacy_ws", "legacy_ws"),
        "musetalk": ("off", "not_configured", ""),
        "wav2lip": ("off", "not_configured", ""),
    }
    assert not asked.http.asked


async def test_with_an_endpoint_the_legacy_url_means_nothing():
    found = await probed(source(context(NO_RUNTIME), legacy_ws_url=Url.parse("ws://h:8765")))
    assert found["flashtalk"].status is Status.DOWN


def test_without_any_address_it_is_not_configured():
    assert not OmniRtSource(context=FakeContext()).is_configured
    assert source(FakeContext()).is_configured


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": Url.parse("redis://h")},
        {"legacy_ws_url": Url.parse("tcp://h")},
        {"models_path": "/a?b=c"},
        {"legacy_models_path": "/a b"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]):
    with pytest.raises(ValueError, match=r"scheme|path"):
        OmniRtSource(context=FakeContext(), **options)


def test_registration():
    added: list[type] = []
    omnirt.statusd_register_sources(type("Registry", (), {"add": staticmethod(added.append)})())
    assert added == [OmniRtSource]


texts = st.text(st.sampled_from("aA \n\x00é\U0001f600"), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {}, optional={"id": values, "connected": st.booleans() | values, "reason": values}
)
documents = st.fixed_dictionaries(
    {}, optional={"models": st.lists(values) | values, "statuses": st.lists(entries | values) | values}
)


@given(documents)
@example({"models": ["A\x00"]})
@settings(deadline=None)
async def test_any_document_gives_reports_within_the_contract_or_a_probe_error(document: dict[str, Any]):
    asked = context(document, models=("a", "é", "flashtalk"))
    if not any(isinstance(document.get(name), list) for name in ("models", "statuses")):
        assert await failure(asked) == "unexpected_answer"
        return
    found = await probed(source(asked))
    assert found.keys() == {None, "a", "é", "flashtalk"}
    connected = found[None].facts["connected"]
    assert all((found[name].status is Status.OK) == (name in connected) for name in ("a", "é", "flashtalk"))


async def test_what_another_source_serves_is_listed_and_not_unlisted():
    asked = context({"models": ["flashtalk", "QuickTalk", "extra"]})
    asked.all_models = (*asked.models, "quicktalk")
    found = await probed(source(asked))
    assert found[None].facts["listed"] == ["extra", "flashtalk", "quicktalk"]
    assert found[None].facts["unlisted"] == ["extra"]
