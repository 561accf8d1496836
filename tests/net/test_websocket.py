"""WebSocket handshakes: opened, rejected, hostile."""

import base64
import hashlib
import ssl

import pytest
import trio
import trustme
import wsproto
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, RejectData, Request

from statusd.errors import ProbeError
from statusd.net.limits import CLOSE_WAIT, MAX_CLOSING_BYTES, MAX_HEAD_BYTES, MAX_INFORMATIONAL, PIECE
from statusd.net.names import Resolver
from statusd.net.trace import Trace
from statusd.net.websocket import WebSocketClient, _opening, _Session
from statusd.values import Url

CLOSE_FRAME = b"\x88\x02\x03\xe8"


def accept_of(request: bytes) -> bytes:
    """The Sec-WebSocket-Accept for `request` (RFC 6455, section 4.2.2), reckoned here to check wsproto as well."""
    (key,) = [
        line[19:].strip() for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")
    ]
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def opened(request: bytes, extra: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%b"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % (extra, accept_of(request))
    )


def url_of(server, scheme="ws", path="/"):
    return Url.parse(f"{scheme}://127.0.0.1:{server.port}{path}")


@pytest.fixture
def websocket(resolver, trace):
    return WebSocketClient(resolver, trace)


async def refusal(websocket, url, **options):
    with trio.fail_after(10), pytest.raises(ProbeError) as caught:
        await websocket.handshake(url, **options)
    return caught.value


def answering_with(build, *, then=b""):
    """A script that answers the request with ``build(request)``, then `then`, and reads until the client is gone."""

    async def script(server, stream):
        request = await server.read_request(stream)
        await stream.send_all(build(request) + then)
        while await stream.receive_some():
            pass

    return script


def real(*events):
    """A script played by wsproto's server side."""

    async def script(server, stream):
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        while data := await stream.receive_some():
            protocol.receive_data(data)
            for event in protocol.events():
                server.seen.append(event)
                if isinstance(event, Request):
                    for reply in events:
                        await stream.send_all(protocol.send(reply))
                elif isinstance(event, CloseConnection):
                    await stream.send_all(protocol.send(event.response()))

    return script


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_it_opens_and_closes_with_1000(serve, websocket, trace, scheme):
    server = await serve(real(AcceptConnection()))
    assert (
        await websocket.handshake(url_of(server, scheme, "/ws?a=b"), headers={"Origin": "https://x"}) == 101
    )
    await server.until_ended()
    request, close = server.seen
    assert (request.target, close.code) == ("/ws?a=b", 1000)
    assert (b"origin", b"https://x") in request.extra_headers
    phases = [step.text for step in trace.steps if step.kind == "phase"]
    assert phases[-2:] == [
        f"waiting for 127.0.0.1:{server.port} to answer the WebSocket handshake",
        f"closing the WebSocket to 127.0.0.1:{server.port}",
    ]


async def test_tls(serve, websocket, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = await serve(real(AcceptConnection()), context=context)
    assert await websocket.handshake(url_of(server, "wss"), ca_file=str(tmp_path / "ca.pem")) == 101
    assert (await refusal(websocket, url_of(server, "wss"))).reason == "tls_failed"


async def test_credentials_are_sent_and_masked(serve, websocket, trace):
    server = await serve(answering_with(opened, then=CLOSE_FRAME))
    url = Url.parse(f"ws://me:hush@127.0.0.1:{server.port}/")
    assert await websocket.handshake(url) == 101
    assert b"\r\nAuthorization: Basic bWU6aHVzaA==\r\n" in server.requests[0]
    (sent, _close) = [step.text for step in trace.steps if step.kind == "sent"]
    assert "Authorization: ***\r\n" in sent
    assert "Sec-WebSocket-Key: ***" not in sent


@pytest.mark.parametrize("code", [200, 302, 401, 404, 426, 503])
async def test_a_rejection_is_its_status_code(serve, websocket, code):
    reject = RejectConnection(status_code=code, headers=[(b"content-length", b"5")], has_body=True)
    server = await serve(real(reject, RejectData(data=b"sorry")))
    assert await websocket.handshake(url_of(server)) == code
    await server.until_ended()


async def test_a_rejection_counts_however_garbled_its_body(serve, websocket):
    answer = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    server = await serve(answering_with(lambda _request: answer))
    assert await websocket.handshake(url_of(server)) == 403


async def test_interim_answers_are_skipped_up_to_a_number(serve, websocket):
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    server = await serve(
        answering_with(lambda request: interim * MAX_INFORMATIONAL + opened(request), then=CLOSE_FRAME)
    )
    assert await websocket.handshake(url_of(server)) == 101
    server = await serve(answering_with(lambda request: interim * (MAX_INFORMATIONAL + 1) + opened(request)))
    assert (await refusal(websocket, url_of(server))).reason == "too_large"


@pytest.mark.parametrize(
    "build",
    [
        lambda request: opened(request).replace(b"Accept: ", b"Accept: x"),
        lambda request: opened(request).replace(b"Sec-WebSocket-Accept", b"X"),
        lambda request: opened(request).replace(b"Upgrade: websocket\r\n", b""),
        lambda request: opened(request).replace(b"Connection: Upgrade\r\n", b""),
        lambda request: opened(request, b"Sec-WebSocket-Protocol: unasked\r\n"),
        lambda request: opened(request, b"Sec-WebSocket-Protocol: \xff\r\n"),
        lambda request: opened(request, b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        lambda request: opened(request, b"Sec-WebSocket-Extensions: \xe9\r\n"),
        lambda _request: b"SSH-2.0-OpenSSH_9.2\r\n",
        lambda _request: b"HTTP/1.1 abc\r\n\r\n",
        lambda _request: b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 abc\r\n\r\n",
        lambda request: opened(request) + b"\xff\xff\xff\xff",
        lambda request: opened(request) + b"\x88\x01\x00",
        lambda request: opened(request) + b"\x81\x82masktext",
    ],
)
async def test_what_is_no_websocket_is_a_protocol_error(serve, websocket, build):
    server = await serve(answering_with(build))
    assert (await refusal(websocket, url_of(server))).reason == "protocol_error"
    await server.until_ended()


async def test_noise_after_our_close_is_a_protocol_error(serve, websocket):
    async def script(server, stream):
        await stream.send_all(opened(await server.read_request(stream)))
        await stream.receive_some()
        await stream.send_all(b"\xff\xff\xff\xff")

    server = await serve(script)
    assert (await refusal(websocket, url_of(server))).reason == "protocol_error"


async def test_a_close_glued_to_the_opening_is_answered(serve, websocket):
    async def script(server, stream):
        await stream.send_all(opened(await server.read_request(stream)) + b"\x88\x02\x03\xf0")
        server.seen.append(await stream.receive_some())

    server = await serve(script)
    assert await websocket.handshake(url_of(server)) == 101
    await server.until_ended()
    assert server.seen[0][:2] == b"\x88\x82"  # a masked close with a code


async def test_frames_before_the_close_are_passed_over(serve, websocket):
    server = await serve(
        answering_with(opened, then=b"\x81\x05hello" + b"\x89\x00" + b"\x02\x01x" + CLOSE_FRAME)
    )
    assert await websocket.handshake(url_of(server)) == 101


async def test_a_flood_of_frames_is_understood_in_pieces(serve, websocket, monkeypatch):
    pieces = []
    feed = _Session._feed

    def counting(session, data):
        pieces.append(len(data))
        return feed(session, data)

    monkeypatch.setattr(_Session, "_feed", counting)
    server = await serve(answering_with(opened, then=b"\x89\x00" * 8000 + CLOSE_FRAME))
    assert await websocket.handshake(url_of(server)) == 101
    assert max(pieces) <= PIECE
    assert sum(pieces) > 16_000


async def test_a_cut_at_any_byte_changes_nothing(serve, websocket):
    async def script(server, stream):
        request = await server.read_request(stream)
        answer = opened(request) + b"\x81\x05hello" + CLOSE_FRAME
        cut = server.accepted
        await stream.send_all(answer[:cut])
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(answer[cut:])
        await stream.receive_some()

    server = await serve(script)
    for _ in range(1, 140):
        assert await websocket.handshake(url_of(server)) == 101


async def test_hanging_up_after_opening_is_opened(serve, websocket):
    async def script(server, stream):
        await stream.send_all(opened(await server.read_request(stream)))

    server = await serve(script)
    assert await websocket.handshake(url_of(server)) == 101


async def test_a_reset_after_opening_is_opened(serve, websocket):
    async def script(server, stream):
        await stream.send_all(opened(await server.read_request(stream)))
        await stream.receive_some()
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    server = await serve(script)
    assert await websocket.handshake(url_of(server)) == 101


@pytest.mark.parametrize("deadline", [100, 0.5])
async def test_a_peer_that_ignores_the_close_is_opened_within_the_deadline(
    serve, websocket, patient_clock, deadline
):
    server = await serve(answering_with(opened))
    start = trio.current_time()
    with trio.fail_after(deadline):
        assert await websocket.handshake(url_of(server)) == 101
    assert trio.current_time() - start == pytest.approx(min(CLOSE_WAIT, deadline / 2), abs=0.05)
    await server.until_ended()


async def test_a_peer_that_talks_on_is_opened_and_hung_up_on(serve, websocket, trace):
    async def script(server, stream):
        await stream.send_all(opened(await server.read_request(stream)))
        while True:
            await stream.send_all(b"\x82\x7e\x10\x00" + b"x" * 4096)

    trace.keep = 1
    server = await serve(script)
    assert await websocket.handshake(url_of(server)) == 101
    await server.until_ended()
    received = sum(
        int(step.text.rpartition("(")[2].removesuffix(" bytes)"))
        for step in trace.steps
        if step.kind == "received"
    )
    assert received < 2 * MAX_CLOSING_BYTES + MAX_HEAD_BYTES


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n", b"X-Header: value\r\n" * 50),
        (b"HTTP/1.1 101 Switching Protocols\r\nX: ", b"x" * 4096),
        (b"HTTP/1.1 ", b"1" * 4096),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 3),
    ],
)
async def test_an_endless_head_ends_at_a_cap(serve, websocket, start, rest):
    async def script(server, stream):
        await server.read_request(stream)
        await stream.send_all(start)
        while True:
            await stream.send_all(rest)

    server = await serve(script)
    assert (await refusal(websocket, url_of(server))).reason in {"too_large", "protocol_error"}
    await server.until_ended()


@pytest.mark.parametrize(("spare", "is_taken"), [(0, True), (-1, False)])
async def test_the_head_cap_is_exact(serve, websocket, spare, is_taken):
    def build(request):
        filler = MAX_HEAD_BYTES - spare - len(opened(request, b"X: \r\n"))
        return opened(request, b"X: " + b"x" * filler + b"\r\n")

    server = await serve(answering_with(build, then=CLOSE_FRAME))
    if is_taken:
        assert await websocket.handshake(url_of(server)) == 101
    else:
        assert (await refusal(websocket, url_of(server))).reason == "too_large"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Swi", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_hanging_up_before_the_answer_is_lost(serve, websocket, said):
    async def script(server, stream):
        await server.read_request(stream)
        await stream.send_all(said)

    server = await serve(script)
    assert (await refusal(websocket, url_of(server))).reason == "connection_lost"


async def test_a_hung_server_is_a_timeout_and_its_connection_closed(serve, websocket, trace, patient_clock):
    server = await serve(answering_with(lambda _request: b"HTTP/1.1 101 Swi"))
    with trio.move_on_after(1) as scope:
        await websocket.handshake(url_of(server))
    assert scope.cancelled_caught
    assert trace.phase.startswith("waiting for 127.0.0.1")
    await server.until_ended()


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "sec-websocket-version", "Upgrade", "Connection"])
async def test_the_handshakes_own_fields_are_not_for_plugins(websocket, name):
    error = await refusal(websocket, Url.parse("ws://127.0.0.1:1/"), headers={name: "x"})
    assert name in error.message


@pytest.mark.parametrize("text", ["ftp://127.0.0.1/", "ws://" + "x" * 64 + "/"])
async def test_urls_that_cannot_be_asked(websocket, text):
    assert (await refusal(websocket, Url.parse(text))).reason == "protocol_error"


class Bytes:
    """A connection that gives these pieces."""

    where = "there"

    def __init__(self, pieces):
        self.pieces = list(pieces)

    async def receive(self):
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    async def send(self, data):
        await trio.lowlevel.checkpoint()


@given(
    position=st.integers(0, 160),
    noise=st.binary(max_size=20),
    tail=st.binary(max_size=40),
    cut=st.integers(0, 200),
)
def test_any_bytes_give_a_probe_error_or_a_status(position, noise, tail, cut):
    async def probe():
        protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        request = protocol.send(_opening(Url.parse("ws://there/"), None))
        answer = opened(request) + tail
        answer = answer[:position] + noise + answer[position + len(noise) :]
        session = _Session(Bytes(piece for piece in (answer[:cut], answer[cut:]) if piece), Trace(), protocol)
        reason = ""
        try:
            status = await session.await_answer()
            if status == 101:
                await session.close()
        except ProbeError as error:
            reason = error.reason
        assert reason in {"protocol_error", "connection_lost", "too_large"} or 101 <= status <= 999

    trio.run(probe)


async def test_a_client_needs_nothing_but_a_resolver_and_a_trace():
    assert (
        await refusal(WebSocketClient(Resolver(), Trace()), Url.parse("ws://127.0.0.1:1/"))
    ).reason == "refused"
