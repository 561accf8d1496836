import errno
import os
import socket
import stat

import attrs
import pytest
import trio

from statusd.errors import StartError
from statusd.values import Bind
from statusd.web.edge import sockets
from statusd.web.edge.sockets import open_listeners

LOOPBACK = Bind(host="127.0.0.1")


async def opened(*binds):
    """Open and close again; return the addresses."""
    listeners = open_listeners(binds)
    for listener in listeners:
        await listener.close()
    return [listener.address for listener in listeners]


def refusal(*binds):
    with pytest.raises(StartError) as caught:
        open_listeners(binds)
    return str(caught.value)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def test_no_binds_no_listeners():
    assert open_listeners([]) == []


async def test_a_port_chosen_by_the_system_is_in_the_address():
    [address] = await opened(LOOPBACK)
    host, _, port = address.rpartition(":")
    assert host == "http://127.0.0.1"
    assert int(port) > 0


async def test_both_families_take_the_same_port():
    port = free_port()
    binds = Bind(host="127.0.0.1", port=port), Bind(host="::", port=port)
    assert await opened(*binds) == [f"http://127.0.0.1:{port}", f"http://[::]:{port}"]


async def test_a_port_that_was_just_closed_can_be_taken_again():
    port = free_port()
    for _ in range(2):
        [listener] = open_listeners([Bind(host="127.0.0.1", port=port)])
        client = await trio.open_tcp_stream("127.0.0.1", port)
        served = await listener.accepting.accept()
        await served.aclose()
        await listener.close()
        await client.aclose()


async def test_a_port_in_use_names_it_and_the_remedy():
    [listener] = open_listeners([LOOPBACK])
    bind = Bind(host="127.0.0.1", port=listener.accepting.socket.getsockname()[1])
    assert (
        refusal(bind)
        == f"{bind} is in use; stop the other program or choose another address in [http] or with --bind"
    )
    await listener.close()


async def test_when_one_fails_those_opened_are_closed_and_removed(tmp_path):
    port, path = free_port(), tmp_path / "http.sock"
    good = Bind(host="127.0.0.1", port=port)
    refusal(good, Bind(path=str(path)), Bind(host="192.0.2.1"))
    assert not path.exists()
    assert await opened(good) == [f"http://127.0.0.1:{port}"]


def test_a_foreign_address_is_named():
    assert refusal(Bind(host="192.0.2.1", port=80)) == (
        "192.0.2.1:80 is not an address of this host; choose another address in [http] or with --bind"
    )


@pytest.mark.parametrize(
    ("bind", "code", "words"),
    [
        (
            Bind(host="127.0.0.1", port=80),
            errno.EACCES,
            "127.0.0.1:80 cannot be opened: no permission; ports below 1024",
        ),
        (
            Bind(path="/root/x"),
            errno.EACCES,
            "unix:/root/x cannot be opened: no permission; make its directory writable",
        ),
        (
            Bind(host="::1"),
            errno.EAFNOSUPPORT,
            "[::1]:0 cannot be opened: this host has no such kind of address",
        ),
        (
            Bind(host="127.0.0.1"),
            errno.ENOBUFS,
            "127.0.0.1:0 cannot be opened: No buffer space available; choose",
        ),
    ],
)
def test_the_systems_refusals_are_put_in_words(monkeypatch, bind, code, words):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sockets.socket.socket, "bind", refuse, raising=True)
    assert words in refusal(bind)


async def test_a_unix_socket_is_open_to_all_and_removed_at_the_end(tmp_path):
    path = tmp_path / "http.sock"
    [listener] = open_listeners([Bind(path=str(path))])
    assert listener.address == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    await (await trio.open_unix_socket(path)).aclose()
    await listener.close()
    assert not path.exists()
    await listener.close()  # once more does no harm


async def test_a_stale_unix_socket_is_replaced(tmp_path):
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        stale.listen()
    assert path.exists()
    assert await opened(Bind(path=str(path))) == [f"unix:{path}"]


@pytest.mark.parametrize("backlog", ["free", "full"])
async def test_a_unix_socket_in_use_is_left_alone(tmp_path, backlog):
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
        other.bind(str(path))
        other.listen(0)
        if backlog == "full":
            waiting.connect(str(path))
        assert refusal(Bind(path=str(path))).startswith(f"unix:{path} is in use; ")
        assert path.exists()


async def test_another_kind_of_unix_socket_is_left_alone(tmp_path):
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert f"unix:{path} cannot be opened: " in refusal(Bind(path=str(path)))
        assert path.exists()


def test_a_file_is_never_removed(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    assert refusal(Bind(path=str(path))) == (
        f"unix:{path} exists and is no socket; remove it or choose another path in [http] or with --bind"
    )
    assert path.read_text() == "data"


def test_a_missing_directory_is_named(tmp_path):
    assert "its directory does not exist" in refusal(Bind(path=str(tmp_path / "no" / "http.sock")))


def test_a_path_too_long_for_a_socket_is_named(tmp_path):
    assert "too long" in refusal(Bind(path=str(tmp_path / ("x" * 120))))


async def test_a_socket_that_another_process_has_put_there_since_stays(tmp_path):
    path = tmp_path / "http.sock"
    [first] = open_listeners([Bind(path=str(path))])
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        await first.close()
        assert path.exists()


async def test_a_unix_socket_that_somebody_removed_is_no_trouble(tmp_path):
    path = tmp_path / "http.sock"
    [listener] = open_listeners([Bind(path=str(path))])
    path.unlink()
    await listener.close()


@pytest.mark.parametrize(
    ("family", "address", "expected"),
    [
        (socket.AF_INET, ("127.0.0.1", 0), "http://127.0.0.1:"),
        (socket.AF_INET6, ("::1", 0), "http://[::1]:"),
        (socket.AF_UNIX, b"\0statusd-test-%d" % os.getpid(), "unix:@statusd-test-"),
    ],
    ids=["IPv4", "IPv6", "Unix"],
)
async def test_an_inherited_socket_of_any_family_is_taken(family, address, expected):
    with socket.socket(family) as sock:
        sock.bind(address)
        sock.listen()
        os.set_inheritable(fd := sock.detach(), True)
        [listener] = open_listeners([Bind(fd=fd)])
        assert listener.address.startswith(expected)
        assert not os.get_inheritable(fd)
        await listener.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_an_inherited_socket_that_does_not_listen_is_refused_and_left_open(kind):
    with socket.socket(socket.AF_INET, kind) as sock:
        message = refusal(Bind(fd=sock.fileno()))
        assert message.startswith(f"fd://{sock.fileno()} is not a listening stream socket; ")
        os.fstat(sock.fileno())


def test_an_inherited_file_is_refused_and_left_open(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert "is not an open socket" in refusal(Bind(fd=file.fileno()))
        os.fstat(file.fileno())


def test_a_closed_descriptor_is_refused():
    assert refusal(Bind(fd=10_000)).startswith("fd://10000 is not an open socket; ")


# TLS, modes, and who else may come


def tls(bind):
    return attrs.evolve(bind, is_tls=True)


async def kept(*binds, **options):
    """Open and close again; return the listeners."""
    listeners = open_listeners(binds, **options)
    for listener in listeners:
        await listener.close()
    return listeners


async def test_an_address_with_tls_says_so(tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        path = tmp_path / "http.sock"
        binds = [LOOPBACK, Bind(host="::1"), Bind(path=str(path)), Bind(fd=sock.detach())]
        listeners = await kept(*map(tls, binds))
    assert all(listener.is_tls for listener in listeners)
    schemes = [listener.address.removesuffix(str(path)).rpartition(":")[0] for listener in listeners]
    assert schemes == ["https://127.0.0.1", "https://[::1]", "tls:unix", "https://127.0.0.1"]


async def test_those_for_probe_endpoints_alone_come_last_and_say_so():
    listeners = await kept(LOOPBACK, tls(LOOPBACK), probes=[tls(LOOPBACK), LOOPBACK])
    assert [(listener.is_probes_only, listener.is_tls) for listener in listeners] == [
        (False, False),
        (False, True),
        (True, True),
        (True, False),
    ]


async def test_when_one_for_probes_fails_all_are_closed(tmp_path):
    path = tmp_path / "http.sock"
    with pytest.raises(StartError, match=r"192\.0\.2\.1:80 is not an address of this host"):
        open_listeners([Bind(path=str(path))], [Bind(host="192.0.2.1", port=80)])
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
async def test_a_unix_socket_has_its_mode_before_anybody_can_connect(tmp_path, monkeypatch, mode, umask):
    path = tmp_path / "http.sock"
    seen = []

    class Watched(socket.socket):
        def listen(self, *backlog):
            seen.append(stat.S_IMODE(path.stat().st_mode))
            super().listen(*backlog)

    monkeypatch.setattr(sockets.socket, "socket", Watched)
    old = os.umask(umask)
    try:
        [listener] = open_listeners([Bind(path=str(path))], mode=mode)
    finally:
        os.umask(old)
    assert seen == [mode]
    assert stat.S_IMODE(path.stat().st_mode) == mode
    await listener.close()


@pytest.mark.parametrize(
    ("host", "is_exposed"),
    [("127.0.0.1", False), ("127.5.6.7", False), ("::1", False), ("0.0.0.0", True), ("::", True)],
)
@pytest.mark.parametrize("is_inherited", [False, True])
async def test_what_other_hosts_may_reach_is_known(host, is_exposed, is_inherited):
    if is_inherited:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.bind((host, 0))
            sock.listen()
            bind = Bind(fd=sock.detach())
    else:
        bind = Bind(host=host)
    [listener] = await kept(bind)
    assert listener.is_exposed is is_exposed


async def test_an_ipv4_loopback_address_in_ipv6_is_one():
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::ffff:127.0.0.1", 0))
        sock.listen()
        [listener] = await kept(Bind(fd=sock.detach()))
    assert not listener.is_exposed


async def test_no_other_host_reaches_a_unix_socket(tmp_path):
    [listener] = await kept(Bind(path=str(tmp_path / "http.sock")))
    assert not listener.is_exposed
