"""Acceptance: the drop-ins that docs/operations.md shows for TLS, a token and a Unix socket, under the real systemd."""

import re
from pathlib import Path

import pytest
import trustme

pytestmark = pytest.mark.systemd

PROJECT = Path(__file__).parents[2]
TOKEN = "f00dfacef00dfacef00dface"


@pytest.fixture(scope="module")
def pem():
    """A certificate and its key, as text."""
    issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
    return issued.cert_chain_pems[0].bytes().decode(), issued.private_key_pem.bytes().decode()


@pytest.fixture
def start(installed):
    """Starts the service with a configuration and a drop-in; all of it is gone afterwards."""

    def start(config, dropin):
        installed.configure(config)
        installed.drop_in(f"[Service]\n{dropin}\n")
        return installed.start()

    yield start
    installed.machine.run("rm", "-rf", "/etc/statusd/tls", "/etc/letsencrypt")


def shown(pattern):
    """Return what the guide for operators shows, and is pasted from there."""
    [found] = re.findall(pattern, (PROJECT / "docs/operations.md").read_text(), re.MULTILINE)
    return found


def test_certificate_and_token_come_as_credentials_that_root_alone_may_read(start, installed, pem):
    for name, text in zip(("fullchain", "privkey"), pem, strict=True):
        installed.secret(f"/etc/letsencrypt/live/status.example.org/{name}.pem", text)
    installed.secret("/etc/statusd/secrets/token", TOKEN + "\n")
    dropin = "\n".join(shown(rf"^LoadCredential={name}:.*$") for name in ("tls-cert", "tls-key"))
    service = start(
        '[http]\nbind = ["tls:127.0.0.1:8443"]\ntoken = { credential = "statusd-token" }\n[http.tls]\n'
        'certificate = { credential = "tls-cert" }\nkey = { credential = "tls-key" }\n',
        f"{dropin}\nLoadCredential=statusd-token:/etc/statusd/secrets/token\n",
    )
    assert service.status_code("https://127.0.0.1:8443/health") == "200"
    assert service.status_code("https://127.0.0.1:8443/state") == "401"
    assert (
        service.status_code("-H", f"Authorization: Bearer {TOKEN}", "https://127.0.0.1:8443/state") == "200"
    )


def test_a_group_may_read_a_certificate_which_is_then_renewed_without_a_restart(start, installed, pem):
    group = shown(r"^SupplementaryGroups=(.*)$")
    installed.machine.run("groupadd", "--system", group)
    for name, text in zip(("cert", "key"), pem, strict=True):
        installed.secret(f"/etc/statusd/tls/{name}.pem", text, group, "640")
    service = start(
        '[http]\nbind = ["tls:127.0.0.1:8443"]\n[http.tls]\n'
        'certificate = "/etc/statusd/tls/cert.pem"\nkey = "/etc/statusd/tls/key.pem"\n',
        f"SupplementaryGroups={group}\n",
    )
    assert service.status_code("https://127.0.0.1:8443/state") == "200"
    service.run("touch", "/etc/statusd/tls/cert.pem")
    service.wait(lambda: "The certificate was loaded anew" in service.journal(), 25)


def test_a_unix_socket_is_open_to_the_group_of_the_server_in_front_and_to_nobody_else(start):
    group = shown(r"^Group=(.*)$")
    service = start(
        '[http]\nbind = ["unix:/run/statusd/http.sock"]\nsocket_mode = 0o660\n', f"Group={group}\n"
    )
    asked = (
        "curl",
        "-s",
        "--max-time",
        "5",
        "--unix-socket",
        "/run/statusd/http.sock",
        "http://localhost/health",
    )
    front = ("setpriv", "--reuid=nobody", f"--regid={group}", "--clear-groups")
    other = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    assert service.run(*front, *asked) == '{"status":"ok"}'
    service.run(*other, *asked, expect=7)
