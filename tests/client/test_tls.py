"""TLS: certificates that are good, of nobody known, of another name, of another time; by TCP and by Unix sockets."""

import datetime as dt
import json
import ssl

import pytest
import trustme

from statusd.cli import main
from statusd.client import ClientError, TreeSnapshot
from tests.client.conftest import response, says, stream
from tests.client.samples import node

STATE = response(json.dumps({"revision": 7, "path": "", "node": node()}).encode())
SNAPSHOT = f"event: snapshot\ndata: {json.dumps({'revision': 1, 'path': '', 'node': node()})}\n\n"
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture
def context(authority):
    """Return contexts for a server whose certificate is for these names and times."""

    def make(*names, **times):
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names, **times).configure_cert(made)
        return made

    return make


def failed(call, *arguments, **options):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **options)
    assert caught.value.reason == "tls_failed"
    assert caught.value.message.isprintable()
    return caught.value.message


def test_a_certificate_of_the_named_authority_is_good(client, serve, context, ca_file):
    server = serve(says(STATE), context=context("127.0.0.1"))
    assert client.call("state", url=server.url, ca_file=ca_file).revision == 7
    bound = server.url.replace("https://", "tls:")
    assert client.call("state", url=bound, ca_file=ca_file).revision == 7


def test_streams_are_followed_over_tls(client, serve, context, ca_file):
    server = serve(says(stream(SNAPSHOT), then_waits=True), context=context("127.0.0.1"))
    [update] = client.updates(1, url=server.url, ca_file=ca_file)
    assert isinstance(update, TreeSnapshot)


def test_the_environment_names_an_authority_for_its_own_daemon(client, serve, context, ca_file, monkeypatch):
    server = serve(says(STATE), context=context("127.0.0.1"))
    monkeypatch.setenv("STATUSD_URL", server.url)
    monkeypatch.setenv("STATUSD_CA_FILE", ca_file)
    assert client.call("state").revision == 7
    assert "--ca-file" in failed(client.call, "state", url=server.url)
    assert "--ca-file" in failed(client.call, "state", ca_file="")


def test_a_certificate_of_no_trusted_authority_names_the_remedy(client, serve, context, tmp_path):
    server = serve(says(STATE), context=context("127.0.0.1"))
    message = failed(client.call, "state", url=server.url)
    assert f"The certificate of {server.url} is signed by no authority that this system trusts" in message
    assert "--ca-file, $STATUSD_CA_FILE or ca_file" in message
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert f"no authority in {other}" in failed(client.call, "state", url=server.url, ca_file=str(other))
    assert server.requests == []


def test_a_certificate_for_another_name_says_how_to_go_on(client, serve, context, ca_file):
    server = serve(says(STATE), context=context("status.example.org"))
    port = server.listener.getsockname()[1]
    message = failed(client.call, "state", url=f"tls:0.0.0.0:{port}", ca_file=ca_file)
    assert (
        f'is not for "127.0.0.1": ask by the name that it is for, as in --url https://NAME:{port}.' in message
    )
    by_name = failed(client.call, "state", url=f"https://localhost:{port}", ca_file=ca_file)
    assert 'is not for "localhost"' in by_name


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"not_after": dt.datetime.now(dt.UTC) - DAY}, "has expired: renew it"),
        ({"not_before": dt.datetime.now(dt.UTC) + DAY}, "is not valid yet"),
    ],
)
def test_a_certificate_of_another_time_is_told(client, serve, context, ca_file, times, said):
    server = serve(says(STATE), context=context("127.0.0.1", **times))
    assert said in failed(client.call, "state", url=server.url, ca_file=ca_file)


def test_a_unix_socket_may_speak_tls_and_its_certificate_may_have_any_name(client, serve, context, ca_file):
    server = serve(says(STATE), unix=True, context=context("status.example.org"))
    assert server.url.startswith("tls:unix:/")
    assert client.call("state", url=server.url, ca_file=ca_file).revision == 7
    assert "Host: localhost\r\n" in server.requests[0]
    assert "signed by no authority" in failed(client.call, "state", url=server.url)


def test_the_commands_take_the_authority_from_an_option_or_the_environment(
    serve, context, ca_file, monkeypatch, capsys
):
    server = serve(says(STATE), context=context("127.0.0.1"))
    monkeypatch.delenv("STATUSD_CA_FILE", raising=False)
    assert main(["show", "--url", server.url]) == 1
    assert "--ca-file" in capsys.readouterr().err
    assert main(["show", "--url", server.url, "--ca-file", ca_file]) == 0
    monkeypatch.setenv("STATUSD_CA_FILE", ca_file)
    assert main(["show", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines() == ["/  ok"] * 2


@pytest.mark.parametrize("content", [None, b"", b"not PEM", b"\xff" * 10])
def test_a_useless_file_of_authorities_is_told(client, tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    message = failed(client.call, "state", url="https://127.0.0.1:1", ca_file=str(file))
    assert message.startswith(f"{file} cannot be used: --ca-file, ")


def test_tls_where_there_is_none(client, serve):
    server = serve(says(b""))
    with pytest.raises(ClientError) as caught:
        client.call("state", url=server.url.replace("http:", "https:"), timeout=1)
    assert caught.value.reason in {"tls_failed", "timeout", "connection_lost"}


def test_no_tls_where_there_is_some(client, serve, context):
    server = serve(says(STATE), context=context("127.0.0.1"))
    with pytest.raises(ClientError) as caught:
        client.call("state", url=server.url.replace("https:", "http:"))
    assert caught.value.reason in {"not_statusd", "connection_lost"}
