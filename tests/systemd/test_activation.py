"""Sockets that systemd hands over: real ones, inherited by a real process; and whose place they take."""

import fcntl
import json
import os
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.errors import StartError
from statusd.systemd.activation import FIRST, VARIABLES, Inherited, activated, forget, inherited
from statusd.values import Bind

LOOPBACK = Bind(host="127.0.0.1", port=8000)
SECURE = Bind(host="0.0.0.0", port=8443, is_tls=True)
OUTSIDE = Bind(host="0.0.0.0", port=8001)

LAUNCHER = """\
import os, sys
pid, first, *given = sys.argv[1:]
for index, descriptor in enumerate(map(int, given)):
    os.dup2(descriptor, int(first) + index)
    os.close(descriptor)
if pid == "own":
    os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-c", os.environ.pop("SCRIPT")])
"""
"""Becomes the daemon, with sockets from descriptor 3 on, as systemd does."""
SCRIPT = """\
import json, os, subprocess, sys
from statusd.errors import StartError
from statusd.systemd.activation import forget, inherited
try:
    found = inherited(os.environ)
except StartError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
again = inherited(os.environ)
forget(os.environ)
child = '''
import json, os
def is_socket(name):
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    except OSError:
        return False
print(json.dumps([sum(map(is_socket, os.listdir("/proc/self/fd"))), [n for n in os.environ if n[:6] == "LISTEN"]]))
'''
done = subprocess.run([sys.executable, "-c", child], close_fds=False, stdout=subprocess.PIPE, check=True)
print(json.dumps({
    "found": [(one.fd, one.name) for one in found],
    "is_same": found == again,
    "child": json.loads(done.stdout),
}))
"""


def started(sockets, environ, *, pid="own"):
    """Return what a process finds that is started as systemd starts one, with `sockets` from descriptor 3 on."""
    high = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 100) for sock in sockets]
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    try:
        done = subprocess.run(
            [sys.executable, "-c", LAUNCHER, pid, str(FIRST), *map(str, high)],
            env={**clean, **environ, "SCRIPT": SCRIPT},
            pass_fds=high,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        for fd in high:
            os.close(fd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def listening(tmp_path):
    """Three sockets that listen: IPv4, IPv6 and Unix."""
    sockets = [
        socket.create_server(("127.0.0.1", 0)),
        socket.create_server(("::1", 0), family=socket.AF_INET6),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    ]
    sockets[2].bind(str(tmp_path / "http.sock"))
    sockets[2].listen()
    yield sockets
    for sock in sockets:
        sock.close()


def test_what_was_handed_over_is_found_by_name_and_kept_from_other_programs(listening):
    said = started(listening, {"LISTEN_FDS": "3", "LISTEN_FDNAMES": "http:probes:https"})
    assert said == {
        "found": [[3, "http"], [4, "probes"], [5, "https"]],
        "is_same": True,
        "child": [0, []],
    }


@pytest.mark.parametrize("names", [{}, {"LISTEN_FDNAMES": ""}])
def test_sockets_without_names_are_unknown(listening, names):
    said = started(listening[:2], {"LISTEN_FDS": "2", **names})
    assert said["found"] == [[3, "unknown"], [4, "unknown"]]


@pytest.mark.parametrize(
    "environ",
    [
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": ""},
        {"LISTEN_FDS": "nonsense", "LISTEN_PID": "1"},
    ],
)
def test_sockets_for_another_process_are_left_alone(listening, environ):
    assert started(listening[:1], environ, pid="another")["found"] == []


def test_none_is_handed_over_where_none_is_said():
    assert started([], {"LISTEN_FDS": "0"})["found"] == []


def kinds():
    """Yield sockets that cannot be served on, and what is said of each."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    yield udp, "carries no streams; pass one with ListenStream="
    sequential = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield sequential, "carries no streams; pass one with ListenStream="
    quiet = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    quiet.bind(("127.0.0.1", 0))
    yield quiet, "does not listen; set ListenStream= and Accept=no"
    server = socket.create_server(("127.0.0.1", 0))
    yield socket.create_connection(server.getsockname()), "does not listen; set ListenStream= and Accept=no"
    server.close()
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    yield netlink, "carries no streams"
    with open(os.devnull) as file:  # noqa: PTH123  # a descriptor that is no socket
        yield file, "is no open socket; pass one with ListenStream="


def test_what_cannot_be_served_on_is_named_with_the_remedy(listening):
    for wrong, message in kinds():
        said = started([listening[0], wrong], {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:mine"})
        assert said["error"].startswith(f"the socket that systemd passed as mine (fd 4) {message}"), said
        wrong.close()


def test_a_descriptor_that_is_not_open_is_named(listening):
    said = started(listening[:1], {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"})
    assert said["error"].startswith("the socket that systemd passed as b (fd 4) is no open socket; ")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "LISTEN_FDS is no number"),
        ({"LISTEN_FDS": "-1"}, "LISTEN_FDS is no number"),
        ({"LISTEN_FDS": "1.0"}, "LISTEN_FDS is no number"),
        ({"LISTEN_FDS": "\u0661"}, "LISTEN_FDS is no number"),
        ({"LISTEN_FDS": "9" * 5000}, "LISTEN_FDS is no number"),
        ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}, "LISTEN_FDNAMES has 2 names for 1 sockets"),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, "LISTEN_FDNAMES has 1 names for 2 sockets"),
    ],
)
def test_variables_that_make_no_sense_are_an_error_with_the_remedy(environ, message):
    with pytest.raises(StartError, match=message) as caught:
        inherited({"LISTEN_PID": str(os.getpid()), **environ})
    assert "; have systemd set " in str(caught.value)


def test_the_variables_are_forgotten_and_nothing_else():
    environ = dict.fromkeys([*VARIABLES, "NOTIFY_SOCKET", "LISTENER"], "x")
    forget(environ)
    assert environ == {"NOTIFY_SOCKET": "x", "LISTENER": "x"}
    forget(environ)


def passed(*names):
    """Return sockets with these names, from descriptor 3 on."""
    return tuple(Inherited(FIRST + index, name) for index, name in enumerate(names))


@pytest.mark.parametrize(
    ("names", "configured", "served"),
    [
        # nothing handed over: as configured
        ((), ([LOOPBACK], [OUTSIDE]), (["127.0.0.1:8000"], ["0.0.0.0:8001"])),
        # each kind takes the place of its own list only
        (("http",), ([LOOPBACK], [OUTSIDE]), (["fd://3"], ["0.0.0.0:8001"])),
        (("probes",), ([LOOPBACK], [OUTSIDE]), (["127.0.0.1:8000"], ["fd://3"])),
        (("http", "probes"), ([LOOPBACK], [OUTSIDE]), (["fd://3"], ["fd://4"])),
        (("probes", "http"), ([LOOPBACK], []), (["fd://4"], ["fd://3"])),
        # any other name serves everything, in plain
        (("statusd.socket", "unknown", "x"), ([LOOPBACK], []), (["fd://3", "fd://4", "fd://5"], [])),
        # TLS by name, or else not
        (("https", "probes-https"), ([LOOPBACK], []), (["tls:fd://3"], ["tls:fd://4"])),
        (("https", "probes-https"), ([SECURE], [SECURE]), (["tls:fd://3"], ["tls:fd://4"])),
        (("http",), ([SECURE, LOOPBACK], []), (["fd://3"], [])),
        (("https", "http"), ([SECURE], []), (["tls:fd://3", "fd://4"], [])),
        (("http",), ([LOOPBACK], [SECURE]), (["fd://3"], [str(SECURE)])),
        # named in the configuration: served as it says, and takes no other's place
        (("http",), ([LOOPBACK, Bind(fd=3)], []), (["127.0.0.1:8000", "fd://3"], [])),
        (("http",), ([LOOPBACK], [Bind(fd=3, is_tls=True)]), (["127.0.0.1:8000"], ["tls:fd://3"])),
        (("https", "http"), ([LOOPBACK, Bind(fd=3)], []), (["fd://4", "fd://3"], [])),
        # one that nobody handed over is for the opening of sockets to complain about
        (("http",), ([Bind(fd=9)], []), (["fd://3", "fd://9"], [])),
    ],
)
def test_whose_place_a_socket_takes(names, configured, served):
    binds, probes = activated(passed(*names), *configured, has_certificate=True)
    assert ([str(one) for one in binds], [str(one) for one in probes]) == served


@pytest.mark.parametrize("name", ["https", "probes-https"])
def test_a_socket_for_tls_wants_a_certificate(name):
    with pytest.raises(
        StartError, match=rf"passed as {name} wants a certificate; add the table \[http.tls\]"
    ):
        activated(passed(name), [LOOPBACK], [], has_certificate=False)
    binds = [Bind(fd=3)]  # named in the configuration, which says that it is plain
    assert activated(passed(name), binds, [], has_certificate=False) == ((Bind(fd=3),), ())


@pytest.mark.parametrize(
    ("names", "configured", "secure"),
    [
        (("http",), ([SECURE], []), "https"),
        (("x",), ([SECURE, Bind(fd=9)], []), "https"),
        (("https", "http"), ([SECURE, Bind(fd=3, is_tls=True)], []), "https"),
        (("probes",), ([LOOPBACK], [SECURE]), "probes-https"),
    ],
)
def test_what_was_to_be_encrypted_is_not_served_in_the_clear(names, configured, secure):
    with pytest.raises(StartError) as caught:
        activated(passed(*names), *configured, has_certificate=True)
    assert str(caught.value) == (
        f"the socket that systemd passed as {names[-1]} would serve in the clear in the place of {SECURE}; "
        f"set FileDescriptorName={secure} in its socket unit, or take the address out of the configuration"
    )


addresses = st.lists(st.sampled_from([LOOPBACK, SECURE, OUTSIDE, Bind(path="/x"), Bind(fd=3), Bind(fd=4)]))


@given(
    st.lists(st.sampled_from(["http", "https", "probes", "probes-https", "x"])),
    addresses.filter(bool),
    addresses,
)
def test_every_socket_that_was_handed_over_is_served_and_nothing_is_listened_on_twice(names, bind, probes):
    try:
        binds, others = activated(passed(*names), bind, probes, has_certificate=True)
    except StartError:
        assert any(one.is_tls for one in (*bind, *probes))
        return
    assert binds
    assert {one.fd for one in passed(*names)} <= {one.fd for one in (*binds, *others)}
    free = {one.fd for one in passed(*names)} - {one.fd for one in (*bind, *probes)}
    assert sum(one.fd in free for one in (*binds, *others)) == len(free)
