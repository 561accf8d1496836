"""What a connection leaves behind: nothing that waits for a garbage collection, which holds up everybody."""

import gc
import socket
import ssl
import struct
from contextlib import suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from statusd.values import Bind
from statusd.web.edge.certificates import Certificates
from statusd.web.edge.connection import Connection
from statusd.web.edge.listener import serve
from statusd.web.edge.sockets import open_listeners
from statusd.web.edge.talk import Talk
from tests.web.client import CLOSE, CONTEXT, END, BigView, edge_of, service
from tests.web.edge.certificates import NAME, Files, trusting
from tests.web.edge.h2client import PREFACE, SETTINGS, headers

RESET = struct.pack("ii", 1, 0)
"""Closing then resets the connection: SO_LINGER of socket(7)."""


async def answered(stream):
    await stream.send_all(b"GET /health HTTP/1.1" + CLOSE)


async def kept(stream):
    await stream.send_all(b"GET /health HTTP/1.1" + END)
    await stream.receive_some(1)
    await stream.send_eof()


async def asked_of_the_application(stream):
    await stream.send_all(b"GET /metrics HTTP/1.1" + CLOSE)


async def not_found(stream):
    await stream.send_all(b"GET /nope?x HTTP/1.0\r\n\r\n")


async def malformed(stream):
    await stream.send_all(b"GET\0 /metrics HTTP/1.1" + CLOSE)


async def half_a_request(stream):
    await stream.send_all(b"GET /met")
    await stream.send_eof()


async def reset(stream):
    await stream.send_all(b"GET /met")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await stream.aclose()


async def reset_while_listening(stream):
    await stream.send_all(b"GET /events HTTP/1.1" + END)
    await stream.receive_some(1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await stream.aclose()


async def reset_while_it_is_answered(stream):
    await stream.send_all(b"GET /big HTTP/1.1" + END)
    await stream.receive_some(1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await stream.aclose()


async def reset_after_the_answer(stream):
    await stream.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
    await stream.receive_some(1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await stream.aclose()


async def closed_while_listening(stream):
    await stream.send_all(b"GET /events HTTP/1.1" + END)
    await stream.receive_some(1)
    await stream.aclose()


async def closed_while_waiting(stream):
    await stream.send_all(b"GET /state?since=7&wait=60 HTTP/1.1" + END)
    await stream.aclose()


async def encrypted(stream, *protocols):
    tls = trio.SSLStream(stream, trusting(*protocols), server_hostname=NAME, https_compatible=True)
    await tls.do_handshake()
    return tls


async def answered_over_tls(stream):
    await answered(await encrypted(stream))


async def kept_over_tls(stream):
    tls = await encrypted(stream)
    await tls.send_all(b"GET /health HTTP/1.1" + END)
    await tls.receive_some(1)
    await tls.aclose()


async def reset_over_tls(stream):
    tls = await encrypted(stream)
    await tls.send_all(b"GET /big HTTP/1.1" + END)
    await tls.receive_some(1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await stream.aclose()


async def closed_in_http_2(stream):
    tls = await encrypted(stream, "h2")
    await tls.send_all(PREFACE + SETTINGS + headers())
    await tls.receive_some(1)
    await tls.aclose()


async def half_a_handshake(stream):
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(theirs, ours, server_hostname=NAME).do_handshake()
    await stream.send_all(ours.read())
    await stream.receive_some(1)
    await stream.aclose()


async def a_handshake_of_nonsense(stream):
    await stream.send_all(b"\x16\x03\x01\x00\x05hello")


async def no_handshake(stream):
    await stream.send_all(b"GET /health HTTP/1.1" + END)


@pytest.mark.parametrize(
    "life",
    [
        answered,
        kept,
        asked_of_the_application,
        not_found,
        malformed,
        half_a_request,
        reset,
        reset_while_it_is_answered,
        reset_after_the_answer,
        reset_while_listening,
        closed_while_listening,
        closed_while_waiting,
    ],
)
async def test_a_connection_is_gone_when_it_ends(nursery, life):
    await hold_gone(nursery, life, edge_of(service(BigView(context=CONTEXT))))


@pytest.mark.parametrize(
    "life",
    [
        answered_over_tls,
        kept_over_tls,
        reset_over_tls,
        closed_in_http_2,
        half_a_handshake,
        a_handshake_of_nonsense,
        no_handshake,
    ],
)
async def test_a_connection_with_tls_is_gone_when_it_ends(nursery, life, tmp_path):
    files, edge = Files.write(tmp_path), edge_of(service(BigView(context=CONTEXT)))
    edge.certificates = Certificates(files.certificate, files.key)
    await hold_gone(nursery, life, edge, is_tls=True)


def is_ours(one):
    return isinstance(one, Connection | Talk) or (isinstance(one, ssl.SSLObject) and one.server_side)


async def hold_gone(nursery, life, edge, *, is_tls=False):
    listeners = open_listeners([Bind(host="127.0.0.1", is_tls=is_tls)])
    address = listeners[0].accepting.socket.getsockname()
    await nursery.start(
        lambda task_status: serve(edge, listeners, stop=trio.Event(), task_status=task_status)
    )

    async def live():
        stream = await trio.open_tcp_stream(*address)
        await life(stream)
        if stream.socket.fileno() >= 0:
            while await stream.receive_some(65536):
                pass
        await stream.aclose()

    await live()  # what is made once, for all
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await live()
        with trio.fail_after(10):
            while edge.traffic.accepted < 4 or edge.traffic.connections:
                await trio.sleep(0.01)
        await wait_all_tasks_blocked()
        left = [type(one).__name__ for one in gc.get_objects() if is_ours(one)]
    finally:
        gc.enable()
    assert left == []
    nursery.cancel_scope.cancel()
