"""The `direct_ws` source."""

from __future__ import annotations

from typing import Any

import pytest

from statusd import ProbeError, Report, Status, Url
from statusd.plugin.validation import checked_reports
from statusd.testing.fakes import FakeContext, FakeResponse
from statusd_plugins import direct_ws
from statusd_plugins.direct_ws import DirectWsSource

MODELS = ("flashhead", "other")


def source(context: FakeContext, url: str = "ws://h:8765/v1", **options: Any) -> DirectWsSource:
    return DirectWsSource(context=context, url=Url.parse(url), **options)


def flashhead(**parts: Any) -> FakeContext:
    return FakeContext(name="flashhead", plugin="direct_ws", models=MODELS, **parts)


async def probed(probe: DirectWsSource) -> list[Report]:
    return list(checked_reports(await probe.probe(), models=MODELS))


async def reason_of(probe: DirectWsSource) -> str:
    """Return the reason of the whole probe, whether it reports or raises."""
    try:
        return (await probed(probe))[0].reason
    except ProbeError as error:
        return error.reason


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("ws://h:8765", "http://h:8765/"),
        ("ws://h/v1", "http://h/v1/"),
        ("wss://h/v1/", "https://h/v1/"),
        ("http://h/a/b?token=x", "http://h/a/b/"),
        ("https://[::1]:1/", "https://[::1]:1/"),
    ],
)
async def test_http_asks_for_the_prefix_with_a_slash(url: str, asked: str):
    context = flashhead()
    await probed(source(context, url))
    assert [str(each) for each, _ in context.http.asked] == [asked]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, "ok"),
        (204, "ok"),
        (301, "ok"),
        (401, "ok"),
        (404, "ok"),
        (426, "ok"),
        (499, "ok"),
        (500, "http_error"),
        (502, "http_error"),
        (503, "unavailable"),
        (599, "http_error"),
    ],
)
async def test_http_is_good_with_any_answer_below_500(status: int, reason: str):
    context = flashhead()
    context.http.answers["/v1/"] = FakeResponse(status, b"not JSON")
    assert await reason_of(source(context)) == reason


@pytest.mark.parametrize("reason", ["timeout", "refused", "connection_lost", "protocol_error", "tls_failed"])
@pytest.mark.parametrize("check", ["http", "handshake", "tcp"])
async def test_no_answer_is_not_connected(check: str, reason: str):
    error = ProbeError(reason, "No.")
    context = flashhead()
    context.http.answers["/v1/"] = context.websocket.answer = context.tcp.error = error
    assert await reason_of(source(context, check=check)) == reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (101, "ok"),
        (200, "unexpected_answer"),
        (302, "unexpected_answer"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "unexpected_answer"),
        (426, "unexpected_answer"),
        (500, "unexpected_answer"),
        (503, "unavailable"),
    ],
)
async def test_a_handshake_is_good_only_with_101(code: int, reason: str):
    context = flashhead()
    context.websocket.answer = code
    assert await reason_of(source(context, check="handshake")) == reason
    assert not context.http.asked


@pytest.mark.parametrize(
    ("code", "remedy"), [(200, "correct the URL"), (500, "its own log"), (503, "not available")]
)
async def test_a_refused_handshake_has_the_remedy_of_its_code(code: int, remedy: str):
    context = flashhead()
    context.websocket.answer = code
    with pytest.raises(ProbeError, match=remedy):
        await source(context, check="handshake").probe()


async def test_a_refused_handshake_says_who_answered_and_the_remedy():
    context = flashhead()
    context.websocket.answer = 404
    with pytest.raises(ProbeError) as caught:
        await source(context, url="ws://me:pw@h/v1?token=x", check="handshake").probe()
    assert caught.value.message == (
        "ws://h/v1 answered the WebSocket handshake with 404, not 101: "
        "correct the URL, or another kind of server listens there."
    )


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("ws://h/v1?token=x", "ws://h/v1?token=x"),
        ("http://h/v1", "ws://h/v1"),
        ("https://h", "wss://h"),
        ("wss://h:1/", "wss://h:1/"),
    ],
)
async def test_a_handshake_asks_for_the_url_itself(url: str, asked: str):
    context = flashhead()
    await probed(source(context, url, check="handshake"))
    assert [str(each) for each in context.websocket.asked] == [asked]


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("ws://h", ("h", 80)),
        ("http://h/x", ("h", 80)),
        ("wss://h", ("h", 443)),
        ("https://h", ("h", 443)),
        ("ws://[::1]:8765/", ("::1", 8765)),
    ],
)
async def test_tcp_connects_to_the_urls_port_or_its_schemes(url: str, asked: tuple[str, int]):
    context = flashhead()
    assert await reason_of(source(context, url, check="tcp")) == "ok"
    assert (context.tcp.asked, context.http.asked, context.websocket.asked) == ([asked], [], [])


async def test_models_follow_the_source_unless_assumed():
    assert [report.model for report in await probed(source(flashhead()))] == [None]


def assumed(reports: list[Report]) -> list[tuple[str | None, str, str, str]]:
    return [(report.model, report.status.value, report.reason, report.label) for report in reports]


async def test_assumed_models_are_ok_while_the_probe_finds_the_server():
    assert assumed(await probed(source(flashhead(), assume_connected=True))) == [
        (None, "ok", "ok", ""),
        ("flashhead", "ok", "ok", "explicit_enabled"),
        ("other", "ok", "ok", "explicit_enabled"),
    ]


@pytest.mark.parametrize("status", [Status.DOWN, Status.UNKNOWN])
def test_assumed_models_stay_connected_when_the_probe_fails_and_the_source_tells_the_truth(status: Status):
    failure = Report(status=status, reason="timeout", message="No answer.")
    reports = source(flashhead(), assume_connected=True).on_failure(failure)
    assert reports[0] is failure
    assert assumed(list(checked_reports(reports, models=MODELS)))[1:] == [
        ("flashhead", "degraded", "assume_connected", "explicit_enabled"),
        ("other", "degraded", "assume_connected", "explicit_enabled"),
    ]


def test_without_assuming_a_failure_is_just_the_failure():
    failure = Report.down("timeout")
    assert source(flashhead()).on_failure(failure) == [failure]


async def test_assumed_models_are_connected_without_a_url_and_nothing_is_asked():
    context = flashhead()
    probe = DirectWsSource(context=context, assume_connected=True)
    assert probe.is_configured
    assert assumed(await probed(probe)) == [
        (None, "off", "not_configured", ""),
        ("flashhead", "degraded", "assume_connected", "explicit_enabled"),
        ("other", "degraded", "assume_connected", "explicit_enabled"),
    ]
    assert not context.http.asked


def test_it_is_configured_by_its_url():
    assert not DirectWsSource(context=flashhead()).is_configured
    assert source(flashhead()).is_configured
    assert DirectWsSource.default_interval == 5


@pytest.mark.parametrize("url", ["tcp://h:1", "redis://h", "ws://"])
def test_other_urls_are_refused(url: str):
    with pytest.raises(ValueError, match=r"scheme|host"):
        source(flashhead(), url)


def test_registration():
    added: list[type] = []
    direct_ws.statusd_register_sources(type("Registry", (), {"add": staticmethod(added.append)})())
    assert added == [DirectWsSource]
