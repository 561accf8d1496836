"""The HTTP client against servers on loopback: what it sends, what it keeps, when it asks again."""

import errno

import pytest
import trio

from statusd.errors import ProbeError
from statusd.net.http import HttpClient
from statusd.net.limits import MAX_KEPT_AGE, MAX_KEPT_CONNECTIONS
from statusd.values import Url

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def url_of(server, path="/", scheme="http", userinfo=""):
    host = f"[{server.host}]" if ":" in server.host else server.host
    return Url.parse(f"{scheme}://{userinfo}{host}:{server.port}{path}")


async def refusal(client, url, **options):
    with pytest.raises(ProbeError) as caught:
        await client.get(url, **options)
    return caught.value


async def test_it_returns_status_headers_and_body(answering, client):
    server = await answering(b"HTTP/1.1 503 Busy\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbusy")
    response = await client.get(url_of(server, "/status"))
    assert (response.url, response.status, response.body) == (url_of(server, "/status"), 503, b"busy")
    assert response.headers == {"x-a": "1, 2", "content-length": "4"}


async def test_it_sends_one_complete_request(answering, client):
    server = await answering(OK)
    await client.get(url_of(server, "/a?b=c"), headers={"X-Key": "v", "accept": "application/json"})
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a?b=c HTTP/1.1"
    assert lines[1] == f"Host: 127.0.0.1:{server.port}"
    assert lines[2].startswith("User-Agent: statusd/")
    assert sorted(lines[3:]) == ["", "", "Accept-Encoding: identity", "X-Key: v", "accept: application/json"]


async def test_userinfo_is_sent_as_basic_unless_the_caller_has_other_credentials(answering, client):
    server = await answering(OK)
    url = url_of(server, userinfo="me:s%40cret@")
    await client.get(url)
    await client.get(url, headers={"authorization": "Bearer key"})
    assert b"\r\nAuthorization: Basic bWU6c0BjcmV0\r\n" in server.requests[0]
    assert b"Basic" not in server.requests[1]
    assert b"\r\nauthorization: Bearer key\r\n" in server.requests[1]


async def test_a_redirect_is_returned_and_not_followed(answering, client):
    server = await answering(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
    response = await client.get(url_of(server))
    assert (response.status, response.headers["location"]) == (302, "/elsewhere")
    assert len(server.requests) == 1


async def test_a_connection_is_used_again(answering, client):
    server = await answering(OK)
    for _ in range(3):
        await client.get(url_of(server))
    assert (server.accepted, len(server.requests)) == (1, 3)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + OK,
        OK + b"surplus",
    ],
)
async def test_a_connection_that_may_not_be_used_again_is_closed(answering, client, answer):
    server = await answering(answer)
    assert (await client.get(url_of(server))).body == b"ok"
    assert (await client.get(url_of(server))).body == b"ok"
    assert server.accepted == 2


async def test_bytes_that_come_after_the_answer_end_the_connection(serve, client):
    late = trio.Event()

    async def script(server, stream):
        await server.read_request(stream)
        await stream.send_all(OK)
        if server.accepted == 1:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            late.set()
        await server.read_request(stream)

    server = await serve(script)
    await client.get(url_of(server))
    await late.wait()
    assert (await client.get(url_of(server))).body == b"ok"
    assert server.accepted == 2


async def test_a_body_may_end_with_the_connection(answering, client):
    server = await answering(b"HTTP/1.1 200 OK\r\n\r\nall of it", then_close=True)
    assert (await client.get(url_of(server))).body == b"all of it"
    await client.get(url_of(server))
    assert server.accepted == 2


async def test_a_kept_connection_that_the_server_closed_is_replaced(answering, client):
    server = await answering(OK, then_close=True)
    await client.get(url_of(server))
    await server.until_ended()
    assert (await client.get(url_of(server))).body == b"ok"


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_a_kept_connection_that_dies_under_the_request_is_tried_once_more(serve, client, ending):
    async def script(server, stream):
        await server.read_request(stream)
        await stream.send_all(OK)
        await server.read_request(stream)
        if ending == "reset":
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    server = await serve(script)
    for _ in range(3):
        assert (await client.get(url_of(server))).body == b"ok"
    # each second request on a connection finds it dying, and is sent again on a new one
    assert (server.accepted, len(server.requests)) == (3, 5)


async def test_a_new_connection_that_dies_is_not_tried_again(serve, client):
    async def script(server, stream):
        await server.read_request(stream)

    server = await serve(script)
    assert (await refusal(client, url_of(server))).reason == "connection_lost"
    assert server.accepted == 1


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"])
async def test_hanging_up_has_one_sentence_however_the_connection_ends(serve, client, begun):
    async def script(server, stream):
        await server.read_request(stream)
        if begun:
            await stream.send_all(begun)
        if server.accepted == 2:
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    server = await serve(script)
    messages = {(await refusal(client, url_of(server))).message for _ in range(2)}
    assert messages == {
        f"{url_of(server).authority} hung up before its answer was complete: its own log may know why."
    }


async def test_a_kept_connection_that_breaks_in_the_answer_is_not_tried_again(serve, client):
    async def script(server, stream):
        await server.read_request(stream)
        await stream.send_all(OK)
        await server.read_request(stream)
        await stream.send_all(OK[:10])

    server = await serve(script)
    await client.get(url_of(server))
    assert (await refusal(client, url_of(server))).reason == "connection_lost"
    assert server.accepted == 1


async def test_an_old_connection_is_replaced(answering, client, autojump_clock):
    server = await answering(OK)
    await client.get(url_of(server))
    autojump_clock.jump(MAX_KEPT_AGE + 1)
    await client.get(url_of(server))
    assert server.accepted == 2


async def test_it_keeps_few_connections_and_closes_all_of_them(serve, client, answering):
    servers = [await answering(OK) for _ in range(MAX_KEPT_CONNECTIONS + 2)]
    for server in servers:
        await client.get(url_of(server))
    for server in servers[:2]:
        await server.until_ended()
    assert [server.ended for server in servers] == [1, 1] + [0] * MAX_KEPT_CONNECTIONS
    await client.aclose()
    for server in servers:
        await server.until_ended()


async def test_a_connection_in_use_while_the_client_closes_is_not_kept(answering, client):
    server = await answering(OK)
    await client.aclose()
    await client.get(url_of(server))
    await server.until_ended()


async def test_two_requests_at_a_time_do_not_share_a_connection(answering, client):
    server = await answering(OK)
    bodies = []

    async def get():
        bodies.append((await client.get(url_of(server))).body)

    for _ in range(2):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(get)
    assert bodies == [b"ok"] * 8
    # one of the first four was kept, and carried one of the second four
    assert server.accepted == 7


async def test_ipv6(answering, client):
    server = await answering(OK, host="::1")
    assert (await client.get(url_of(server))).body == b"ok"
    assert f"Host: [::1]:{server.port}".encode() in server.requests[0]


async def test_a_unix_socket(answering, client, tmp_path):
    server = await answering(OK, path=str(tmp_path / "s"))
    url = Url.parse("http://backend/status")
    for _ in range(2):
        assert (await client.get(url, unix_socket=server.path)).body == b"ok"
    assert server.accepted == 1
    assert b"\r\nHost: backend\r\n" in server.requests[0]


async def test_unix_sockets_that_are_not_there(client, tmp_path):
    url = Url.parse("http://backend/")
    plain = tmp_path / "file"
    plain.touch()
    assert (await refusal(client, url, unix_socket=str(tmp_path / "none"))).reason == "not_found"
    assert (await refusal(client, url, unix_socket=str(plain / "below"))).reason == "not_found"
    assert (await refusal(client, url, unix_socket="/" + "x" * 200)).reason == "not_found"
    assert (await refusal(client, url, unix_socket=str(plain))).reason == "refused"


async def test_a_port_where_nobody_listens_is_refused(client):
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        error = await refusal(client, Url.parse(f"http://127.0.0.1:{port}/"))
    assert error.reason == "refused"
    assert f"127.0.0.1:{port}" in error.message


@pytest.mark.parametrize(
    "headers",
    [{"X": "a\r\nEvil: b"}, {"X": "a\nb"}, {"X\r\nEvil": "b"}, {"X": "\0"}, {"X": "\u20ac"}, {"": "x"}],
)
async def test_nothing_breaks_out_of_a_header_field(answering, client, headers):
    server = await answering(OK)
    error = await refusal(client, url_of(server), headers=headers)
    assert error.reason == "protocol_error"
    assert "\n" not in error.message
    assert server.accepted == 0


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Accept-Encoding"])
async def test_framing_is_not_for_plugins(client, name):
    error = await refusal(client, Url.parse("http://127.0.0.1:1/"), headers={name: "x"})
    assert name in error.message


async def test_nothing_breaks_out_of_the_request_line(answering, client):
    server = await answering(OK)
    await client.get(url_of(server).with_path("/a b\r\nEvil: x\u00e9#"))
    assert server.requests[0].startswith(b"GET /a%20b%0D%0AEvil:%20x%C3%A9%23 HTTP/1.1\r\n")


async def test_secrets_are_masked_in_the_trace(answering, client, trace):
    server = await answering(OK)
    await client.get(url_of(server, userinfo="me:hush@"), headers={"X-Api-Key": "hush", "X-Plain": "shown"})
    (sent,) = [step.text for step in trace.steps if step.kind == "sent"]
    assert "Authorization: ***\r\n" in sent
    assert "X-Api-Key: ***\r\n" in sent
    assert "X-Plain: shown\r\n" in sent
    assert "hush" not in sent
    assert "bWU6aHVzaA" not in sent


async def test_the_trace_tells_every_phase(answering, client, trace):
    server = await answering(OK)
    await client.get(url_of(server))
    where = f"127.0.0.1:{server.port}"
    assert [step.text for step in trace.steps if step.kind == "phase"] == [
        "resolving 127.0.0.1",
        f"connecting to {where}",
        f"sending the request to {where}",
        f"waiting for the first byte of the answer from {where}",
    ]
    assert "".join(step.text for step in trace.steps if step.kind == "received") == OK.decode()


@pytest.mark.parametrize("text", ["ftp://127.0.0.1/", "ws://127.0.0.1/", ""])
async def test_other_schemes_are_refused(client, text):
    assert (await refusal(client, Url.parse(text))).reason == "protocol_error"


async def test_a_url_without_a_host_is_refused(client):
    assert "no host" in (await refusal(client, Url(scheme="http"))).message


async def test_a_name_beyond_ascii_is_sent_as_idna(answering, client, tmp_path):
    server = await answering(OK, path=str(tmp_path / "s"))
    await client.get(Url(scheme="http", host="b\u00fccher.example", port=81), unix_socket=server.path)
    assert b"\r\nHost: xn--bcher-kva.example:81\r\n" in server.requests[0]
    error = await refusal(client, Url(scheme="http", host="\u00fc" * 64), unix_socket=server.path)
    assert error.reason == "protocol_error"


async def test_names_are_resolved_by_the_resolver(answering, trace):
    server = await answering(OK)

    class Names:
        async def resolve(self, host, port):
            assert host == "backend.example"
            return [(trio.socket.AF_INET, ("127.0.0.1", port))]

    client = HttpClient(Names(), trace)
    assert (await client.get(Url.parse(f"http://backend.example:{server.port}/"))).body == b"ok"
    await client.aclose()


async def test_a_probe_that_is_cancelled_closes_its_connection(serve, client):
    asked = trio.Event()
    gone = trio.Event()

    async def script(server, stream):
        await server.read_request(stream)
        asked.set()
        await server.read_request(stream)  # returns when the client is gone
        gone.set()

    server = await serve(script)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.get, url_of(server))
        await asked.wait()
        nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        await gone.wait()


async def test_a_system_error_is_told_by_its_name(client, monkeypatch):
    def no_socket(*_args):
        raise OSError(errno.EMFILE, "secret detail")

    monkeypatch.setattr(trio.socket, "socket", no_socket)
    error = await refusal(client, Url.parse("http://127.0.0.1:1/"))
    assert error.reason == "unreachable"
    assert "LimitNOFILE" in error.message
    assert "secret" not in error.message
