"""Schemathesis, from outside, over a running daemon with every built-in plugin: whatever is asked, it is answered as documented.

It asks for everything that the OpenAPI document lists, with what is valid and with what is not, and holds the answers
against the document; of ``/events`` it reads the first event of each stream. `STATUSD_SCHEMATHESIS_EXAMPLES` makes it ask more
(a few hundred for a long run), `STATUSD_SCHEMATHESIS_SEED` something else.
"""

import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from statusd.testing import FlashHead, OmniRT, Takeoff
from tests.integration.inprocess import running

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = os.environ.get("STATUSD_SCHEMATHESIS_EXAMPLES", "8")
SEED = os.environ.get("STATUSD_SCHEMATHESIS_SEED", "20261121")
DAEMON = """
[sources.inference]
plugin = "takeoff"
url = "{takeoff}"
interval = 0.5
[sources.gone]
plugin = "takeoff"
url = "http://127.0.0.1:1"
rise = 2
fall = 3
depends_on = ["inference"]
required = false
[sources.queue]
plugin = "redis_queue"
url = "redis://127.0.0.1:1/0"
[sources.omnirt]
plugin = "omnirt"
endpoint = "{omnirt}"
max_age = 5
[sources.flashhead]
plugin = "direct_ws"
url = "{flashhead}"
[sources.quicktalk]
plugin = "local"
[sources.any]
plugin = "http"
url = "{omnirt}/healthz"
[sources.off]
plugin = "takeoff"
url = ""
[models]
flashtalk = ["omnirt", "gone"]
"a/b" = "any"
flashhead = "flashhead"
quicktalk = "quicktalk"
[ready]
require = ["models/flashtalk"]
"""
SETTINGS = """
max-stream-events = 1
request-timeout = 10
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]  # which is documented where it can come
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 404, 503]
[warnings]
fail-on = true
"""
NODES = {
    2: [("sources", "inference"), ("models", "flashtalk"), ("plugins", "takeoff"), ("daemon", "config")],
    3: [("sources", "inference", "readers")],
    4: [("sources", "inference", "readers", "b"), ("sources", "inference", "readers", "c")],
}
"""Nodes that there are, by depth: nearly everything that is made up is 404. Schemathesis sends no slash in a segment."""
NAMES = ("wing", "name", "kind", "part")


def settings():
    """Return the configuration of Schemathesis, with what paths are to be made of nearly always."""
    lines = [SETTINGS]
    for depth, nodes in NODES.items():
        template = "".join(f"/{{{name}}}" for name in NAMES[:depth])
        bindings = []
        for place, name in enumerate(NAMES[:depth]):
            lines.append(f'[dictionaries."{depth}-{name}"]\nvalues = {[node[place] for node in nodes]}')
            bindings.append(f'"path.{name}" = {{ dictionary = "{depth}-{name}", probability = 0.95 }}')
        paths = [f"/{root}{template}" for root in ("state", "explain", "readyz")]
        lines.append(f"[[operations]]\ninclude-path = {paths}\nparameters = {{ {', '.join(bindings)} }}")
    return "\n".join(lines)


TOKEN = "s3cret-t0ken"
GUARDED = """
[http]
token = {{ env = "TOKEN" }}
hosts = ["status.example"]
cors_origins = ["https://board.example"]
"""
"""What goes before the sources where a token is wanted."""


@pytest.mark.timeout(3600 if "STATUSD_SCHEMATHESIS_EXAMPLES" in os.environ else 900)
@pytest.mark.parametrize("head", ["", GUARDED], ids=["open", "guarded"])
async def test_schemathesis_finds_no_answer_that_is_not_as_documented(tmp_path, head):
    (tmp_path / "schemathesis.toml").write_text(settings())
    fields = ["--header", f"Authorization: Bearer {TOKEN}", "--header", "Origin: https://board.example"]
    async with Takeoff() as takeoff, OmniRT() as omnirt, FlashHead() as flashhead:
        takeoff.put("TitanML/a", "live")
        takeoff.put("b", "dead")
        takeoff.put("c", "live")
        omnirt.connected = ["flashtalk"]
        text = (head + DAEMON).format(takeoff=takeoff.url, omnirt=omnirt.url, flashhead=flashhead.url)
        async with running(text, {"TOKEN": TOKEN}) as client:
            own = attrs.evolve(client, base=client.base.replace("//", f"//any:{TOKEN}@"))
            await own.until_reason("sources/inference/readers/TitanML%2Fa", "ok")
            await own.aclose()
            found = await trio.run_process(
                [SCHEMATHESIS, "--config-file", "schemathesis.toml", "run", f"{client.base}/openapi.json",
                 "--checks", "all", "--max-examples", EXAMPLES, "--seed", SEED, "--continue-on-failure",
                 "--no-color", *(fields if head else [])],
                cwd=tmp_path, env={**os.environ, "NO_PROXY": "127.0.0.1"}, check=False, stdin=subprocess.DEVNULL, capture_stdout=True,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
    assert found.returncode == 0, found.stdout.decode()
