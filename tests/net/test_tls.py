"""TLS: whom it trusts, whom it does not, and what it says about it."""

import contextlib
import datetime as dt
import socket
import ssl

import pytest
import trio
import trustme

from statusd.errors import ProbeError
from statusd.net import tls
from statusd.net.limits import MAX_TLS_SILENCE
from statusd.net.streams import Connection, Endpoint, open_connection
from statusd.net.tls import TlsTarget, client_context, tls_error, tls_target
from statusd.values import Url

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def context_of(certificate, **versions):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, version in versions.items():
        setattr(context, name, version)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def loopback(authority):
    return context_of(authority.issue_cert("127.0.0.1", "::1", "localhost"))


def url_of(server, host="127.0.0.1"):
    return Url.parse(f"https://{host}:{server.port}/")


async def refusal(client, url, ca_file=""):
    with trio.fail_after(10), pytest.raises(ProbeError) as caught:
        await client.get(url, ca_file=ca_file)
    assert caught.value.reason == "tls_failed"
    assert "_ssl.c" not in caught.value.message
    return caught.value.message


async def test_a_private_authority_is_trusted_and_the_connection_kept(
    answering, client, trace, ca_file, loopback
):
    server = await answering(OK, context=loopback)
    for _ in range(3):
        assert (await client.get(url_of(server), ca_file=ca_file)).body == b"ok"
    assert server.accepted == 1
    assert f"TLS handshake with 127.0.0.1:{server.port}" in [step.text for step in trace.steps]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_names_versions_and_a_body_over_many_records(serve, client, ca_file, authority, version):
    seen = []
    context = context_of(authority.issue_cert("localhost"), minimum_version=version, maximum_version=version)
    context.sni_callback = lambda _object, name, _context: seen.append(name)
    context.set_alpn_protocols(["h2", "http/1.1"])
    body = b"x" * 300_000

    async def script(server, stream):
        while await server.read_request(stream):
            seen.append(stream.selected_alpn_protocol())
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + body)

    server = await serve(script, context=context)
    for _ in range(2):
        assert (await client.get(url_of(server, "localhost"), ca_file=ca_file)).body == body
    assert server.accepted == 1
    assert seen == ["localhost", "http/1.1", "http/1.1"]


async def test_an_ipv6_address_is_verified(answering, client, ca_file, loopback):
    server = await answering(OK, context=loopback, host="::1")
    assert (await client.get(url_of(server, "[::1]"), ca_file=ca_file)).body == b"ok"


async def test_tls_over_a_unix_socket_wants_the_urls_name(answering, client, ca_file, loopback, tmp_path):
    server = await answering(OK, context=loopback, path=str(tmp_path / "s"))
    answer = await client.get(Url.parse("https://localhost/"), ca_file=ca_file, unix_socket=server.path)
    assert answer.body == b"ok"
    with pytest.raises(ProbeError, match="another name"):
        await client.get(Url.parse("https://other/"), ca_file=ca_file, unix_socket=server.path)


async def test_the_system_does_not_trust_a_private_authority(answering, client, loopback):
    server = await answering(OK, context=loopback)
    assert "ca_file" in await refusal(client, url_of(server))
    await server.until_ended()


async def test_an_authority_trusts_only_its_own(answering, client, ca_file):
    other = context_of(trustme.CA().issue_cert("127.0.0.1"))
    server = await answering(OK, context=other)
    assert "no trusted authority" in await refusal(client, url_of(server), ca_file)


@pytest.mark.parametrize("names", [["other.example"], ["127.0.0.2"]])
async def test_a_certificate_for_another_name_is_refused(answering, client, ca_file, authority, names):
    server = await answering(OK, context=context_of(authority.issue_cert(*names)))
    assert "another name" in await refusal(client, url_of(server), ca_file)


async def test_an_expired_certificate_is_refused(answering, client, ca_file, authority):
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    server = await answering(OK, context=context_of(authority.issue_cert("127.0.0.1", not_after=yesterday)))
    assert "expired" in await refusal(client, url_of(server), ca_file)


async def test_a_plain_answer_to_a_handshake_is_told(serve, client, ca_file):
    async def grumble(server, stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    server = await serve(grumble)
    assert "does not speak TLS" in await refusal(client, url_of(server), ca_file)


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_hanging_up_in_the_handshake_is_told(serve, client, ca_file, ending):
    async def hang_up(server, stream):
        await stream.receive_some()
        if ending == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    server = await serve(hang_up)
    assert "hung up" in await refusal(client, url_of(server), ca_file)


async def test_plain_http_to_a_tls_port_names_the_scheme(serve, client):
    async def alert(server, stream):
        await stream.receive_some()
        await stream.send_all(b"\x15\x03\x01\x00\x02\x02\x46")

    server = await serve(alert)
    with pytest.raises(ProbeError, match="speaks TLS") as caught:
        await client.get(Url.parse(f"http://127.0.0.1:{server.port}/"))
    assert caught.value.reason == "protocol_error"


async def test_an_old_version_is_refused(serve, client, ca_file):
    async def alert(server, stream):
        await stream.receive_some()
        await stream.send_all(
            b"\x15\x03\x01\x00\x02\x02\x46"
        )  # fatal, protocol_version (RFC 8446, section 6)

    server = await serve(alert)
    assert "1.2" in await refusal(client, url_of(server), ca_file)


async def test_a_server_that_wants_a_client_certificate(client, ca_file, authority):
    context = context_of(authority.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)

    def serve_once(listener):
        # in a thread, since the ssl module sends the alert and trio's stream does not
        sock, _ = listener.accept()
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        with contextlib.suppress(ssl.SSLError):
            wrapped.do_handshake()
        with socket.socket(fileno=wrapped.detach()) as plain:
            # closing with the request unread would reset the connection and lose the alert
            while plain.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = Url.parse(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, serve_once, listener)
            assert "client certificate" in await refusal(client, url, ca_file)


async def test_a_handshake_that_hangs_ends_at_the_deadline(serve, client, ca_file, trace, patient_clock):
    async def silence(server, stream):
        await server.read_request(stream)

    server = await serve(silence)
    # loading the file is a thread's work, which the mock clock does not wait for
    await client_context(ca_file)
    with trio.move_on_after(1000) as scope:
        await client.get(url_of(server), ca_file=ca_file)
    assert scope.cancelled_caught
    assert trace.phase == f"TLS handshake with 127.0.0.1:{server.port}"
    await server.until_ended()


async def test_a_body_until_the_end_needs_a_proper_end(serve, client, ca_file, loopback):
    async def script(server, stream):
        await server.read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        if server.accepted == 1:
            await stream.unwrap()  # sends close_notify

    server = await serve(script, context=loopback)
    assert (await client.get(url_of(server), ca_file=ca_file)).body == b"all of it"
    with pytest.raises(ProbeError) as caught:
        await client.get(url_of(server), ca_file=ca_file)
    assert caught.value.reason == "connection_lost"


async def test_a_record_that_arrived_unread_ends_the_connection(serve, resolver, trace, ca_file, loopback):
    sent = trio.Event()

    async def script(server, stream):
        await stream.send_all(OK)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        sent.set()
        await server.read_request(stream)

    server = await serve(script, context=loopback)
    target = await tls_target("127.0.0.1", ca_file)
    connection = await open_connection(
        Endpoint(host="127.0.0.1", port=server.port), resolver, trace, tls=target
    )
    await sent.wait()
    assert await connection.receive() == OK
    assert not connection._sock.is_readable()
    assert not connection.is_quiet
    assert b"evil" in await connection.receive()
    assert connection.is_quiet
    connection.close()


async def test_noise_for_a_handshake_is_told(serve, client, ca_file):
    # change_cipher_spec records are those that a client may skip (RFC 8446, section 5), but not for ever
    async def flood(server, stream):
        await stream.receive_some()
        while True:
            await stream.send_all(b"\x14\x03\x03\x00\x01\x01" * 1000)

    server = await serve(flood)
    await refusal(client, url_of(server), ca_file)
    await server.until_ended()


class Insatiable:
    """A TLS object that takes any number of records and never has enough."""

    def wrap_bio(self, incoming, outgoing, *, server_hostname):
        self.incoming = incoming
        return self

    def do_handshake(self):
        self.incoming.read()
        raise ssl.SSLWantReadError


async def test_endless_tls_without_content_ends_at_a_cap(serve, resolver, trace):
    async def flood(server, stream):
        while True:
            await stream.send_all(b"x" * 65536)

    server = await serve(flood)
    target = TlsTarget(context=Insatiable(), server_name="x")
    with trio.fail_after(10), pytest.raises(ProbeError) as caught:
        await open_connection(Endpoint(host="127.0.0.1", port=server.port), resolver, trace, tls=target)
    assert caught.value.reason == "too_large"
    assert str(MAX_TLS_SILENCE) in caught.value.message
    await server.until_ended()


async def test_an_unusable_ca_file_is_named_before_anything_is_sent(client, tmp_path):
    url = Url.parse("https://127.0.0.1:1/")
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path, words in [
        (str(tmp_path / "none.pem"), "cannot be read"),
        (str(tmp_path), "cannot be read"),
        ("a\0b", "cannot be read"),
        (str(empty), "holds no certificate"),
    ]:
        message = await refusal(client, url, path)
        assert words in message
        assert path in message


async def test_contexts_are_shared_and_follow_the_file(ca_file, tmp_path):
    first = await client_context(ca_file)
    assert await client_context(ca_file) is first
    trustme.CA().cert_pem.write_to_path(ca_file, append=True)
    assert await client_context(ca_file) is not first
    assert first.minimum_version == ssl.TLSVersion.TLSv1_2
    assert first.check_hostname
    assert first.verify_mode == ssl.CERT_REQUIRED


async def test_the_systems_authorities_are_loaded_once(monkeypatch):
    monkeypatch.setattr(tls, "_contexts", {})
    loaded = []
    monkeypatch.setattr(tls, "_new_context", lambda ca_file: loaded.append(ca_file) or object())
    contexts = []

    async def load():
        contexts.append(await client_context())

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(load)
    assert loaded == [""]
    assert len(set(map(id, contexts))) == 1


async def test_a_host_that_no_certificate_can_be_for(serve, client, ca_file, tmp_path, loopback):
    async def silence(server, stream):
        await server.read_request(stream)

    server = await serve(silence, path=str(tmp_path / "s"))
    with pytest.raises(ProbeError, match="correct the URL") as caught:
        await client.get(Url(scheme="https", host="x" * 64), ca_file=ca_file, unix_socket=server.path)
    assert caught.value.reason == "tls_failed"


def test_other_tls_failures_have_a_sentence():
    assert tls_error(ssl.SSLError(1, "raw text"), "there:443").message.startswith(
        "The TLS handshake with there:443"
    )
    other = ssl.SSLCertVerificationError(1, "raw text")
    other.verify_code, other.verify_message = 26, "unsuitable certificate purpose"
    assert "unsuitable certificate purpose" in tls_error(other, "there:443").message


async def test_an_end_without_close_notify_is_seen_on_every_python():
    # Python 3.11.2 ignores it unless told not to, and has no class of its own for it.
    assert not (await client_context()).options & ssl.OP_IGNORE_UNEXPECTED_EOF
    unnamed = ssl.SSLError(1, "raw text")
    unnamed.reason = "UNEXPECTED_EOF_WHILE_READING"
    assert "hung up" in tls_error(unnamed, "there:443").message


class Broken:
    """A TLS object or session that fails at everything."""

    def __init__(self, error):
        self.error = error

    def wrap_bio(self, incoming, outgoing, *, server_hostname):
        return self

    def do_handshake(self):
        raise self.error

    async def send(self, data):
        raise self.error


async def test_failures_of_the_socket_below_are_told_apart():
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        connection = Connection("there", ours)
        with pytest.raises(ProbeError) as caught:
            await connection.start_tls(TlsTarget(context=Broken(TimeoutError(110, "")), server_name="x"))
        assert caught.value.reason == "timeout"
        connection = Connection("there", ours, tls=Broken(ssl.SSLError(1, "raw text")))
        with pytest.raises(ProbeError) as caught:
            await connection.send(b"x")
        assert caught.value.reason == "tls_failed"
