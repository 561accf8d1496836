"""What every source type owes the daemon, held by `takeoff`, `omnirt`, `direct_ws` and `mock`."""

from __future__ import annotations

import pytest

from statusd import Context, Secret, Url
from statusd.testing import FakeContext, FakeResponse
from statusd.testing.conformance import check_source
from statusd.testing.hostile import garbage
from statusd_plugins.direct_ws import DirectWsSource
from statusd_plugins.mock import MockSource
from statusd_plugins.omnirt import MODELS_PATH, OmniRtSource
from statusd_plugins.takeoff import TakeoffSource

BELOW_500 = [name for name, kind in garbage().items() if kind.http.status < 500]
"""To `direct_ws` any answer below 500 is documented as good: a WebSocket server need not speak plain HTTP."""
CONNECTING = list(garbage())
"""And a connection asks nothing, so that nothing can be answered wrongly."""


async def test_takeoff_keeps_the_contract(autojump_clock):
    def make(context: Context) -> TakeoffSource:
        url = Url.parse("http://user-name:pass-word@h:3000")
        return TakeoffSource(context=context, url=url, redact=("/config",))

    def answers(context: FakeContext) -> None:
        body = b'{"config":{},"status":{"live_readers":{"r":{"pids":[1]}},"last_heartbeat":{"r":{}}}}'
        context.http.answers["/status"] = FakeResponse(200, body)

    await check_source(make, models=("m",), answers=answers)


async def test_omnirt_keeps_the_contract(autojump_clock):
    def make(context: Context) -> OmniRtSource:
        endpoint = Url.parse("wss://h/prefix")
        return OmniRtSource(context=context, endpoint=endpoint, api_key=Secret("key-of-mine"))

    def answers(context: FakeContext) -> None:
        body = b'{"models":["flashtalk"],"statuses":[{"id":"wav2lip","connected":false,"reason":"r"}]}'
        context.http.answers["/prefix" + MODELS_PATH] = FakeResponse(200, body)

    await check_source(make, models=("flashtalk", "wav2lip"), answers=answers)


@pytest.mark.parametrize("assume", [False, True])
@pytest.mark.parametrize(("check", "allow"), [("http", BELOW_500), ("handshake", []), ("tcp", CONNECTING)])
async def test_direct_ws_keeps_the_contract(check, allow, assume, autojump_clock):
    def make(context: Context) -> DirectWsSource:
        url = Url.parse("ws://user-name:pass-word@h:8765/v1")
        return DirectWsSource(context=context, url=url, check=check, assume_connected=assume)

    def answers(context: FakeContext) -> None:
        context.http.answers["/v1/"] = FakeResponse(426)

    await check_source(make, models=("flashhead",), answers=answers, allow=allow)


async def test_mock_keeps_the_contract(autojump_clock):
    await check_source(
        lambda context: MockSource(context=context), models=("mock",), answers=lambda _context: None
    )
