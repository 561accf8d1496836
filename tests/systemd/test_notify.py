"""The notifier against a fake service manager: real datagrams, real credentials, hostile surroundings."""

import os
import resource
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.systemd.notify import STATUS_BYTES, Notifier, one_line


class Manager:
    """A socket as systemd's: takes datagrams, with the sender's credentials."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.settimeout(5)
        self.socket.bind(address)

    def receive(self):
        data, ancillary, flags, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        assert not flags & socket.MSG_TRUNC
        [(_, kind, credentials)] = ancillary
        assert kind == socket.SCM_CREDENTIALS
        return data.decode(), struct.unpack("iii", credentials)

    def is_empty(self):
        self.socket.setblocking(False)
        try:
            self.socket.recv(1)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager_and_environ(request, tmp_path):
    if request.param == "path":
        address, value = str(tmp_path / "notify"), str(tmp_path / "notify")
    else:
        name = f"statusd-test-{os.getpid()}"
        address, value = f"\0{name}", f"@{name}"
    manager = Manager(address)
    yield manager, {"NOTIFY_SOCKET": value}
    manager.socket.close()


def test_each_state_arrives_as_one_datagram_from_this_process(manager_and_environ):
    manager, environ = manager_and_environ
    notifier = Notifier(environ)
    assert notifier.is_enabled
    assert notifier.ready("ok: 6 sources")
    assert notifier.status("degraded: é → ü")
    assert notifier.errno(98, "port in use")
    assert notifier.stopping()
    messages = [manager.receive() for _ in range(4)]
    assert [text for text, _ in messages] == [
        "READY=1\nSTATUS=ok: 6 sources",
        "STATUS=degraded: é → ü",
        "ERRNO=98\nSTATUS=port in use",
        "STOPPING=1",
    ]
    assert {credentials for _, credentials in messages} == {(os.getpid(), os.getuid(), os.getgid())}
    assert manager.is_empty()


@pytest.mark.parametrize("value", [None, "", "/", "@", "relative", "vsock:2:1", "/a\0b"])
def test_without_a_usable_address_nothing_is_sent(value):
    notifier = Notifier({} if value is None else {"NOTIFY_SOCKET": value})
    assert not notifier.is_enabled
    assert notifier.ready("x")


@pytest.mark.parametrize("value", ["/nonexistent/notify", "@nobody-listens-here", "/" + "x" * 200, "/tmp"])
def test_an_absent_manager_is_no_error(value):
    assert not Notifier({"NOTIFY_SOCKET": value}).ready("x")


def test_a_manager_that_went_and_came_back_is_told_all_it_missed(tmp_path):
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    first = Manager(str(path))
    first.socket.close()
    assert not notifier.ready("one")
    path.unlink()
    second = Manager(str(path))
    assert notifier.status("two")
    assert second.receive()[0] == "READY=1\nSTATUS=two"
    second.socket.close()


def test_a_full_queue_never_blocks_and_ready_is_sent_later(tmp_path):
    path = tmp_path / "notify"
    manager = Manager(str(path))
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    sent = 0
    while notifier.status(f"filler {sent}"):
        sent += 1
        assert sent < 100_000
    assert not notifier.ready("serving")
    for _ in range(sent):
        manager.receive()
    assert notifier.status("serving still")
    assert manager.receive()[0] == "STATUS=serving still\nREADY=1"
    manager.socket.close()


def test_no_descriptor_left_is_no_error(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        assert not notifier.ready("x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert notifier.ready("x")
    manager.socket.close()


def test_a_status_cannot_forge_further_states(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).status(
        "x\nMAINPID=1\r\nSTOPPING=1\u2028\x1b[2J\0end"
    )
    assert manager.receive()[0] == "STATUS=x MAINPID=1 STOPPING=1 [2J end"
    manager.socket.close()


@given(st.text(st.characters(), max_size=3000))
def test_one_line_is_bounded_printable_utf8(text):
    line = one_line(text)
    assert len(line.encode()) <= STATUS_BYTES
    assert line.isprintable()


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=100))
def test_one_line_keeps_ordinary_text(text):
    assert one_line(text) == text


def test_a_long_status_is_cut_between_characters():
    line = one_line("é" * 3000)
    assert line.startswith("é" * 500)
    assert line.endswith("é…")
    assert len(line.encode()) >= STATUS_BYTES - 2


def test_the_socket_directory_may_have_any_name(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    manager = Manager(os.fsencode(folder / "n"))
    assert Notifier({"NOTIFY_SOCKET": str(folder / "n")}).ready("x")
    manager.socket.close()
