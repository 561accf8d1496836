"""The `http` source: how it judges an answer, reads a list of models, and what it refuses to be configured for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import OptionError, ProbeError, Report, Secret, Status, Url
from statusd.plugin.validation import checked_reports
from statusd.testing.fakes import FakeContext, FakeHttp, FakeResponse
from statusd_plugins.http import HttpHealthSource
from statusd_plugins.http_answers import MAX_FOUND, Expectation, facts_of, judge, model_ids
from statusd_plugins.json_pointer import Pointer

BASE = Url.parse("http://127.0.0.1:8000")
HEALTH = Url.parse("http://127.0.0.1:8000/health")


def answering(*models: str, **answers: FakeResponse | ProbeError) -> FakeContext:
    """Return a context whose server answers by table; ``_`` in a keyword stands for ``/``."""
    table = {"/" + path.replace("_", "/"): answer for path, answer in answers.items()}
    return FakeContext(models=models, http=FakeHttp(table))


def as_json(value: object, status: int = 200) -> FakeResponse:
    return FakeResponse(status, json.dumps(value).encode())


async def probed(source: HttpHealthSource) -> dict[str, Report]:
    """Probe, hold the reports against the contract, and return them by model; ``""`` is the source itself."""
    reports = checked_reports(await source.probe(), models=source.context.models)
    return {report.model or "": report for report in reports}


async def fault(source: HttpHealthSource) -> str:
    with pytest.raises(ProbeError) as caught:
        await source.probe()
    return caught.value.reason


def targets(source: HttpHealthSource) -> list[str]:
    return [url.target for url, _ in source.context.http.asked]


async def test_any_2xx_is_well():
    for code in (200, 204, 299):
        source = HttpHealthSource(context=answering(health=FakeResponse(code)), url=HEALTH)
        assert (await probed(source))[""].status is Status.OK


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (301, "redirect"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "http_error"),
        (503, "unavailable"),
    ],
)
async def test_another_code_is_a_fault_with_its_own_reason(code, reason):
    assert await fault(HttpHealthSource(context=answering(health=FakeResponse(code)), url=HEALTH)) == reason


async def test_expect_status_replaces_what_is_well():
    def source(code: int) -> HttpHealthSource:
        return HttpHealthSource(
            context=answering(health=FakeResponse(code)), url=HEALTH, expect_status=[401, 302]
        )

    assert (await probed(source(401)))[""].status is Status.OK
    assert (await probed(source(302)))[""].status is Status.OK
    assert await fault(source(200)) == "unexpected_answer"


async def test_a_loading_server_is_down_whatever_the_case_of_its_words():
    context = answering(health=FakeResponse(503, b'{"message": "LOADING model"}'))
    assert await fault(HttpHealthSource(context=context, url=HEALTH, loading_contains="loading")) == "loading"


async def test_text_in_the_body():
    context = answering(health=FakeResponse(200, "läuft".encode()))
    assert (await probed(HttpHealthSource(context=context, url=HEALTH, contains="läuft")))[
        ""
    ].status is Status.OK
    assert (
        await fault(HttpHealthSource(context=context, url=HEALTH, contains="success")) == "unexpected_answer"
    )


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"s": "OK"}, Status.OK, "ok"),
        ({"s": True}, Status.OK, "ok"),
        ({"s": "degraded"}, Status.DEGRADED, "degraded"),
        ({"s": "Starting"}, Status.DOWN, "loading"),
        ({"s": "unhealthy"}, Status.DOWN, "unhealthy"),
        ({"s": "unknown"}, Status.UNKNOWN, "unknown"),
    ],
)
async def test_a_status_in_the_body_by_the_usual_words(body, status, reason):
    source = HttpHealthSource(context=answering(health=as_json(body)), url=HEALTH, status_pointer="/s")
    report = (await probed(source))[""]
    assert (report.status, report.reason) == (status, reason)


@pytest.mark.parametrize(
    "body", [{}, {"s": "splendid"}, {"s": None}, {"s": []}, {"s": {}}, {"s": "x" * 5000}]
)
async def test_a_status_that_says_nothing_known_is_a_fault(body):
    source = HttpHealthSource(context=answering(health=as_json(body)), url=HEALTH, status_pointer="/s")
    assert await fault(source) == "unexpected_answer"


@pytest.mark.parametrize("text", ["", "/data/*/id", "/a~1b/c~0d"])
def test_a_pointer_is_written_as_it_was_read(text):
    assert str(Pointer.parse(text)) == text


async def test_a_list_that_is_elsewhere_is_told_with_the_pointer_that_looked_for_it():
    context = answering("m", health=FakeResponse(), list=as_json({"models": []}))
    reports = await probed(HttpHealthSource(context=context, url=BASE, path="/health", models_path="/list"))
    assert reports[""].message.endswith('The answer holds nothing at "/data/*/id" (models_pointer).')


async def test_status_map_replaces_the_words_and_the_worst_value_decides():
    source = HttpHealthSource(
        context=answering("m", health=as_json({"parts": [{"s": "Green"}, {"s": "low on memory"}, {"s": 3}]})),
        url=HEALTH,
        status_pointer="/parts/*/s",
        status_map={"green": "ok", "LOW ON MEMORY": "degraded", "3": "down"},
    )
    report = (await probed(source))[""]
    assert (report.status, report.reason, report.message) == (
        Status.DOWN,
        "unavailable",
        'The server calls its status "3".',
    )


async def test_a_body_that_has_to_be_json_and_is_not_is_a_fault():
    for body in (b"", b"<html>", b'{"s": NaN}', b"[" * 5000, b"\xff"):
        source = HttpHealthSource(
            context=answering(health=FakeResponse(200, body)), url=HEALTH, status_pointer="/s"
        )
        assert await fault(source) == "bad_json"


async def test_facts_are_plain_values_of_bounded_size():
    body = {
        "version": "1.2\x00",
        "long": "x" * 5000,
        "huge": 10**4000,
        "n": 1.5,
        "none": None,
        "object": {"key": "secret"},
        "list": [{"v": number} for number in range(500)],
    }
    facts = {name: f"/{name}" for name in body} | {"all": "/list/*/v", "gone": "/gone"}
    sys_safe = answering(health=as_json({**body, "huge": 10**400}))
    report = (await probed(HttpHealthSource(context=sys_safe, url=HEALTH, facts=facts)))[""]
    assert report.facts == {
        "version": "1.2\ufffd",
        "long": "x" * 97 + "...",
        "huge": "1" + "0" * 96 + "...",
        "n": 1.5,
        "none": None,
        "object": "(an object)",
        "list": "(a list)",
        "all": list(range(200)),
    }


class TestModelList:
    def source(self, listing: FakeResponse | ProbeError, *models: str, **keys) -> HttpHealthSource:
        context = answering(*models, health=FakeResponse(), list=listing)
        return HttpHealthSource(context=context, url=BASE, path="/health", models_path="/list", **keys)

    async def test_a_listed_model_is_ok_and_one_that_is_not_is_down(self):
        source = self.source(as_json({"data": [{"id": "b"}, {"id": "a"}, {"id": "c"}]}), "a", "z")
        reports = await probed(source)
        assert reports[""].facts == {"listed": ["a", "b", "c"], "unlisted": ["b", "c"]}
        assert reports[""].status is Status.OK
        assert reports["a"].status is Status.OK
        assert (reports["z"].status, reports["z"].reason) == (Status.DOWN, "not_listed")

    async def test_a_degraded_server_has_degraded_models(self):
        context = answering("a", health=as_json({"status": "degraded"}), list=as_json({"data": ["a"]}))
        source = HttpHealthSource(
            context=context,
            url=BASE,
            path="/health",
            models_path="/list",
            models_pointer="/data",
            status_pointer="/status",
        )
        assert (await probed(source))["a"].status is Status.DEGRADED

    async def test_a_server_that_is_down_is_not_asked_for_its_models(self):
        context = answering("a", health=as_json({"status": "down"}), list=as_json({"data": [{"id": "a"}]}))
        source = HttpHealthSource(
            context=context, url=BASE, path="/health", models_path="/list", status_pointer="/status"
        )
        assert list(await probed(source)) == [""]
        assert targets(source) == ["/health"]

    async def test_a_model_may_have_another_name_there(self):
        source = self.source(
            as_json({"data": [{"id": "org/M"}]}), "m", "n", model_names={"m": "org/M", "n": "N"}
        )
        reports = await probed(source)
        assert reports["m"].status is Status.OK
        assert reports["n"].status is Status.DOWN
        assert reports[""].facts["unlisted"] == []

    @pytest.mark.parametrize("code", [401, 403])
    async def test_a_list_behind_a_key_leaves_the_server_connected(self, code):
        reports = await probed(self.source(FakeResponse(code), "a"))
        assert (reports[""].status, reports[""].reason) == (Status.DEGRADED, "unauthorized")
        assert "api_key" in reports[""].message
        assert "a" not in reports  # so it follows the source

    @pytest.mark.parametrize("code", [404, 405, 501])
    async def test_a_list_that_is_not_offered_leaves_the_server_connected(self, code):
        reports = await probed(self.source(FakeResponse(code), "a"))
        assert list(reports) == [""]
        assert (reports[""].status, reports[""].reason) == (Status.DEGRADED, "http_error")

    @pytest.mark.parametrize(
        ("listing", "reason"),
        [
            (FakeResponse(500), "http_error"),
            (FakeResponse(503), "unavailable"),
            (FakeResponse(302), "redirect"),
            (FakeResponse(200, b"<html>"), "bad_json"),
            (FakeResponse(200, b"{}"), "unexpected_answer"),
            (FakeResponse(200, b'{"data": [{}]}'), "unexpected_answer"),
            (FakeResponse(200, b'{"data": [1, 2]}'), "unexpected_answer"),
            (FakeResponse(200, b'{"data": {"id": 3}}'), "unexpected_answer"),
            (FakeResponse(200, b"x" * (2 << 20)), "too_large"),
            (ProbeError("connection_lost", "It broke."), "connection_lost"),
        ],
    )
    async def test_a_broken_list_connects_no_model(self, listing, reason):
        reports = await probed(self.source(listing, "a", "b"))
        assert (reports[""].status, reports[""].reason) == (Status.DEGRADED, reason)
        for model in ("a", "b"):
            assert (reports[model].status, reports[model].reason) == (Status.UNKNOWN, reason)

    async def test_a_huge_list_stays_within_the_limits_of_a_report(self):
        listing = as_json({"data": [{"id": f"{number:0200}"} for number in range(3000)]})
        reports = await probed(self.source(listing, "a"))
        assert len(reports[""].facts["unlisted"]) == 200
        assert reports[""].facts["unlisted_left_out"] == 2800

    @pytest.mark.parametrize(
        ("document", "pointer"),
        [
            (["a"] * (MAX_FOUND + 1), ""),
            ({"data": ["a"] * (MAX_FOUND + 1)}, "/data"),
            ({"data": [{"id": "a"}] * (MAX_FOUND + 1)}, "/data/*/id"),
            ({"data": [{}] * (MAX_FOUND + 1)}, "/data/*/id"),
            ({"data": [["a"] * MAX_FOUND, ["b"]]}, "/data/*"),
        ],
    )
    async def test_a_list_beyond_reason_is_too_large(self, document, pointer):
        with pytest.raises(ProbeError) as caught:
            model_ids(document, Pointer.parse(pointer))
        assert caught.value.reason == "too_large"

    async def test_the_order_of_the_list_is_no_state(self):
        one = await probed(self.source(as_json({"data": [{"id": "a"}, {"id": "b"}]}), "a"))
        two = await probed(self.source(as_json({"data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]}), "a"))
        assert one == two

    @pytest.mark.parametrize(
        ("document", "pointer", "ids"),
        [
            (["a", "b"], "", {"a", "b"}),
            ({"models": ["a", ""]}, "/models", {"a"}),
            (
                {"models": [{"name": "a"}, {"model": "b"}, {"id": "", "name": "c"}]},
                "/models",
                {"a", "b", "c"},
            ),
            ({"models": {"x": {"id": "a"}}}, "/models/*", {"a"}),
            ({"model": "a"}, "/model", {"a"}),
            ({"data": []}, "/data", set()),
            ({"data": []}, "/data/*/id", set()),
            ({"data": None}, "/data", set()),
            ({"data": None}, "/data/*/id", set()),
            ({"data": {}}, "/data/*/id", set()),
        ],
    )
    def test_the_forms_of_a_list(self, document, pointer, ids):
        assert model_ids(document, Pointer.parse(pointer)) == ids

    @given(st.binary(max_size=60))
    async def test_no_body_raises_anything_but_a_probe_error(self, body):
        reports = await probed(self.source(FakeResponse(200, body), "a"))
        assert reports[""].status in {Status.OK, Status.DEGRADED}


def test_more_statuses_than_any_server_has_are_too_large():
    expected = Expectation(status=Pointer.parse("/*"))
    assert judge(as_json(["ok"] * MAX_FOUND), expected).status is Status.OK
    with pytest.raises(ProbeError) as caught:
        judge(as_json(["ok"] * (MAX_FOUND + 1)), expected)
    assert caught.value.reason == "too_large"


def test_of_a_list_beyond_reason_the_first_items_are_facts():
    found = facts_of([{"a": number} for number in range(MAX_FOUND + 1)], {"it": Pointer.parse("/*/a")})
    assert found == {"it": list(range(200))}


@given(st.integers(100, 599), st.binary(max_size=60), st.booleans())
def test_no_answer_makes_judging_raise_anything_else(code, body, wants_json):
    expected = Expectation(
        contains="" if wants_json else "ok", status=Pointer.parse("/status") if wants_json else None
    )
    try:
        report = judge(FakeResponse(code, body), expected)
    except ProbeError:
        return
    assert 200 <= code < 300
    assert report.status in set(Status)


class TestRequest:
    async def test_the_key_is_a_bearer_token_and_further_headers_go_along(self):
        context = answering(health=FakeResponse())
        await HttpHealthSource(
            context=context, url=HEALTH, api_key=Secret("k1"), headers={"X-Tenant": "a"}
        ).probe()
        assert context.http.asked[0][1] == {"X-Tenant": "a", "Authorization": "Bearer k1"}

    async def test_the_key_may_have_a_header_of_its_own(self):
        context = answering(health=FakeResponse())
        source = HttpHealthSource(
            context=context, url=HEALTH, api_key=Secret("k1"), api_key_header="X-API-Key"
        )
        await source.probe()
        assert context.http.asked[0][1] == {"X-API-Key": "k1"}
        assert "k1" not in repr(source)

    async def test_an_empty_key_is_no_key(self):
        context = answering(health=FakeResponse())
        await HttpHealthSource(context=context, url=HEALTH, api_key=Secret("")).probe()
        assert context.http.asked[0][1] == {}

    async def test_a_prefix_and_a_query_are_kept(self):
        url = Url.parse("http://gateway/llm/?tenant=1")
        context = FakeContext(
            http=FakeHttp({"/llm/health?tenant=1": FakeResponse(), "/llm/list?all=1": as_json({"data": []})})
        )
        source = HttpHealthSource(context=context, url=url, path="/health", models_path="/list?all=1")
        assert (await probed(source))[""].status is Status.OK

    async def test_without_a_path_the_url_is_asked_as_it_is(self):
        context = FakeContext(http=FakeHttp({"/a?b=c": FakeResponse()}))
        source = HttpHealthSource(context=context, url=Url.parse("http://x/a?b=c"))
        assert (await probed(source))[""].status is Status.OK

    def test_without_a_url_it_is_not_configured(self):
        assert not HttpHealthSource(context=FakeContext(), preset="vllm").is_configured
        assert HttpHealthSource(context=FakeContext(), url=HEALTH).is_configured


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"url": Url.parse("ws://x")}, "scheme"),
        ({"url": HEALTH, "path": "health"}, "no path"),
        ({"url": HEALTH, "path": "/a b"}, "no path"),
        ({"url": HEALTH, "models_path": "list"}, "no path"),
        ({"url": HEALTH, "expect_status": [99]}, "200 to 599"),
        ({"url": HEALTH, "expect_status": [101]}, "200 to 599"),
        ({"url": HEALTH, "status_pointer": "status"}, "no JSON pointer"),
        ({"url": HEALTH, "facts": {"v": "version"}}, "no JSON pointer"),
        ({"url": HEALTH, "models_path": "/l", "models_pointer": "data"}, "no JSON pointer"),
        ({"url": HEALTH, "headers": {"A b": "c"}}, "no header field"),
        ({"url": HEALTH, "headers": {"Host": "c"}}, "no header field"),
        ({"url": HEALTH, "headers": {"X": "a\r\nY: b"}}, "not printable"),
        ({"url": HEALTH, "headers": {"Authorization": "Bearer x"}}, "api_key"),
        ({"url": HEALTH, "api_key_header": "X Y"}, "no header field"),
        ({"url": HEALTH, "max_body": 0}, "1 to 16777216"),
        ({"url": HEALTH, "max_body": (16 << 20) + 1}, "1 to 16777216"),
    ],
)
def test_mistakes_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        HttpHealthSource(context=FakeContext(), **keys)


@pytest.mark.parametrize(
    ("keys", "option"),
    [
        ({"url": HEALTH, "status_map": {"a": "ok"}}, "status_map"),
        ({"url": HEALTH, "models_pointer": "/data"}, "models_pointer"),
        ({"url": Url.parse("http://u:p@x"), "api_key": Secret("k")}, "api_key"),
        ({"url": HEALTH, "preset": "vllm"}, "url"),
    ],
)
def test_keys_that_do_not_go_together_are_refused_by_name(keys, option):
    with pytest.raises(OptionError) as caught:
        HttpHealthSource(context=FakeContext(), **keys)
    assert caught.value.option == option
