"""Upstreams that hang, drip, flood or lie: each probe ends at its deadline or at a cap, and leaves nothing open."""

import gzip

import pytest
import trio

from statusd.errors import ProbeError
from statusd.net.limits import MAX_HEAD_BYTES, max_wire_bytes
from statusd.values import Url

HEAD = b"HTTP/1.1 200 OK\r\n"


def url_of(server):
    return Url.parse(f"http://127.0.0.1:{server.port}/")


async def drip(stream, pieces):
    for piece in pieces:
        await stream.send_all(piece)
        await trio.sleep(0.5)


def forever(piece):
    while True:
        yield piece


DRIPS = {
    "nothing": ([], "waiting for the first byte"),
    "half a status line": ([b"HTT"], "reading the header"),
    "header": ([HEAD, b"X: ", *[b"x"] * 50], "reading the header"),
    "body": ([HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 50], "reading the body"),
    "body until the end": ([HEAD + b"\r\n", *[b"x"] * 50], "reading the body"),
    "chunk": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n", *[b"x"] * 50], "reading the body"),
    "chunk extension": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", *[b"x"] * 50], "reading the body"),
    "interim answers": ([b"HTTP/1.1 102 Processing\r\n\r\n"] * 5, "reading the header"),
}


@pytest.mark.parametrize(("pieces", "phase"), DRIPS.values(), ids=DRIPS)
async def test_a_drip_ends_at_the_deadline(serve, client, trace, patient_clock, pieces, phase):
    async def script(server, stream):
        await server.read_request(stream)
        await drip(stream, pieces)
        await server.read_request(stream)

    server = await serve(script)
    start = trio.current_time()
    with trio.move_on_after(1) as scope:
        await client.get(url_of(server))
    assert scope.cancelled_caught
    assert trio.current_time() - start == pytest.approx(1, abs=0.3)
    assert trace.phase.startswith(phase)
    await server.until_ended()


async def test_the_next_probe_does_not_get_the_answer_to_the_last(serve, client, patient_clock):
    async def script(server, stream):
        await server.read_request(stream)
        number = server.accepted
        if number == 1:
            await trio.sleep(2)
        await stream.send_all(HEAD + b"Content-Length: 1\r\n\r\n%d" % number)
        await server.read_request(stream)

    server = await serve(script)
    with trio.move_on_after(1) as scope:
        await client.get(url_of(server))
    assert scope.cancelled_caught
    await trio.sleep(3)
    assert (await client.get(url_of(server))).body == b"2"


BOMB = gzip.compress(b"\0" * 5_000_000)
FLOODS = {
    "a gigabyte announced": (HEAD + b"Content-Length: 1000000000\r\n\r\n", b"x" * 65536, "too_large"),
    "a gigabyte in chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + b"x" * 65536 + b"\r\n",
        "too_large",
    ),
    "a gigabyte until the end": (HEAD + b"\r\n", b"x" * 65536, "too_large"),
    "a gzip bomb": (HEAD + b"Content-Encoding: gzip\r\n\r\n", BOMB, "protocol_error"),
    "a gzip bomb as transfer coding": (
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        b"%x\r\n%b\r\n" % (len(BOMB), BOMB),
        "protocol_error",
    ),
    "endless headers": (HEAD, b"X-Header: value\r\n" * 100, "too_large"),
    "one endless header": (HEAD + b"X: ", b"x" * 65536, "too_large"),
    "one endless header name": (HEAD, b"x" * 65536, "too_large"),
    "an endless status line": (b"HTTP/1.1 200 ", b"x" * 65536, "too_large"),
    "endless trailers": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X-Header: value\r\n" * 100,
        "too_large",
    ),
    "one endless trailer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 65536, "too_large"),
    "an endless chunk extension": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;",
        b"x" * 65536,
        "too_large",
    ),
    "chunks of one byte": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n" * 1000,
        "too_large",
    ),
    "endless 102": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100, "too_large"),
    "endless 100 with long headers": (
        b"",
        b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 8000 + b"\r\n\r\n",
        "too_large",
    ),
    "endless noise": (b"", bytes(range(256)) * 256, "protocol_error"),
    "endless blank lines": (b"", b"\r\n" * 1000, "protocol_error"),
}


@pytest.mark.parametrize(("start", "rest", "reason"), FLOODS.values(), ids=FLOODS)
async def test_a_flood_ends_at_a_cap(serve, client, trace, start, rest, reason):
    async def script(server, stream):
        await server.read_request(stream)
        await stream.send_all(start)
        for piece in forever(rest):
            await stream.send_all(piece)

    trace.keep = 1
    server = await serve(script)
    with trio.fail_after(10), pytest.raises(ProbeError) as caught:
        await client.get(url_of(server), max_body=65536)
    assert caught.value.reason == reason
    received = sum(
        int(step.text.rpartition("(")[2].removesuffix(" bytes)"))
        for step in trace.steps
        if step.kind == "received"
    )
    assert received <= max_wire_bytes(65536) + MAX_HEAD_BYTES
    await server.until_ended()


async def test_a_server_that_speaks_first_is_not_http(serve, client):
    async def script(server, stream):
        await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")
        await server.read_request(stream)

    server = await serve(script)
    with pytest.raises(ProbeError) as caught:
        await client.get(url_of(server))
    assert caught.value.reason == "protocol_error"
    assert "SSH" not in caught.value.message


async def test_a_listener_that_never_accepts_is_a_timeout(client, trace, patient_clock):
    # the kernel accepts for it, up to the backlog, so the request goes out and nothing comes back
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        url = Url.parse(f"http://127.0.0.1:{sock.getsockname()[1]}/")
        with trio.move_on_after(1) as scope:
            await client.get(url)
    assert scope.cancelled_caught
    assert trace.phase.startswith("waiting for the first byte")


async def test_a_hung_unix_server_with_a_full_backlog_is_a_timeout(client, trace, autojump_clock, tmp_path):
    path = str(tmp_path / "s")
    with trio.socket.socket(trio.socket.AF_UNIX) as sock:
        await sock.bind(path)
        sock.listen(0)
        with trio.socket.socket(trio.socket.AF_UNIX) as other:
            await other.connect(path)
            with trio.move_on_after(1) as scope:
                await client.get(Url.parse("http://x/"), unix_socket=path)
    assert scope.cancelled_caught
    assert trace.phase == f"connecting to unix:{path}"
