"""Connecting: what each failure is called, and which of several addresses wins."""

import errno
import socket

import pytest
import trio

from statusd.errors import ProbeError
from statusd.net import streams
from statusd.net.limits import CONNECT_STAGGER
from statusd.net.oserrors import most_telling, os_error
from statusd.net.streams import Connection, Endpoint, open_connection
from statusd.net.tcp import TcpClient

LOOPBACK = "127.0.0.1"


class Names:
    """A resolver with a fixed answer."""

    def __init__(self, *addresses):
        self.addresses = [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port)) for host, port in addresses
        ]

    async def resolve(self, host, port):
        await trio.lowlevel.checkpoint()
        return self.addresses


@pytest.fixture
async def closed_port():
    """A port that refuses."""
    with trio.socket.socket() as sock:
        await sock.bind((LOOPBACK, 0))
        yield sock.getsockname()[1]


@pytest.fixture
async def black_hole():
    """A port whose backlog is full, so that the kernel drops what else wants to connect."""
    with trio.socket.socket() as sock, trio.socket.socket() as first:
        await sock.bind((LOOPBACK, 0))
        sock.listen(0)
        await first.connect(sock.getsockname())
        yield sock.getsockname()[1]


async def silence(server, stream):
    await server.read_request(stream)


async def test_it_connects_and_closes(serve, resolver, trace):
    server = await serve(silence)
    await TcpClient(resolver, trace).connect(LOOPBACK, server.port)
    await server.until_ended()
    assert [step.text for step in trace.steps] == [
        f"resolving {LOOPBACK}",
        f"connecting to {LOOPBACK}:{server.port}",
    ]


async def test_it_tells_that_nobody_listens(closed_port, resolver, trace):
    with pytest.raises(ProbeError) as caught:
        await TcpClient(resolver, trace).connect(LOOPBACK, closed_port)
    assert caught.value.reason == "refused"


async def test_dropped_packets_are_a_timeout(black_hole, resolver, trace, patient_clock):
    with trio.move_on_after(1) as scope:
        await TcpClient(resolver, trace).connect(LOOPBACK, black_hole)
    assert scope.cancelled_caught
    assert trace.phase == f"connecting to {LOOPBACK}:{black_hole}"


async def test_a_black_hole_costs_a_quarter_second(serve, black_hole, trace, patient_clock):
    server = await serve(silence)
    start = trio.current_time()
    await TcpClient(Names((LOOPBACK, black_hole), (LOOPBACK, server.port)), trace).connect("x", 1)
    assert trio.current_time() - start == pytest.approx(CONNECT_STAGGER, abs=0.05)


async def test_a_refusal_moves_on_at_once(serve, closed_port, trace, patient_clock):
    server = await serve(silence)
    start = trio.current_time()
    await TcpClient(Names((LOOPBACK, closed_port), (LOOPBACK, server.port)), trace).connect("x", 1)
    assert trio.current_time() - start < CONNECT_STAGGER


async def test_localhost_is_found_on_either_family(serve, resolver, trace):
    for host in (LOOPBACK, "::1"):
        server = await serve(silence, host=host)
        await TcpClient(resolver, trace).connect("localhost", server.port)
        assert server.accepted == 1


async def test_the_most_telling_failure_is_reported(closed_port, trace):
    # no host may connect to the address of a documentation network through a loopback source, nor to port 0
    client = TcpClient(Names(("::", 0), (LOOPBACK, closed_port)), trace)
    with pytest.raises(ProbeError) as caught:
        await client.connect("x", 1)
    assert caught.value.reason == "refused"
    failures = [ProbeError(reason, "") for reason in ("unreachable", "timeout", "something_new", "refused")]
    assert most_telling(failures).reason == "refused"
    assert most_telling(failures[:1]).reason == "unreachable"


async def test_cancelling_closes_every_attempt(black_hole, trace, patient_clock):
    # a socket left open would be a ResourceWarning, which fails the test
    with trio.move_on_after(1) as scope:
        await TcpClient(Names((LOOPBACK, black_hole), (LOOPBACK, black_hole)), trace).connect("x", 1)
    assert scope.cancelled_caught


async def test_of_two_that_win_at_once_one_is_closed(trace, monkeypatch, autojump_clock):
    both = trio.Event()
    made = []

    async def connect(_family, _address, _where):
        if made:
            both.set()
        ours, theirs = socket.socketpair()
        theirs.close()
        made.append(trio.socket.from_stdlib_socket(ours))
        sock = made[-1]
        with trio.CancelScope(shield=True):  # both were there before either was told
            await both.wait()
        return sock

    monkeypatch.setattr(streams, "_connect", connect)
    connection = await open_connection(Endpoint(host="x", port=1), Names((LOOPBACK, 1), (LOOPBACK, 2)), trace)
    assert sorted(sock.fileno() >= 0 for sock in made) == [False, True]
    connection.close()


@pytest.mark.parametrize("port", [0, -1, 65536])
async def test_ports_that_are_none(resolver, trace, port):
    with pytest.raises(ProbeError) as caught:
        await TcpClient(resolver, trace).connect(LOOPBACK, port)
    assert caught.value.reason == "unreachable"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EAFNOSUPPORT, "unreachable"),
        (errno.EACCES, "permission_denied"),
        (errno.EPERM, "permission_denied"),
        (errno.ENOENT, "not_found"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.ECONNRESET, "connection_lost"),
        (errno.EPIPE, "connection_lost"),
        (errno.EMFILE, "unreachable"),
        (errno.EPROTOTYPE, "protocol_error"),
        (errno.EIO, "connection_lost"),
        (None, "connection_lost"),
    ],
)
def test_what_the_system_says_has_a_reason_a_place_and_no_raw_text(number, reason):
    error = os_error(OSError(number, "raw text") if number else OSError("raw text"), "there:80")
    assert error.reason == reason
    assert "there:80" in error.message
    assert "raw text" not in error.message


async def test_a_socket_of_another_kind(resolver, trace, tmp_path):
    path = str(tmp_path / "s")
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        await sock.bind(path)
        with pytest.raises(ProbeError) as caught:
            await open_connection(Endpoint(host="x", port=80, unix_socket=path), resolver, trace)
    assert caught.value.reason == "protocol_error"


async def test_a_connection_is_quiet_until_something_comes():
    ours, theirs = trio.socket.socketpair()
    connection = Connection("there", ours)
    assert connection.is_quiet
    await theirs.send(b"x")
    assert not connection.is_quiet
    assert await connection.receive() == b"x"
    assert connection.is_quiet
    theirs.close()
    assert not connection.is_quiet
    with pytest.raises(ProbeError) as caught:
        await connection.send(b"x")
    assert caught.value.reason == "connection_lost"
    connection.close()


async def test_a_send_that_the_peer_does_not_read_can_be_cancelled(autojump_clock):
    ours, theirs = trio.socket.socketpair()
    connection = Connection("there", ours)
    with trio.move_on_after(1) as scope:
        await connection.send(b"x" * (8 << 20))
    assert scope.cancelled_caught
    connection.close()
    theirs.close()
