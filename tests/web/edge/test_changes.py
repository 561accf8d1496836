"""What changes while the server runs, and that nobody who is connected or connects meanwhile notices."""

import contextlib
import errno
import functools
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import types

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from statusd.errors import StartError
from statusd.values import Bind
from statusd.web.edge import accepting, opening
from statusd.web.edge.accepting import BEAT, PAUSE
from statusd.web.edge.certificates import Certificates
from statusd.web.edge.listener import Server
from statusd.web.edge.sockets import Listener, open_listeners, reopen
from tests.web.client import CLOSE, CONTEXT, END, BigView, edge_of, parse, read_all, read_until, service
from tests.web.edge.certificates import NAME, Files, trusting
from tests.web.edge.load import Load

GET = b"GET /health HTTP/1.1" + END
ONCE = b"GET /health HTTP/1.1" + CLOSE
STATE = b"GET /state HTTP/1.1" + CLOSE
OK = b'{"status":"ok"}'
LOOPBACK = Bind(host="127.0.0.1")
MOMENT = 5
HAS_V6 = socket.has_ipv6


@attrs.define(eq=False)
class Site:
    """A server on real sockets."""

    server: Server
    listeners: list
    stop: trio.Event = attrs.field(factory=trio.Event)
    done: trio.Event = attrs.field(factory=trio.Event)

    @classmethod
    async def run(cls, nursery, *binds, probes=(), **options):
        edge = edge_of(service(BigView(context=CONTEXT)))
        site = cls(Server(edge), open_listeners(binds, probes))

        async def body(task_status):
            await site.server.run(site.listeners, stop=site.stop, task_status=task_status, **options)
            site.done.set()

        await nursery.start(body)
        return site

    @property
    def edge(self):
        return self.server.edge

    async def move(self, *binds, probes=(), mode=0o666):
        """Listen at other addresses."""
        listeners = reopen(self.listeners, binds, probes, mode=mode)
        await self.server.change(listeners)
        self.listeners = listeners

    def names(self):
        return [one.socket.getsockname() for one in self.listeners]


def connect(address, data=b""):
    """Connect and send `data`, in one step of the event loop."""
    sock = socket.socket(family_of(address))
    try:
        sock.connect(address)
        sock.sendall(data)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


def family_of(address):
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


async def ask(address, data=ONCE):
    async with connect(address, data) as stream:
        with trio.fail_after(MOMENT):
            [answer] = parse(await read_all(stream))
    return answer


def expect_refusal(address):
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        connect(address)


def free_port(host="127.0.0.1"):
    with socket.socket(family_of((host,))) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


# Moving


async def test_new_addresses_are_served_and_old_ones_refuse(nursery):
    site = await Site.run(nursery, LOOPBACK)
    [before] = site.names()
    await site.move(Bind(host="127.0.0.2", port=free_port()))
    [after] = site.names()
    assert (await ask(after)).status == 200
    expect_refusal(before)


async def test_an_open_connection_goes_on_when_its_address_goes(nursery):
    site = await Site.run(nursery, LOOPBACK)
    async with connect(site.names()[0], GET) as idle, connect(site.names()[0], GET[:9]) as begun:
        await read_until(idle, OK)
        await site.move(Bind(host="127.0.0.2"))
        await idle.send_all(GET)
        assert b"close" not in await read_until(idle, OK)
        await begun.send_all(GET[9:])
        await read_until(begun, OK)


@pytest.mark.parametrize("kind", ["tcp", "unix", "inherited"])
async def test_who_waits_at_an_address_that_goes_is_served(nursery, tmp_path, kind):
    """Nothing of the server runs from the first connection to the change."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as theirs:
        bind = {
            "tcp": LOOPBACK,
            "unix": Bind(path=str(tmp_path / "http.sock")),
            "inherited": Bind(fd=os.dup(theirs.fileno())),
        }[kind]
        site = await Site.run(nursery, bind)
        [address] = site.names()
        waiting = [connect(address, ONCE) for _ in range(100)]
        await site.move(Bind(host="127.0.0.2"))
        if kind == "inherited":
            connect(address).socket.close()  # the other process goes on
        else:
            expect_refusal(address)
        for stream in waiting:
            [answer] = parse(await read_all(stream))
            assert answer.status == 200
            await stream.aclose()
    assert not site.edge.guard.failures


async def test_a_handshake_that_has_begun_at_an_address_that_goes_is_finished(nursery):
    """The kernel has answered already, so the client is about to send; it is deferred here, elsewhere it takes a way."""
    site = await Site.run(nursery, Bind(host="0.0.0.0"))
    site.listeners[0].socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
    address = ("127.0.0.1", site.names()[0][1])
    async with connect(address) as stream:
        nursery.start_soon(site.move, LOOPBACK)
        await wait_all_tasks_blocked()
        expect_refusal(address)
        await stream.send_all(ONCE)
        [answer] = parse(await read_all(stream))
        assert answer.status == 200


async def test_where_the_kernel_does_not_let_it_refuse_others_it_still_empties_the_backlog(
    nursery, monkeypatch
):
    monkeypatch.setattr("statusd.web.edge.sockets.SO_BINDTOIFINDEX", 9999)
    site = await Site.run(nursery, LOOPBACK)
    [address] = site.names()
    waiting = [connect(address, ONCE) for _ in range(100)]
    await site.move(Bind(host="127.0.0.2"))
    for stream in waiting:
        [answer] = parse(await read_all(stream))
        assert answer.status == 200
        await stream.aclose()
    expect_refusal(address)


@pytest.mark.parametrize("kind", ["tcp", "inherited"])
async def test_no_descriptors_while_an_address_goes_delay_that_and_lose_nobody(nursery, monkeypatch, kind):
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        bind = LOOPBACK if kind == "tcp" else Bind(fd=os.dup(theirs.fileno()))
        site = await Site.run(nursery, bind)
        [address] = site.names()
        await wait_all_tasks_blocked()
        real, left = socket.socket.accept, [OSError(errno.EMFILE, "too many")] * 2

        def accept(sock):
            if left:
                raise left.pop()
            return real(sock)

        monkeypatch.setattr(socket.socket, "accept", accept)
        waiting = connect(address, ONCE)
        await site.move(Bind(host="127.0.0.2"))
        [answer] = parse(await read_all(waiting))
        assert answer.status == 200
        await waiting.aclose()
    assert site.edge.guard.failures == {"accept": 2}


@pytest.mark.parametrize(
    ("specific", "wildcard"),
    [
        ("127.0.0.1", "0.0.0.0"),
        pytest.param("::1", "::", marks=pytest.mark.skipif(not HAS_V6, reason="no IPv6")),
    ],
)
async def test_from_an_address_to_one_that_overlaps_it_and_back_nobody_notices(nursery, specific, wildcard):
    port = free_port(specific)
    site = await Site.run(nursery, Bind(host=specific, port=port))
    load = Load((specific, port), family_of((specific,)))
    async with load.applied():
        for number in range(50):
            await site.move(Bind(host=(wildcard, specific)[number % 2], port=port))
            seen = load.answered
            with trio.fail_after(MOMENT):
                while load.answered < seen + 10 and not load.failures:
                    await trio.sleep(0.001)
    assert load.failures == []
    assert load.answered >= 500
    assert not site.edge.guard.failures


async def test_between_two_flags_of_one_address_nobody_notices(nursery):
    port = free_port()
    bind = Bind(host="127.0.0.1", port=port)
    site = await Site.run(nursery, bind)
    load = Load(("127.0.0.1", port))
    async with load.applied():
        for _ in range(25):
            await site.move(probes=[bind])
            assert (await ask(("127.0.0.1", port), STATE)).status == 404
            await site.move(bind)
            assert (await ask(("127.0.0.1", port), STATE)).status == 200
    assert load.failures == []
    assert load.answered > 50


async def test_tls_is_wanted_from_new_connections_alone(nursery, tmp_path):
    files = Files.write(tmp_path)
    site = await Site.run(nursery, LOOPBACK)
    [address] = site.names()
    async with connect(address, GET) as plain:
        await read_until(plain, OK)
        site.edge.certificates = Certificates(files.certificate, files.key)
        await site.move(attrs.evolve(LOOPBACK, is_tls=True))
        assert [one.address for one in site.listeners] == [f"https://127.0.0.1:{address[1]}"]
        assert (await ask(address)).status == 400
        stream = trio.SSLStream(connect(address), trusting(), server_hostname=NAME, https_compatible=True)
        async with stream:
            await stream.send_all(ONCE)
            [answer] = parse(await read_all(stream))
        assert answer.status == 200
        await plain.send_all(GET)
        await read_until(plain, OK)


async def test_a_handshake_that_waits_for_its_client_has_the_certificate_of_when_it_comes(nursery, tmp_path):
    (tmp_path / "new").mkdir()
    old, new = Files.write(tmp_path), Files.write(tmp_path / "new", "other.example")
    site = await Site.run(nursery, attrs.evolve(LOOPBACK, is_tls=True))
    site.edge.certificates = Certificates(old.certificate, old.key)
    async with connect(site.names()[0]) as below:
        await wait_all_tasks_blocked()
        while not site.edge.traffic.connections:
            await trio.sleep(0.001)
        await wait_all_tasks_blocked()
        site.edge.certificates = Certificates(new.certificate, new.key)
        stream = trio.SSLStream(below, trusting(), server_hostname="other.example", https_compatible=True)
        await stream.do_handshake()


async def test_several_changes_at_once_come_one_after_the_other(nursery):
    site = await Site.run(nursery, LOOPBACK)
    several = [open_listeners([LOOPBACK]) for _ in range(5)]
    async with trio.open_nursery() as changes:
        for listeners in several:
            changes.start_soon(site.server.change, listeners)
    [left] = [one.listener for one in site.server._accepting]
    for one in (*site.listeners, *(listener for [listener] in several)):
        assert one is left or one.socket is None
    assert (await ask(left.socket.getsockname())).status == 200


async def test_a_change_waits_for_the_server_to_run(nursery):
    listeners, others = open_listeners([LOOPBACK]), open_listeners([LOOPBACK])
    server, stop = Server(edge_of(service())), trio.Event()
    nursery.start_soon(server.change, others)
    await wait_all_tasks_blocked()
    address = others[0].socket.getsockname()
    nursery.start_soon(functools.partial(server.run, listeners, stop=stop))
    assert (await ask(address)).status == 200
    stop.set()


async def test_a_change_after_the_stop_closes_what_is_new(nursery, tmp_path):
    site = await Site.run(nursery, LOOPBACK)
    site.stop.set()
    await site.done.wait()
    await site.move(Bind(path=str(tmp_path / "http.sock")))
    assert not (tmp_path / "http.sock").exists()
    assert site.listeners[0].socket is None


# Unix sockets


async def test_a_unix_socket_that_goes_is_removed(nursery, tmp_path):
    path = tmp_path / "http.sock"
    site = await Site.run(nursery, Bind(path=str(path)))
    await site.move(Bind(path=str(tmp_path / "other.sock")))
    assert not path.exists()
    assert (await ask(str(tmp_path / "other.sock"))).status == 200
    await site.move(LOOPBACK)
    assert not (tmp_path / "other.sock").exists()


async def test_a_unix_socket_that_another_process_has_put_there_stays(nursery, tmp_path):
    path = tmp_path / "http.sock"
    site = await Site.run(nursery, Bind(path=str(path)))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        await site.move(LOOPBACK)
        assert path.exists()


async def test_a_unix_socket_whose_file_is_gone_is_opened_anew(nursery, tmp_path):
    path = tmp_path / "http.sock"
    site = await Site.run(nursery, Bind(path=str(path)))
    path.unlink()
    await site.move(Bind(path=str(path)))
    assert (await ask(str(path))).status == 200


async def test_the_mode_of_a_unix_socket_changes_with_the_socket_kept(nursery, tmp_path):
    path = tmp_path / "http.sock"
    site = await Site.run(nursery, Bind(path=str(path)))
    before = site.listeners[0].accepting
    await site.move(Bind(path=str(path)), mode=0o600)
    assert site.listeners[0].accepting is before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    site.stop.set()
    await site.done.wait()
    assert not path.exists()


# Which socket it is, without a server


@contextlib.asynccontextmanager
async def opened(*binds, probes=()):
    listeners = open_listeners(binds, probes)
    yield listeners
    for one in listeners:
        await one.close()


async def test_the_same_address_keeps_its_socket_whatever_else_is_said_of_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        binds = [
            LOOPBACK,
            Bind(host="127.0.0.1", port=free_port()),
            Bind(path=str(tmp_path / "http.sock")),
            Bind(fd=os.dup(theirs.fileno())),
        ]
        async with opened(*binds) as old:
            new = reopen(old, (), [attrs.evolve(one, is_tls=True) for one in reversed(binds)])
            assert [one.accepting for one in new] == [one.accepting for one in reversed(old)]
            assert all(one.is_tls and one.is_probes_only for one in new)
            assert [one.is_inherited for one in new] == [True, False, False, False]
            assert [one.address.partition(":")[0] for one in new] == ["https", "tls", "https", "https"]
            assert not any(one.is_tls or one.is_probes_only for one in old)


async def test_of_several_ports_that_the_system_chose_each_keeps_its_flags():
    tls = attrs.evolve(LOOPBACK, is_tls=True)
    async with opened(LOOPBACK, tls, probes=[LOOPBACK, tls]) as old:
        new = reopen(old, [tls, LOOPBACK], [tls, LOOPBACK])
        assert [one.accepting for one in new] == [old[index].accepting for index in (1, 0, 3, 2)]


async def test_the_port_that_the_system_chose_may_be_named_later():
    async with opened(LOOPBACK) as old:
        port = old[0].socket.getsockname()[1]
        [new] = reopen(old, [Bind(host="127.0.0.1", port=port)])
        assert new.accepting is old[0].accepting


async def test_a_socket_that_was_handed_over_may_be_named_by_its_address():
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        async with opened(Bind(fd=os.dup(theirs.fileno()))) as old:
            [new] = reopen(old, [Bind(host="127.0.0.1", port=theirs.getsockname()[1])])
            assert new.accepting is old[0].accepting
            assert new.is_inherited


async def test_when_one_cannot_be_opened_none_is_and_the_old_ones_go_on(nursery, tmp_path):
    port, path = free_port(), tmp_path / "new.sock"
    site = await Site.run(nursery, Bind(host="127.0.0.1", port=port), Bind(path=str(tmp_path / "old.sock")))
    with socket.create_server(("127.0.0.1", 0)) as other:
        in_use = Bind(host="127.0.0.1", port=other.getsockname()[1])
        for binds in (
            [Bind(host="0.0.0.0", port=port), in_use],
            [in_use, Bind(host="0.0.0.0", port=port)],
            [Bind(path=str(path)), Bind(host="192.0.2.1", port=80)],
            [Bind(host="0.0.0.0", port=port), Bind(host="127.0.0.3", port=port)],
        ):
            with pytest.raises(StartError):
                await site.move(*binds)
    assert not path.exists()
    for address in site.names():
        assert (await ask(address)).status == 200
    with socket.socket() as sock:  # nothing listens on the wildcard address
        sock.bind(("127.0.0.9", port))


async def test_an_address_that_stays_does_not_yield_to_one_that_overlaps_it():
    """It could not at a start, either."""
    async with opened(LOOPBACK) as old:
        port = old[0].socket.getsockname()[1]
        with pytest.raises(StartError, match="in use"):
            reopen(old, [LOOPBACK, Bind(host="0.0.0.0", port=port)])


async def test_a_socket_that_was_handed_over_does_not_yield_to_one_that_overlaps_it():
    """Its other owner goes on listening, and who came there would wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        async with opened(Bind(fd=os.dup(theirs.fileno()))) as old:
            with pytest.raises(StartError, match="in use"):
                reopen(old, [Bind(host="0.0.0.0", port=theirs.getsockname()[1])])


async def test_a_number_that_is_another_socket_of_ours_by_now_is_refused():
    async with opened(LOOPBACK) as old:
        with pytest.raises(StartError, match="in use by statusd itself"):
            reopen(old, [LOOPBACK, Bind(fd=old[0].socket.fileno())])


async def test_nobody_can_share_a_port_that_two_sockets_shared_for_a_moment():
    port = free_port()
    wildcard = Bind(host="0.0.0.0", port=port)
    async with opened(Bind(host="127.0.0.1", port=port)) as old:
        [new] = reopen(old, [wildcard])
        for one in (*old, new):
            assert one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        with pytest.raises(StartError, match="in use"):
            open_listeners([wildcard])
        await old[0].close()
        with pytest.raises(StartError, match="in use"):
            open_listeners([Bind(host="127.0.0.1", port=port)])
        if os.geteuid() == 0:
            assert stranger(port) == "in use"
        await new.close()


def stranger(port):
    """Return what another user gets who wants to share `port`."""
    code = (
        "import errno, os, socket\nos.setuid(65534)\ns = socket.socket()\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        f"try: s.bind(('0.0.0.0', {port})); s.listen(); print('shared')\n"
        "except OSError as e: print('in use' if e.errno == errno.EADDRINUSE else e)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


async def test_a_listener_without_a_socket_is_left_out_of_it():
    class Memory(trio.abc.Listener):
        async def accept(self):
            raise NotImplementedError

        async def aclose(self):
            pass

    memory = Listener(accepting=Memory(), address="memory")
    assert not memory.mute()
    [new] = reopen([memory], [LOOPBACK])
    await new.close()


async def test_a_mode_that_cannot_be_set_opens_nothing(tmp_path, monkeypatch):
    old_path, new_path = tmp_path / "old.sock", tmp_path / "new.sock"
    async with opened(Bind(path=str(old_path))) as old:

        def refuse(self, mode):
            raise PermissionError(errno.EPERM, "no")

        real = type(old_path).chmod
        monkeypatch.setattr(
            opening.Path,
            "chmod",
            lambda path, mode: real(path, mode) if path == new_path else refuse(path, mode),
        )
        with pytest.raises(StartError, match="no permission"):
            reopen(old, [Bind(path=str(new_path)), Bind(path=str(old_path))])
    assert not new_path.exists()


# The heartbeat


async def test_each_that_accepts_goes_round_also_when_nobody_comes(nursery, autojump_clock, monkeypatch):
    site = await quiet_site(nursery, monkeypatch)
    for _ in range(20):
        await trio.sleep(0.3)
        assert site.server.silence <= BEAT
    site.stop.set()


async def quiet_site(nursery, monkeypatch, *errors):
    """Return a server without sockets, whose clock is trio's."""
    monkeypatch.setattr(accepting, "time", types.SimpleNamespace(perf_counter=trio.current_time))
    site = Site(
        Server(edge_of(service())), [Listener(accepting=Never(errors), address="memory") for _ in range(2)]
    )
    await nursery.start(
        lambda task_status: site.server.run(site.listeners, stop=site.stop, task_status=task_status)
    )
    return site


class Never(trio.abc.Listener):
    """Accepts nobody."""

    def __init__(self, errors):
        self.errors = errors

    async def accept(self):
        await trio.lowlevel.checkpoint()
        for error in self.errors:
            raise error
        await trio.sleep_forever()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_it_goes_round_also_when_descriptors_are_out(nursery, autojump_clock, monkeypatch):
    site = await quiet_site(nursery, monkeypatch, OSError(errno.EMFILE, "too many"))
    for _ in range(50):
        await trio.sleep(0.07)
        assert site.server.silence <= PAUSE
    assert site.edge.guard.failures["accept"] > 20
    site.stop.set()


async def test_the_slowest_counts_and_one_that_has_gone_does_not(nursery, autojump_clock, monkeypatch):
    site = await quiet_site(nursery, monkeypatch)
    site.server._accepting[0]._seen -= 60
    assert site.server.silence >= 60
    await site.server.change(site.listeners[1:])
    assert site.server.silence <= BEAT
    site.stop.set()
    await wait_all_tasks_blocked()
    assert site.server.silence == 0.0


async def test_who_holds_up_the_event_loop_is_seen(nursery):
    site = await Site.run(nursery, LOOPBACK)
    await wait_all_tasks_blocked()
    time.sleep(BEAT + 0.1)  # noqa: ASYNC251  # that is the point
    assert site.server.silence > BEAT
    site.stop.set()


async def test_a_load_is_no_silence(nursery):
    site = await Site.run(nursery, LOOPBACK)
    most = 0.0
    load = Load(site.names()[0])
    async with load.applied():
        while load.answered < 500:
            most = max(most, site.server.silence)
            await trio.sleep(0.001)
    assert most < 1
    assert not load.failures
    assert threading.active_count() < 20
