"""What the running daemon answers at /metrics, over HTTP."""

import shutil

import pytest
import trio

from statusd.web.families import FAMILIES
from tests.integration.inprocess import running
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
    ours = {family.name for family in FAMILIES} - {"statusd_dropped_records_total"}  # there is no sink
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
