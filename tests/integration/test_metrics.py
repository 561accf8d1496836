"""What the running daemon answers at /metrics, over HTTP."""

import logging
import re
import shutil

import pytest
import trio

from statusd.config.http import HttpSettings
from statusd.serving import build_common, build_edge
from statusd.web.families import FAMILIES
from tests import stages
from tests.integration.inprocess import running
from tests.web.client import service
from tests.web.scraping import read

CONFIGURATION = """
[sources.mock]
plugin = "mock"
interval = 0.2

[sources.gone]
plugin = "http"
url = "http://127.0.0.1:1"
interval = 0.2
timeout = 0.2

[sources.unset]
plugin = "takeoff"

[models]
"org/wav2lip" = "mock"
"""


async def scrape(client):
    return (await client.get("/metrics")).body.decode()


async def test_a_scrape_counts_what_the_daemon_does():
    def probes(text):
        return read(text).get(("statusd_probes_total", (("source", "gone"), ("status", "down"))), 0)

    async with running(CONFIGURATION) as client:
        text = await client.until(lambda: scrape(client), lambda text: probes(text) >= 3)
    samples = read(text)
    absent = {"statusd_dropped_records_total", "statusd_drain_end_timestamp_seconds"}  # no sink, no drain
    ours = {family.name for family in FAMILIES} - absent
    names = {name.removesuffix("_bucket") for name, _ in samples}
    assert ours <= names
    took = samples["statusd_probe_duration_seconds_count", (("source", "gone"),)]
    assert took == probes(text)
    assert samples["statusd_transitions_total", (("path", "sources/gone"), ("to", "down"))] == 1
    status = samples["statusd_node_status", (("path", "models/org%2Fwav2lip"), ("statusd_node_status", "ok"))]
    assert status == 1
    assert ("statusd_reading_age_seconds", (("source", "unset"),)) not in samples
    assert 0 <= samples["statusd_reading_age_seconds", (("source", "gone"),)] < 20


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs the program promtool (Debian: prometheus)"
)
async def test_promtool_finds_nothing_wrong_with_it():
    async with running(CONFIGURATION) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    done = await trio.run_process(
        ["promtool", "check", "metrics"],
        check=False,
        stdin=answer.body,
        capture_stdout=True,
        capture_stderr=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_a_scrape_counts_the_requests_connections_and_bounds_of_the_daemon_itself():
    text = CONFIGURATION + "[http.limits]\nidle_timeout = 7.5\nconnections = 50\nstreams = 5\nwaiting = 6\n"
    async with running(text) as client:
        for _ in range(3):
            assert (await client.get("/health")).status == 200
        assert (await client.get("/nowhere/at/all")).status == 404
        assert (await client.get("/state?since=a")).status == 400
        await scrape(client)
        samples = read(await scrape(client))

    def requests(route, stage, code):
        pairs = (("code", code), ("route", route), ("stage", stage))
        return samples["statusd_http_requests_total", pairs]

    assert requests("/health", stages.first(), "200") == 3
    assert requests("/state", "app", "400") == 1
    assert requests("none", stages.first(), "404") == 1
    assert requests("/metrics", "app", "200") == 1
    took = samples["statusd_http_request_duration_seconds_count", (("route", "/metrics"),)]
    assert took == 1
    assert samples["statusd_http_connections", ()] >= 1  # the one that asks
    assert samples["statusd_http_accepted_connections_total", ()] >= samples["statusd_http_connections", ()]
    assert samples["statusd_http_limit", (("bound", "idle_timeout"),)] == 7.5
    assert samples["statusd_http_limit", (("bound", "connections"),)] == 50
    assert samples["statusd_http_limited_total", (("bound", "connections"),)] == 0


def test_failures_of_the_application_and_of_connections_are_counted_together():
    common = build_common(HttpSettings())
    edge = build_edge(service(), HttpSettings(), common)
    assert edge.app.guard is edge.guard is common.guard
    assert edge.front.answers.traffic is edge.traffic is common.traffic
    assert edge.traffic.log is None


async def test_both_stages_write_the_access_log(caplog):
    caplog.set_level(logging.INFO, "statusd.access")
    async with running("[http]\naccess_log = 1.0\n" + CONFIGURATION) as client:
        await client.get("/health")
        await client.get("/metrics")
    lines = [record.getMessage() for record in caplog.records if record.name == "statusd.access"]
    assert len(lines) == 2
    seconds = r"0\.0000" if stages.HAS_FRONT else r"\d\.\d{4}"
    assert re.fullmatch(rf'127\.0\.0\.1 "GET /health HTTP/1\.1" 200 \d+ {seconds} {stages.first()}', lines[0])
    assert re.fullmatch(r'127\.0\.0\.1 "GET /metrics HTTP/1\.1" 200 \d+ \d\.\d{4} app', lines[1])


async def test_nothing_is_written_of_requests_unless_it_is_wanted(caplog):
    caplog.set_level(logging.INFO, "statusd.access")
    async with running(CONFIGURATION) as client:
        await client.get("/health")
        await client.get("/metrics")
    assert not [record for record in caplog.records if record.name == "statusd.access"]
