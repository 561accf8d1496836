"""What a configuration says about thresholds, dependencies, rules and readiness, seen in a running daemon."""

from __future__ import annotations

from statusd.config.places import DAEMON_PARTS
from tests.integration.inprocess import running
from tests.web.edge.certificates import Files

TEXT = """
[sources.host]
plugin = "mock"
status = "down"
[sources.worker]
plugin = "mock"
depends_on = ["host"]
[sources.spare]
plugin = "mock"

[models]
"a/b" = ["worker", "spare"]

[rollup]
sources = "at_least(2)"
"models/a%2fb" = "worst"

[ready]
require = ["models/a%2Fb"]
"""


async def test_dependencies_and_rules_reach_the_tree():
    async with running(TEXT, {}) as client:
        host, worker = await client.node("sources/host"), await client.node("sources/worker")
        sources, model = await client.node("sources"), await client.node("models/a%2Fb")
    assert (host["status"], worker["status"], worker["reason"]) == ("down", "unknown", "parent_down")
    assert sources["rollup"]["rule"] == "at_least(2)"
    assert (sources["status"], sources["reason"]) == ("down", "too_few")
    assert model["rollup"] == {"rule": "worst", "decided_by": ["worker"]}
    assert (model["status"], model["reason"]) == ("unknown", "parent_down")


async def test_what_readiness_wants_decides_about_readyz():
    async with running(TEXT, {}) as client:
        required = await client.get("/readyz")
    async with running(TEXT.replace('"worst"', '"best"'), {}) as client:
        met = await client.get("/readyz")
    async with running(TEXT.partition("[ready]")[0], {}) as client:
        free = await client.get("/readyz")
    assert (required.status, met.status, free.status) == (503, 200, 200)
    assert b"models/a%2Fb" in required.body


async def test_the_parts_of_the_daemon_are_those_of_a_running_one(tmp_path):
    files = Files.write(tmp_path)
    text = f"""
[http]
bind_probes = ["tls:127.0.0.1:0"]
[http.tls]
certificate = "{files.certificate}"
key = "{files.key}"
"""
    async with running(text, {}) as client:
        node = await client.node("daemon")
    assert sorted(node["children"]) == sorted(DAEMON_PARTS)


async def test_a_plugin_that_readiness_wants_and_is_not_installed_shows_in_the_tree():
    text = '[ready]\nrequire = ["plugins/nonesuch"]'
    async with running(text, {}) as client:
        node, ready = await client.node("daemon/config"), await client.get("/readyz")
    assert (node["status"], node["reason"]) == ("degraded", "config_fault")
    assert node["message"].startswith('ready.require[0]: No plugin "nonesuch" is installed;')
    assert ready.status == 503
