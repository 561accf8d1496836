"""Secrets given in every way there is, and every output searched for them, however they are spelled."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.integration.secretive import Echo, running, spellings
from tests.integration.strangers import write_distribution
from tests.stages import configured

SCRIPT = Path(sys.executable).parent / "statusd"
AT_A_TIME = 4
SECRETS = {
    "variable": 's3same-variable "q\\ /1',
    "url": "s3same-url/p w",
    "file": "s3same-file \N{LATIN SMALL LETTER E WITH ACUTE}/'x",
    "credential": "s3same-credential+/&<",
    "token": "s3same-token-0123456789abcdef",
    "redis": "s3same-redis pw%",
    "header": "s3same-header-value",
    "next": "s3same-of-the-next-configuration",
}
PLUGIN = """
import base64, json, urllib.parse
import attrs
from statusd import Report, Secret, Source, Url, hookimpl, option, segment

@attrs.frozen(kw_only=True)
class Shows(Source):
    key: Secret | None = option(None, help="A key.")
    url: Url = option(Url(), help="An address.")
    ends: str = option("raise", help="What to do.")

    def probe(self):
        secret = self.key.reveal() if self.key else self.url.password.reveal()
        in_locals = {"secret": secret, "bytes": secret.encode()}
        encoded = base64.b64encode(secret.encode()).decode()
        texts = [secret, json.dumps(secret), repr(secret), urllib.parse.quote(secret), encoded]
        self.context.log.warning("logged %s", texts)
        self.context.log.info("logged as it is: %s", secret, extra={"secret": secret})
        if self.ends == "raise":
            try:
                raise ValueError(in_locals)
            except ValueError as error:
                error.add_note("a note: " + secret)
                raise RuntimeError("probe " + secret) from error
        if self.ends == "group":
            raise ExceptionGroup("group " + secret, [OSError(5, secret, secret), KeyError(secret)])
        return [
            Report.ok(message=" ".join(texts)[:900], facts={secret: texts}, measurements={secret: 1.0}),
            Report.down(reason="failed", message=secret, path="parts/" + segment(secret + "/x")),
        ]

@hookimpl
def statusd_register_sources(registry):
    registry.add(Shows)
"""
HEAD = """
[http]
bind = ["tls:127.0.0.1:0"]
token = {{ credential = "token" }}
access_log = 1.0
[http.tls]
certificate = "{folder}/cert.pem"
key = "{folder}/privkey.pem"
"""
SOURCES = """
[sources.variable]
plugin = "shows_everything"
key = {{ env = "KEY" }}
interval = 0.3
[sources.group]
plugin = "shows_everything"
key = {{ file = "{folder}/key" }}
ends = "group"
interval = 0.3
[sources.reports]
plugin = "shows_everything"
key = {{ credential = "key" }}
ends = "report"
interval = 0.3
[sources.userinfo]
plugin = "shows_everything"
url = "http://user:${{PASSWORD}}@127.0.0.1:1"
ends = "report"
interval = 0.3
[sources.http]
plugin = "http"
url = "http://user:${{PASSWORD}}@127.0.0.1:{port}/"
status_pointer = "/status"
facts = {{ heard = "/heard" }}
[sources.keyed]
plugin = "http"
url = "http://127.0.0.1:{port}/"
api_key = {{ env = "KEY" }}
headers = {{ X-Auth-Token = "${{HEADER}}" }}
status_pointer = "/no"
facts = {{ heard = "/heard" }}
[sources.queue]
plugin = "redis_queue"
url = "redis://127.0.0.1:{port}/0"
password = {{ env = "REDIS" }}
[sources.listed]
plugin = "omnirt"
endpoint = "http://127.0.0.1:{port}"
api_key = {{ credential = "key" }}
[models]
shown = ["reports", "http"]
"""
BROKEN = """
[sources.other]
plugin = "shows_everything"
key = {{ env = "NEXT" }}
interval = "{folder}"
"""
SHOWING = ("variable", "group", "reports", "userinfo", "http", "keyed", "queue", "listed")
PATHS = (
    "/",
    "/health",
    "/status",
    "/queue/status",
    "/models",
    "/livez",
    "/readyz",
    "/readyz?verbose",
    "/readyz/models/shown?verbose",
    "/state",
    "/state/daemon",
    "/state/plugins",
    "/events",
    "/explain",
    "/history",
    "/metrics",
    "/openapi.json",
    "/nowhere",
    *(f"/{kind}/sources/{name}" for kind in ("state", "explain", "history") for name in SHOWING),
)


@pytest.fixture(scope="module")
def upstream():
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory, upstream):
    """A folder with all files that secrets are in, and the environment."""
    folder = tmp_path_factory.mktemp("secrets")
    site = folder / "site"
    write_distribution(site, "shows", {"shows_everything": "shows_everything"})
    (site / "shows_everything.py").write_text(PLUGIN)
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "privkey.pem")
    (folder / "key").write_text(SECRETS["file"] + "\n")
    (folder / "credentials").mkdir()
    (folder / "credentials/key").write_text(SECRETS["credential"])
    (folder / "credentials/token").write_text(SECRETS["token"] + "\n")
    (folder / "good.toml").write_text(configured((HEAD + SOURCES).format(folder=folder, port=upstream.port)))
    environ = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(site),
        "CREDENTIALS_DIRECTORY": str(folder / "credentials"),
        "KEY": SECRETS["variable"],
        "PASSWORD": "s3same-url%2Fp%20w",
        "REDIS": SECRETS["redis"],
        "HEADER": SECRETS["header"],
        "NEXT": SECRETS["next"],
    }
    return folder, environ


@pytest.fixture(scope="module")
def needles(surroundings):
    """Every spelling of every secret, as bytes -> whose it is."""
    folder, environ = surroundings
    found = {text: name for name, secret in SECRETS.items() for text in spellings(secret)}
    key = (folder / "privkey.pem").read_text().splitlines()
    found |= {line.encode(): "the TLS key" for line in key if not line.startswith("-")}
    return found | {environ["PASSWORD"].encode(): "url"}


@pytest.fixture
def expect_none(needles):
    def expect_none(where, output):
        for needle, whose in needles.items():
            place = output.find(needle)
            around = output[max(place - 200, 0) : place + 100]
            assert place < 0, f"{where} shows the secret by {whose}: {around!r}"

    return expect_none


def test_the_search_finds_what_is_there(expect_none, needles):
    for needle in needles:
        with pytest.raises(AssertionError, match="shows the secret"):
            expect_none("here", b"before " + needle + b" after")


def command(environ, *words, code=None):
    done = subprocess.run([SCRIPT, *words], env=environ, capture_output=True, timeout=60, check=False)
    assert code is None or done.returncode == code, done.stderr
    return done.stdout + b"\n" + done.stderr


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_no_command_shows_a_secret(surroundings, expect_none, extra):
    folder, environ = surroundings
    config = str(folder / "good.toml")
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        checked = pool.submit(command, environ, "check", config, *extra, code=0)
        listed = pool.submit(command, environ, "plugins", "--config", config, *extra, code=0)
        probed = {
            name: pool.submit(command, environ, "probe", name, "--config", config, *extra) for name in SHOWING
        }
    expect_none("check", checked.result())
    expect_none("plugins", listed.result())
    for name, output in probed.items():
        expect_none(f"probe {name}", output.result())
        assert b"***" in output.result(), name


@pytest.mark.parametrize("log_format", ["text", "json", "journal"])
def test_nothing_that_the_daemon_lets_out_shows_a_secret(
    surroundings, upstream, expect_none, tmp_path, log_format
):
    folder, environ = surroundings
    config = tmp_path / "statusd.toml"
    good = (folder / "good.toml").read_text()
    config.write_text(good)
    heard = len(upstream.heard)
    with running(
        tmp_path / "daemon", str(config), environ, token=SECRETS["token"], log_format=log_format
    ) as daemon:
        daemon.wait_for("probe ***", "group ***", "logged as it is: ***", "sources/reports")
        ask_everything(daemon, expect_none)
        if log_format == "journal":  # what commands print is the same for each
            ask_with_commands(daemon, environ, expect_none)
        # A configuration that is turned down makes nobody forget the secrets of the one in use.
        config.write_text(good + BROKEN.format(folder=folder))
        os.kill(daemon.process.pid, signal.SIGHUP)
        daemon.wait_for("sources.other.interval")
        size = len(daemon.logged)
        deadline = time.monotonic() + 10
        while daemon.logged[size:].count(b"logged as it is: ***") < 8:
            assert time.monotonic() < deadline, daemon.logged[size:]
            time.sleep(0.05)
        # And one that is taken knows its own, while what is left of the other ends.
        config.write_text(good.replace('env = "KEY"', 'env = "NEXT"'))
        os.kill(daemon.process.pid, signal.SIGHUP)
        size = len(daemon.logged)
        while daemon.logged[size:].count(b"logged as it is: ***") < 8:
            assert time.monotonic() < deadline + 10, daemon.logged[size:]
            time.sleep(0.05)
        ask_everything(daemon, expect_none)
        files = daemon.files()
    files |= daemon.files()  # what it writes when it stops
    assert daemon.process.returncode == 0
    expect_none("the log", daemon.logged)
    expect_none("a notification", daemon.notify.text)
    assert b"READY=1" in daemon.notify.text
    assert files
    for path, content in files.items():
        expect_none(path, path.encode() + content)
    # The upstreams did get theirs, so the echo had something to show.
    sent = bytes(upstream.heard[heard:])
    assert all(SECRETS[name].encode() in sent for name in ("variable", "redis", "header", "credential"))


def ask_everything(daemon, expect_none):
    for path in PATHS:
        expect_none(path, daemon.get(path))
    for path in ("/", "/metrics", "/state", "/models", "/nowhere"):
        for accept in ("text/html", "text/plain", "application/openmetrics-text;version=1.0.0"):
            expect_none(f"{path} as {accept}", daemon.get(path, Accept=accept))
    assert b"***" in daemon.get("/state/sources/reports")
    listed = json.loads(daemon.get("/openapi.json").partition(b"\n\n")[2])["paths"]
    for path in listed:
        if "{" not in path and path != "/events":
            expect_none(path, daemon.get(path))


def ask_with_commands(daemon, environ, expect_none):
    environ = {**environ, "STATUSD_TOKEN": daemon.token}
    where = (
        "--url",
        daemon.base,
        "--ca-file",
        str(Path(environ["CREDENTIALS_DIRECTORY"]).parent / "cert.pem"),
    )
    wrong = {**environ, "STATUSD_TOKEN": SECRETS["token"] + "x"}
    words = (("show",), ("show", "sources"), ("explain",), ("explain", "sources/reports"))
    asked = [(*some, *where, *extra) for extra in ((), ("--json",)) for some in words]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        refused = pool.submit(command, wrong, "show", *where)
        told = {some: pool.submit(command, environ, *some) for some in asked}
        watched = [pool.submit(watch, environ, *where, *extra) for extra in ((), ("--json",))]
    expect_none("show", refused.result().replace(wrong["STATUSD_TOKEN"].encode(), b"shown"))
    for some, output in told.items():
        expect_none(" ".join(some), output.result())
    for output in watched:
        expect_none("watch", output.result())


def watch(environ, *words):
    with subprocess.Popen(
        [SCRIPT, "watch", *words], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        time.sleep(1.5)  # for as long as it watches: what it shows is not waited for but searched
        process.terminate()
        return process.stdout.read()
