"""`statusd check`, `probe` and `plugins`, as the real console script."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trustme

from statusd.testing import OmniRT
from tests.integration.strangers import write_distribution

SCRIPT = Path(sys.executable).parent / "statusd"
TEN = """
[http]
bind = ["localhost"]
port = 8000
[sources.queue]
plugin = "redis_queue"
url = "http://127.0.0.1"
intervall = 1
[sources.omnirt]
plugin = "omnirt"
api_key = "written-in-the-file"
timeout = -1
[sources.inference]
plugin = "takeoff"
url = "http://user:hunter2@127.0.0.1"
max_body = "1 MiB"
required = "yes"
[sources."No Name"]
plugin = "mock"
[models]
flashtalk = "omnrt"
[extras]
x = 1
"""


def statusd(*arguments, stdin="", environ=None):
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return subprocess.run(
        [SCRIPT, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", **coverage, **(environ or {})},
    )


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "statusd.toml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("command", [("check",), ("run", "--config")])
def test_ten_different_mistakes_are_reported_at_once_with_78_and_no_traceback(config, command):
    path = config(TEN)
    done = statusd(*command, path)
    text = done.stdout + done.stderr
    assert done.returncode == 78
    assert "Traceback" not in text
    assert "hunter2" not in text
    assert "written-in-the-file" not in text
    for place in (
        "http.bind", "http.port", "sources.queue.url", "sources.queue.intervall", "sources.omnirt.api_key",
        "sources.omnirt.timeout", "sources.inference.url", "sources.inference.max_body",
        "sources.inference.required", "No Name", "models.flashtalk", "extras",
    ):  # fmt: skip
        assert re.search(re.escape(place) + r"[^\n]*: \S", text), f"{place} is not reported in:\n{text}"
    assert 'did you mean "interval"?' in text
    assert 'did you mean "omnirt"?' in text


def test_check_says_ok_with_0_and_in_json(config):
    path = config('[sources.mock]\nplugin = "mock"\n[models]\nmock = "mock"\n')
    done = statusd("check", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: ok (1 source, 1 model)\n"
    told = json.loads(statusd("check", "--json", path).stdout)
    assert told == {
        "origin": path,
        "ok": True,
        "mistakes": [],
        "faults": [],
        "summary": "1 source, 1 model",
    }


def test_faults_of_the_surroundings_are_reported_with_1(config):
    path = config(
        """
[sources.a]
plugin = "htp"
[sources.b]
plugin = "omnirt"
endpoint = "http://no-such-host.invalid"
api_key = { file = "/no-such-folder/missing" }
[sources.c]
plugin = "http"
url = "http://no-such-host.invalid/"
"""
    )
    done = statusd("check", path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'No plugin "htp" is installed; installed: direct_ws, http' in done.stdout
    assert "sources.b" in done.stdout
    assert '"/no-such-folder/missing" does not exist' in done.stdout
    assert re.search(r"sources\.c\.url: .*no-such-host\.invalid", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr


def test_two_claims_to_one_name_are_a_fault_with_which_it_does_not_start(config, tmp_path):
    write_distribution(tmp_path, "stranger", {"mock": "elsewhere"})
    path = config("")
    for command in (("check", path), ("check",), ("run", "--config", path)):
        done = statusd(*command, environ={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 1
        said = done.stdout + done.stderr
        assert 'Two distributions provide a plugin named "mock": statusd and stranger.' in said
        if command[0] == "check":
            assert said.endswith(": does not start (1 finding)\n")
            assert said.startswith(path if path in command else "the built-in configuration: ")


def test_check_without_a_file_looks_at_what_run_would_use(config):
    assert statusd("check").returncode == 0
    assert statusd("check", environ={"STATUSD_CONFIG": config("x = ")}).returncode == 78


@pytest.mark.parametrize(
    "text", ["x = ", "\0", "[a]\n[a]\n", "[sources]\nx = 1\n", "sources = 3\n", "models = []\n"]
)
def test_what_is_no_configuration_is_78_without_a_traceback(config, text):
    done = statusd("check", config(text))
    assert done.returncode == 78
    assert "Traceback" not in done.stdout + done.stderr


def test_a_file_that_is_not_there_is_said_in_words(tmp_path):
    done = statusd("check", str(tmp_path / "nowhere.toml"))
    assert done.returncode == 78
    assert "nowhere.toml" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_usage_mistakes_are_2(config):
    assert statusd().returncode == 2
    assert statusd("fly").returncode == 2
    done = statusd("probe", "nobody", "--config", config('[sources.mock]\nplugin = "mock"\n'))
    assert done.returncode == 2
    assert done.stderr == 'statusd: no source "nobody" is configured; there are: mock\n'


def test_plugins_lists_what_is_installed_with_what_it_registers():
    done = statusd("plugins")
    assert done.returncode == 0
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[1:]}
    assert rows["takeoff"][1:] == ["statusd", rows["mock"][2], "yes", "source,", "view", "status"]
    told = {one["name"]: one for one in json.loads(statusd("plugins", "--json").stdout)}
    assert told["models"]["registers"] == ["view models"]
    assert told["local"]["enabled"] is True


async def test_probe_shows_what_was_sent_what_came_back_how_long_and_the_report(config):
    async with OmniRT(api_key="sesame-key") as omnirt:
        omnirt.connect("flashtalk")
        path = config(
            f"""
[sources.omnirt]
plugin = "omnirt"
endpoint = "{omnirt.url}"
api_key = {{ env = "KEY" }}
[models]
flashtalk = "omnirt"
wav2lip = "omnirt"
"""
        )

        def ask(*extra, key="sesame-key"):
            return statusd("probe", "omnirt", "--config", path, *extra, environ={"KEY": key})

        done = await trio.to_thread.run_sync(ask)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "> GET /v1/audio2video/models HTTP/1.1" in done.stdout
        assert "< HTTP/1.1 200" in done.stdout
        assert re.search(r"\d+\.\d ms   done", done.stdout)
        assert "the source: ok (ok)" in done.stdout
        assert "model wav2lip: down" in done.stdout
        assert "sesame-key" not in done.stdout + done.stderr
        told = json.loads((await trio.to_thread.run_sync(lambda: ask("--json"))).stdout)
        assert {step["kind"] for step in told["steps"]} == {"phase", "sent", "received"}
        assert told["took"] > 0
        wrong = await trio.to_thread.run_sync(lambda: ask(key="other-key"))
        assert wrong.returncode == 1
        assert "unauthorized" in wrong.stdout
        assert "other-key" not in wrong.stdout + wrong.stderr


def test_version_and_help_answer():
    assert statusd("--version").stdout.startswith("statusd ")
    assert "COMMAND" in statusd("--help").stdout


def test_what_a_terminal_cannot_show_is_escaped_and_json_stays_json(config):
    path = config('[sources.s]\nplugin = "local"\nfiles = ["/nowhere/öde 中"]\n')
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    shown = statusd("probe", "s", "--config", path, environ=ascii_only)
    assert (shown.returncode, shown.stderr) == (1, "")
    assert r"/nowhere/\xf6de \u4e2d does not exist" in shown.stdout
    document = json.loads(statusd("probe", "s", "--config", path, "--json", environ=ascii_only).stdout)
    assert "/nowhere/öde 中 does not exist" in document["reports"][0]["message"]


def test_facts_are_shown_as_json(config):
    path = config('[sources.s]\nplugin = "local"\nfiles = ["/nowhere"]\n')
    assert 'fact unmet: ["files/%2Fnowhere"]' in statusd("probe", "s", "--config", path).stdout


def test_a_file_of_authorities_that_cannot_be_used_is_a_fault_of_the_surroundings(config, tmp_path):
    (tmp_path / "empty.pem").touch()
    path = config(
        f"""
[sources.a]
plugin = "http"
url = "https://127.0.0.1"
ca_file = "{tmp_path}/absent.pem"
[sources.b]
plugin = "redis_queue"
url = "rediss://127.0.0.1"
ca_file = "{tmp_path}/empty.pem"
"""
    )
    done = statusd("check", path)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"sources.a.ca_file: {tmp_path}/absent.pem cannot be read" in done.stdout
    assert f"sources.b.ca_file: {tmp_path}/empty.pem holds no certificate" in done.stdout
    assert "starts, with faults around it (2 findings)" in done.stdout


@pytest.mark.parametrize(
    ("began", "ends", "told"), [(-9, -1, "It expired at "), (1, 9, "It is valid from "), (-1, 1, "")]
)
def test_a_certificate_out_of_its_time_is_a_fault_of_the_surroundings(config, tmp_path, began, ends, told):
    now = datetime.now(UTC)
    times = {"not_before": now + timedelta(days=began), "not_after": now + timedelta(days=ends)}
    issued = trustme.CA().issue_cert("localhost", **times)
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    path = config(
        f"""
[http]
bind = ["tls:127.0.0.1:8443"]
[http.tls]
certificate = "{tmp_path}/cert.pem"
key = "{tmp_path}/key.pem"
"""
    )
    done = statusd("check", path)
    assert (done.returncode, done.stderr) == (1 if told else 0, "")
    assert (f"http.tls.certificate: {told}" in done.stdout) is bool(told)
    assert ("starts, with faults around it (1 finding)" in done.stdout) is bool(told)


def test_what_a_command_prints_is_not_logged_beside_it(config):
    path = config('[sources.s]\nplugin = "none_such"\n')
    for arguments in (("check", path), ("probe", "s", "--config", path)):
        done = statusd(*arguments)
        assert (done.returncode, done.stderr) == (1, "")
        assert 'No plugin "none_such" is installed' in done.stdout
