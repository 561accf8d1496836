"""The simulated upstream: every behaviour, and changes of behaviour on kept connections."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest
import trio
import trustme

from statusd.testing import (
    Answer,
    Behaviour,
    Cut,
    Delay,
    Drip,
    Drop,
    Hang,
    Ignore,
    Raw,
    Refuse,
    Response,
    Say,
    Unreachable,
    Upstream,
    endless_body,
    endless_headers,
    endless_interim,
    html,
    huge_body,
    redirect,
    say,
)

SILENCE = 0.2
"""Seconds without a byte that prove silence: on loopback an answer takes well under a millisecond."""


async def is_silent(client) -> bool:
    with trio.move_on_after(SILENCE) as scope:
        await client.stream.receive_some(1)
    return scope.cancelled_caught


async def is_closed(client) -> bool:
    """Whether the other side closes within the deadline, politely or by a reset."""
    with trio.fail_after(5):
        try:
            return await client.stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            return True


async def test_answers_normally_and_records_requests_on_one_kept_connection(connect):
    async with Upstream() as upstream, await connect(upstream) as client:
        first = await client.ask("/a?b=c", X_Thing="1")
        second = await client.ask("/d", method="HEAD")
        assert (first.status, first.body) == (200, b'{"ok":true}')
        assert second.headers["content-length"] == "11"
        assert upstream.targets == ["GET /a?b=c", "HEAD /d"]
        assert upstream.requests[0].headers["x-thing"] == "1"
        assert (upstream.requests[0].path, upstream.requests[0].query) == ("/a", "b=c")
        assert upstream.accepted == 1


async def test_records_the_body_of_a_write(connect):
    async with Upstream() as upstream, await connect(upstream) as client:
        await client.stream.send_all(
            b"POST /reader HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        )
        assert (await client.receive()).status == 200
        assert (upstream.targets, upstream.requests[0].body) == (["POST /reader"], b"abc")


async def test_closes_after_the_answer_where_the_client_asks_for_it(connect):
    async with Upstream() as upstream, await connect(upstream) as client:
        answer = await client.ask("/", Connection="close")
        assert answer.headers["connection"] == "close"
        assert await is_closed(client)


async def test_answers_400_to_what_is_not_http(connect):
    async with Upstream() as upstream, await connect(upstream) as client:
        await client.stream.send_all(b"PING\r\n\r\n")
        assert (await client.receive()).status == 400
        assert await is_closed(client)
        assert upstream.requests == []


async def test_pipelined_requests_are_answered_in_order(connect):
    class Echo(Upstream):
        def respond(self, request):
            return Response.text(request.target)

    async with Echo() as upstream, await connect(upstream) as client:
        await client.stream.send_all(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        await upstream.wait_for_requests(2)
        received = b""
        while received.count(b"HTTP/1.1 200") < 2 or not received.endswith(b"/2"):
            received += await client.stream.receive_some(4096)
        assert received.index(b"/1") < received.index(b"/2")


async def test_listens_on_ipv6(ask):
    async with Upstream(host="::1") as upstream:
        assert upstream.url == f"http://[::1]:{upstream.port}"
        assert (await ask(upstream, "/")).status == 200


async def test_listens_on_a_unix_socket_which_goes_at_the_end(ask, tmp_path):
    path = tmp_path / "upstream.sock"
    async with Upstream(unix_socket=str(path)) as upstream:
        assert upstream.url == "http://localhost"
        assert (await ask(upstream, "/")).status == 200
        upstream.behaviour = Refuse()
        with pytest.raises(ConnectionRefusedError):
            await ask(upstream, "/")
        upstream.behaviour = Answer()
        assert (await ask(upstream, "/")).status == 200
    assert not path.exists()


async def test_speaks_tls(wrap):
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Upstream(tls=server) as upstream:
        assert upstream.url.startswith("https://")
        transport = await trio.open_tcp_stream("127.0.0.1", upstream.port)
        stream = trio.SSLStream(transport, trusting, server_hostname="localhost", https_compatible=True)
        async with wrap(stream) as client:
            assert (await client.ask("/")).status == 200


async def test_a_client_without_tls_does_not_harm_a_tls_upstream(connect):
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    async with Upstream(tls=server) as upstream:
        async with await connect(upstream) as client:
            await client.send("/")
            while await client.stream.receive_some(4096):
                pass
        async with await connect(upstream):
            pass
        assert upstream.requests == []


async def test_refuses_closes_what_it_had_and_reopens_on_the_same_port(connect, ask):
    async with Upstream() as upstream, await connect(upstream) as kept:
        port = upstream.port
        assert (await kept.ask("/")).status == 200
        upstream.behaviour = Refuse()
        assert await is_closed(kept)
        with pytest.raises(ConnectionRefusedError):
            await connect(upstream)
        upstream.behaviour = Answer()
        assert upstream.port == port
        assert (await ask(upstream, "/")).status == 200


async def test_nobody_else_gets_the_port_while_it_refuses():
    async with Upstream(behaviour=Refuse()) as upstream:
        other = socket.socket()
        with pytest.raises(OSError) as caught:
            other.bind(("127.0.0.1", upstream.port))
        other.close()
        assert caught.value.errno == errno.EADDRINUSE


async def test_drops_syns_and_comes_back(connect, ask):
    async with Upstream() as upstream, await connect(upstream) as kept:
        assert (await kept.ask("/")).status == 200
        upstream.behaviour = Unreachable()
        with trio.move_on_after(SILENCE) as scope:
            await connect(upstream)
        assert scope.cancelled_caught
        await kept.send("/")
        assert await is_silent(kept)
        upstream.behaviour = Answer()
        assert (await ask(upstream, "/")).status == 200


@pytest.mark.parametrize("behaviour", [Hang(), Hang(b"HTTP/1.1 200 OK\r\nContent-Le"), Ignore()])
async def test_hangs_also_on_a_kept_connection(connect, behaviour):
    async with Upstream() as upstream, await connect(upstream) as kept:
        assert (await kept.ask("/")).status == 200
        upstream.behaviour = behaviour
        await kept.send("/")
        async with await connect(upstream) as fresh:
            await fresh.send("/")
            for client in (kept, fresh):
                if behaviour == Hang(b"HTTP/1.1 200 OK\r\nContent-Le"):
                    assert (await client.stream.receive_some(4096)).endswith(b"Content-Le")
                assert await is_silent(client)


async def test_ignore_reads_nothing_on_a_new_connection(connect):
    async with Upstream(behaviour=Ignore()) as upstream, await connect(upstream) as client:
        await client.send("/")
        assert await is_silent(client)
        assert (upstream.accepted, upstream.requests) == (1, [])


async def test_a_change_cuts_off_an_answer_in_progress(connect):
    async with Upstream(behaviour=Hang()) as upstream, await connect(upstream) as client:
        await client.send("/")
        await upstream.wait_for_requests(1)
        upstream.behaviour = Answer()
        assert await is_closed(client)
    assert upstream.open_connections == 0


@pytest.mark.parametrize("is_reset", [False, True])
async def test_drops_new_and_kept_connections(connect, is_reset):
    async with Upstream() as upstream, await connect(upstream) as kept:
        assert (await kept.ask("/")).status == 200
        upstream.behaviour = Drop(is_reset=is_reset)
        async with await connect(upstream) as fresh:
            for client in (kept, fresh):
                if is_reset:
                    with pytest.raises(trio.BrokenResourceError):
                        await client.stream.receive_some(1)
                else:
                    assert await is_closed(client)


async def test_drips_byte_by_byte(connect, autojump_clock):
    async with (
        Upstream(behaviour=Drip(pause=0.5, data=b"HTTP/1.1")) as upstream,
        await connect(upstream) as client,
    ):
        await client.send("/")
        began = trio.current_time()
        received = [await client.stream.receive_some(100) for _ in range(4)]
        assert received == [b"H", b"T", b"T", b"P"]
        # The clock jumps whenever all tasks wait, so it may run ahead of the kernel, and never behind.
        assert trio.current_time() - began >= 1.5


async def test_drips_the_normal_answer_by_default(ask):
    async with Upstream(behaviour=Drip(pause=0)) as upstream:
        assert (await ask(upstream, "/")).body == b'{"ok":true}'


async def test_delays_the_normal_answer(ask, autojump_clock):
    async with Upstream(behaviour=Delay(5)) as upstream:
        answer = await ask(upstream, "/")
        assert answer.body == b'{"ok":true}'
        assert trio.current_time() >= 5


async def test_sends_raw_bytes_and_closes(connect):
    async with Upstream(behaviour=Raw(b"-ERR not http\r\n")) as upstream, await connect(upstream) as client:
        await client.send("/")
        assert await client.stream.receive_some(100) == b"-ERR not http\r\n"
        assert await is_closed(client)


@pytest.mark.parametrize(
    ("behaviour", "status", "kind"),
    [
        (say(503), 503, "application/json"),
        (say(503, content_type=None), 503, None),
        (Say(Response.text("busy", 418)), 418, "text/plain; charset=utf-8"),
        (Say(Response(status=799)), 799, "application/json"),
        (html(), 200, "text/html; charset=utf-8"),
        (redirect("/x"), 307, None),
    ],
)
async def test_answers_any_status_with_any_body(ask, behaviour, status, kind):
    async with Upstream(behaviour=behaviour) as upstream:
        answer = await ask(upstream, "/")
        assert (answer.status, answer.headers.get("content-type")) == (status, kind)
        assert answer.body == behaviour.response.body


async def test_a_redirect_names_its_target(ask):
    async with Upstream(behaviour=redirect("http://127.0.0.1:9/")) as upstream:
        assert (await ask(upstream, "/")).headers["location"] == "http://127.0.0.1:9/"


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_have_no_body_have_none(ask, status):
    async with Upstream(behaviour=say(status, b"x", None)) as upstream:
        answer = await ask(upstream, "/")
        assert (answer.status, answer.body, answer.headers.get("content-length")) == (status, b"", None)


@pytest.mark.parametrize("response", [None, Response(body=b"x" * 1000)])
async def test_cuts_a_body(ask, response):
    async with Upstream(behaviour=Cut(missing=3, response=response)) as upstream:
        answer = await ask(upstream, "/")
        assert not answer.is_complete
        assert len(answer.body) == int(answer.headers["content-length"]) - 3


async def test_cutting_more_than_there_is_still_sends_a_byte(connect):
    async with Upstream(behaviour=Cut(missing=10_000)) as upstream, await connect(upstream) as client:
        await client.send("/")
        assert await client.stream.receive_some(100) == b"H"
        assert await is_closed(client)


async def test_sends_a_huge_body(ask):
    async with Upstream(behaviour=huge_body(3)) as upstream:
        assert len((await ask(upstream, "/")).body) == 3 << 20


@pytest.mark.parametrize(
    "behaviour",
    [
        endless_body(),
        endless_body(is_chunked=True),
        endless_headers(),
        endless_headers(is_one=True),
        endless_interim(),
    ],
)
async def test_floods_until_the_client_closes_and_serves_the_next(connect, ask, behaviour: Behaviour):
    async with Upstream(behaviour=behaviour) as upstream:
        async with await connect(upstream) as client:
            await client.send("/")
            received = 0
            while received < 1 << 20:
                received += len(await client.stream.receive_some(65536))
        upstream.behaviour = Answer()
        assert (await ask(upstream, "/")).status == 200


async def test_runs_in_a_nursery_and_keeps_its_port_over_a_restart(connect, ask):
    upstream = Upstream()
    ports = []
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            assert await nursery.start(upstream.run) is upstream
            assert (await ask(upstream, "/")).status == 200
            ports.append(upstream.port)
            nursery.cancel_scope.cancel()
        with pytest.raises(ConnectionRefusedError):
            await connect(upstream)
    assert ports[0] == ports[1]


async def test_an_exception_in_the_block_leaves_as_it_is():
    with pytest.raises(KeyError):
        async with Upstream():
            raise KeyError


async def test_failing_to_listen_is_raised_where_it_is_entered(tmp_path):
    upstream = Upstream(unix_socket=str(tmp_path / "absent" / "x.sock"))
    with pytest.raises(FileNotFoundError):
        await upstream.__aenter__()


async def test_a_behaviour_can_be_set_before_it_runs(ask):
    upstream = Upstream()
    upstream.behaviour = say(503)
    async with upstream:
        assert (await ask(upstream, "/")).status == 503
