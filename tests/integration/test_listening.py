"""Where the daemon listens: TLS, several addresses, what the tree and the log say of them."""

import contextlib
import json
import re
import socket
import stat
from functools import partial
from pathlib import Path

import pytest
import trio

from statusd.app import run_daemon
from statusd.commands.check import check
from statusd.config.load import read_text
from statusd.errors import StartError, only
from statusd.planning import plan
from tests.web.client import parse, read_all
from tests.web.edge.certificates import NAME, Files, issued, trusting

DEADLINE = 10
WARNING = "reads all that is served there, in the clear"


@contextlib.asynccontextmanager
async def running(text, environ=None):
    """Run the daemon with the configuration `text`; yields its addresses."""
    stop = trio.Event()
    planned = plan(read_text(text, "test.toml", environ or {}))
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(run_daemon, planned, stop=stop))
        try:
            yield addresses
        finally:
            stop.set()


async def ask(address, path):
    """Return the answer of a new connection to `address`."""
    is_tls = address.startswith(("https:", "tls:"))
    where = address.removeprefix("tls:")
    if where.startswith("unix:"):
        stream = await trio.open_unix_socket(where.removeprefix("unix:"))
    else:
        host, _, port = where.partition("//")[2].rpartition(":")
        stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
    if is_tls:
        stream = trio.SSLStream(stream, trusting(), server_hostname=NAME, https_compatible=True)
    async with stream:
        await stream.send_all(
            b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        [answer] = parse(await read_all(stream))
    return answer


async def node(address, path):
    return json.loads((await ask(address, f"/state/{path}")).body)["node"]


async def until(question, holds):
    answer = None
    with trio.move_on_after(DEADLINE):
        while not holds(answer := await question()):
            await trio.sleep(0.01)
        return answer
    raise AssertionError(f"not within {DEADLINE} s; the last answer: {answer}")


@pytest.fixture
def files(tmp_path):
    return Files.write(tmp_path)


def http(files, *binds, probes=(), more=""):
    return (
        f"[http]\nbind = {json.dumps(binds)}\nbind_probes = {json.dumps(probes)}\n{more}\n"
        f"[http.tls]\ncertificate = {json.dumps(files.certificate)}\nkey = {json.dumps(files.key)}\n"
    )


async def test_every_kind_of_address_is_served_and_shown(files, tmp_path, caplog):
    inherited = socket.create_server(("127.0.0.1", 0))
    path = tmp_path / "http.sock"
    binds = [
        "tls:127.0.0.1:0",
        "127.0.0.1:0",
        "tls:[::1]:0",
        f"tls:unix:{path}",
        f"tls:fd://{inherited.detach()}",
    ]
    probes = ["127.0.0.1:0", f"unix:{tmp_path}/probes.sock"]
    async with running(http(files, *binds, probes=probes, more="socket_mode = 0o660")) as addresses:
        schemes = [address.partition(":")[0] for address in addresses]
        assert schemes == ["https", "http", "https", "tls", "https"]
        for address in addresses:
            assert (await ask(address, "/state")).status == 200
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        facts = (await node(addresses[0], "daemon/listener"))["facts"]
        assert facts["addresses"] == addresses
        assert len(facts["probes"]) == 2
        for address in facts["probes"]:
            assert (await ask(address, "/health")).status == 200
            assert (await ask(address, "/state")).status == 404
    assert WARNING not in caplog.text  # all of it is on loopback
    assert not path.exists()


async def test_the_certificate_is_in_the_tree_and_renewed_while_all_goes_on(files, monkeypatch, caplog):
    monkeypatch.setattr("statusd.web.edge.certificates.LOOK", 0.01)
    caplog.set_level("INFO")
    async with running(http(files, "tls:127.0.0.1:0")) as [address]:
        shown = partial(node, address, "daemon/tls")
        assert (await shown())["facts"]["names"] == [NAME]
        new = issued(NAME, "renewed.example.org")
        files.put_certificate(new)  # the key does not follow
        found = await until(shown, lambda one: one["status"] == "degraded")
        assert found["reason"] == "certificate_unusable"
        assert "is not the key of the first certificate" in found["message"]
        assert found["facts"]["names"] == [NAME]
        files.put_key(new)
        found = await until(shown, lambda one: one["status"] == "ok")
        assert set(found["facts"]["names"]) == {NAME, "renewed.example.org"}
    assert caplog.text.count("daemon/tls: ok -> degraded (certificate_unusable)") == 1
    assert "PRIVATE" not in caplog.text


async def test_without_tls_there_is_no_node_for_it():
    async with running('[http]\nbind = ["127.0.0.1:0"]') as [address]:
        assert (await ask(address, "/state/daemon/tls")).status == 404


async def test_the_certificate_that_no_address_wants_is_not_asked_for(files):
    """--bind may have replaced the address that does."""
    text = http(Files(Path("/nowhere")), "tls:127.0.0.1:0")
    settings = read_text(text, "test.toml", {}, bind=["127.0.0.1:0"])
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(run_daemon, plan(settings), stop=stop))
        assert (await ask(address, "/health")).status == 200
        stop.set()


@pytest.mark.parametrize("key", ["bind", "bind_probes"])
async def test_a_certificate_that_is_not_there_keeps_the_daemon_from_starting(tmp_path, key):
    path = tmp_path / "http.sock"
    binds = {"bind": [f"unix:{path}"], "bind_probes": []}
    binds[key].append("tls:127.0.0.1:0")
    text = http(Files(tmp_path / "no"), *binds["bind"], probes=binds["bind_probes"])
    with pytest.raises((StartError, ExceptionGroup)) as caught:
        async with running(text):
            pass
    error = only(caught.value)
    assert str(error) == (
        f"http.tls.certificate: {tmp_path}/no/cert.pem does not exist; put it there, or correct the path"
    )
    assert not path.exists()


def test_check_tells_of_a_certificate_with_which_the_daemon_would_not_start(files, tmp_path):
    file = tmp_path / "statusd.toml"
    file.write_text(http(files, "tls:127.0.0.1:0"))
    assert check(str(file), {}).exit_code == 0
    files.put_key(issued())
    found = check(str(file), {})
    assert [fault.path for fault in found.faults] == ["http.tls.key"]
    assert (found.exit_code, found.starts) == (1, False)


def test_check_does_not_take_a_credential_of_the_unit_for_missing(files, tmp_path):
    file = tmp_path / "statusd.toml"
    text = http(files, "tls:127.0.0.1:0").replace(json.dumps(files.certificate), '{ credential = "cert" }')
    file.write_text(text)
    found = check(str(file), {})
    assert [fault.path for fault in found.faults] == ["http.tls.certificate"]
    assert found.starts
    assert "LoadCredential=cert:" in found.faults[0].message


# What is open to all


async def warnings(caplog, text, environ=None):
    caplog.clear()
    async with running(text, environ):
        pass
    return [record.getMessage() for record in caplog.records if WARNING in record.getMessage()]


async def test_an_address_beyond_loopback_without_tls_or_token_warns_once(caplog):
    [warning] = await warnings(caplog, '[http]\nbind = ["0.0.0.0:0", "127.0.0.1:0", "[::]:0"]')
    assert warning.count("http://") == 2
    for word in ("http://0.0.0.0:", "http://[::]:", "set [http] token", "[http.tls]", "bind_probes"):
        assert word in warning


async def test_an_inherited_socket_beyond_loopback_warns(caplog):
    inherited = socket.create_server(("0.0.0.0", 0))
    assert len(await warnings(caplog, f'[http]\nbind = ["fd://{inherited.detach()}"]')) == 1


async def test_tls_a_token_or_probe_endpoints_alone_are_no_reason_to_warn(caplog, files, tmp_path):
    for text in (
        http(files, "tls:0.0.0.0:0"),
        '[http]\nbind = ["0.0.0.0:0"]\ntoken = { env = "T" }',
        '[http]\nbind = ["127.0.0.1:0"]\nbind_probes = ["0.0.0.0:0"]',
        f'[http]\nbind = ["unix:{tmp_path}/http.sock"]',
    ):
        assert await warnings(caplog, text, {"T": "t0ken"}) == []


async def test_the_log_says_where_probe_endpoints_alone_are_served(caplog):
    caplog.set_level("INFO")
    async with running('[http]\nbind = ["127.0.0.1:0"]\nbind_probes = ["[::1]:0"]'):
        pass
    told = [
        record.getMessage() for record in caplog.records if "Only the probe endpoints" in record.getMessage()
    ]
    assert [re.sub(r"\d+\.$", "N", line) for line in told] == [
        "Only the probe endpoints are served on http://[::1]:N"
    ]


async def test_a_token_that_is_not_there_shows_in_the_tree_and_to_nobody_else():
    text = '[http]\nbind = ["127.0.0.1:0"]\ntoken = { env = "T" }'
    async with running(text) as [address]:
        assert (await ask(address, "/state")).status == 401
        assert (await ask(address, "/health")).status == 200
        seen = await ask(address, "/readyz/daemon/listener?verbose")
    assert b"token_unavailable" in seen.body
