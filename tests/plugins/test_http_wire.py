"""The presets over real sockets, through the daemon's own HTTP client."""

from __future__ import annotations

import attrs
import pytest

from statusd import Status, Url
from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.trace import Trace
from statusd.plugin.validation import checked_reports
from statusd.testing import SERVERS, CannedServer, FakeContext
from statusd_plugins.http import HttpHealthSource

CONFIGURED = {"triton": ("resnet",), "llama_swap": ("qwen", "smollm")}


@attrs.define(kw_only=True)
class WiredContext(FakeContext):
    """A context whose HTTP client is the daemon's."""

    http: HttpClient = attrs.field(factory=lambda: HttpClient(Resolver(), Trace()))


@pytest.mark.parametrize("preset", SERVERS)
async def test_a_preset_finds_its_server_well_behind_a_gateway_and_costs_it_nothing(preset):
    models = CONFIGURED.get(preset, SERVERS[preset].models)
    async with CannedServer.named(preset, prefix="/llm") as server:
        context = WiredContext(models=models)
        source = HttpHealthSource(context=context, url=Url.parse(server.url + "/llm"), preset=preset)
        for _ in range(2):
            reports = checked_reports(await source.probe(), models=models)
        await context.http.aclose()
    assert all(report.status is Status.OK for report in reports)
    assert {report.model for report in reports if report.model} == set(models)
    assert server.forbidden_requests == []
    assert server.accepted == 1  # the connection is kept from GET to GET, and from probe to probe
