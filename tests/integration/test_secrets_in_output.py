"""Secrets in what the real commands print, while plugins do their best to show them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.strangers import write_distribution
from tests.stages import configured

SCRIPT = Path(sys.executable).parent / "statusd"
ENVIRON = {"KEY": "s3same-by-variable", "PASSWORD": "s3same-by-url"}
SECRETS = (*ENVIRON.values(), "s3same-by-file", "s3same-by-credential")

RAISES_AT_IMPORT = """
import os
raise RuntimeError("import " + os.environ["KEY"] + os.environ["PASSWORD"] + open(os.environ["KEY_FILE"]).read())
"""
RAISES_AT_REGISTRATION = """
import os
from statusd import hookimpl

@hookimpl
def statusd_register_sources(registry):
    raise RuntimeError("registration " + os.environ["KEY"])
"""
SHOWS_IN_PROBES = """
import threading
import attrs
from statusd import Report, Secret, Source, Url, hookimpl, option, segment

@attrs.frozen(kw_only=True)
class Shows(Source):
    key: Secret | None = option(None, help="A key.")
    url: Url = option(Url(), help="An address.")
    ends: str = option("raise", help="What to do.")

    def __attrs_post_init__(self):
        if self.ends == "build" and self.context is not None:
            raise RuntimeError("constructor " + self.key.reveal())

    def probe(self):
        secret = self.key.reveal() if self.key else self.url.password.reveal()
        self.context.log.warning("logged %s", secret)
        if self.ends == "raise":
            raise RuntimeError("probe " + secret) from ValueError(secret)
        if self.ends == "thread":
            thread = threading.Thread(target=int, args=(secret,))
            thread.start()
            thread.join()
        return [
            Report.ok(message=secret, facts={secret: [secret]}, measurements={secret: 1.0}),
            Report.ok(path="parts/" + segment(secret + "/x")),
        ]

@hookimpl
def statusd_register_sources(registry):
    registry.add(Shows)
"""
MODULES = {
    "raises_at_import": RAISES_AT_IMPORT,
    "raises_at_registration": RAISES_AT_REGISTRATION,
    "shows_in_probes": SHOWS_IN_PROBES,
}
CONFIG = """
[http]
bind = ["127.0.0.1:0"]
[plugins]
enabled = ["raises_at_registration"]
[sources.imported]
plugin = "raises_at_import"
key = {{ env = "KEY" }}
url = "http://user:${{PASSWORD}}@127.0.0.1:1"
other = {{ file = "{directory}/key" }}
[sources.raises]
plugin = "shows_in_probes"
key = {{ env = "KEY" }}
[sources.builds]
plugin = "shows_in_probes"
key = {{ credential = "key" }}
ends = "build"
[sources.thread]
plugin = "shows_in_probes"
key = {{ file = "{directory}/key" }}
ends = "thread"
[sources.reports]
plugin = "shows_in_probes"
url = "http://user:${{PASSWORD}}@127.0.0.1:1"
ends = "report"
"""


@pytest.fixture
def environ(tmp_path):
    """An environment with the plugins installed and the secrets in it."""
    site = tmp_path / "site"
    write_distribution(site, "shows", {name: name for name in MODULES})
    for name, text in MODULES.items():
        (site / f"{name}.py").write_text(text)
    (tmp_path / "key").write_text("s3same-by-file\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "key").write_text("s3same-by-credential\n")
    return ENVIRON | {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(site),
        "KEY_FILE": str(tmp_path / "key"),
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
    }


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "statusd.toml"
    path.write_text(configured(CONFIG.format(directory=tmp_path)))
    return str(path)


def expect_no_secret(text):
    shown = [line for line in text.splitlines() if any(secret in line for secret in SECRETS)]
    assert not shown, f"{len(shown)} lines show a secret; the first: {shown[0]}"


@pytest.mark.parametrize("extra", [(), ("--json",)])
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("check", "{config}"), "RuntimeError: import ***"),
        (("plugins", "--config", "{config}"), "RuntimeError: registration ***"),
        (("probe", "imported", "--config", "{config}"), "RuntimeError: import ***"),
        (("probe", "raises", "--config", "{config}"), "RuntimeError: probe ***"),
        (("probe", "builds", "--config", "{config}"), "RuntimeError: constructor ***"),
        (("probe", "thread", "--config", "{config}"), "invalid literal for int() with base 10: '***'"),
        (("probe", "reports", "--config", "{config}"), "logged ***"),
    ],
)
def test_no_command_shows_a_secret_that_a_plugin_shows(environ, config, command, told, extra):
    words = [word.format(config=config) for word in command]
    done = subprocess.run(
        [SCRIPT, *words, *extra], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    expect_no_secret(done.stdout + done.stderr)
    assert told in done.stderr
    if extra:
        assert json.loads(done.stdout)


def test_the_daemon_shows_no_secret_that_a_plugin_shows(environ, config, tmp_path):
    log = tmp_path / "log"
    with (
        log.open("wb") as stream,
        subprocess.Popen([SCRIPT, "run", "--config", config], env=environ, stderr=stream) as daemon,
    ):
        deadline = time.monotonic() + 20
        while "is ready" not in log.read_text() and time.monotonic() < deadline and daemon.poll() is None:
            time.sleep(0.05)
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.wait(10) == 0
    text = log.read_text()
    expect_no_secret(text)
    for told in (
        "import ***",
        "registration ***",
        "probe ***",
        "constructor ***",
        "base 10: '***'",
        "logged ***",
    ):
        assert told in text
