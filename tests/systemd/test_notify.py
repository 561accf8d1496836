"""The notifier against a fake service manager: real datagrams, real credentials, hostile surroundings."""

import os
import resource
import socket
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.systemd.notify import STATUS_BYTES, Notifier, one_line, watchdog_interval


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

    def full(self, notifier):
        """Fill its queue, as while it is frozen; return how many messages that took."""
        sent = 0
        while notifier.status(f"filler {sent}"):
            sent += 1
            assert sent < 100_000
        return sent

    def thaw(self, sent):
        """Take what filled the queue."""
        for _ in range(sent):
            self.receive()

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


def test_a_reload_is_told_with_its_time_on_the_monotonic_clock(manager_and_environ):
    """As systemd 253 compares it with the time at which it sent the signal."""
    manager, environ = manager_and_environ
    notifier = Notifier(environ)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notifier.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notifier.ready("ok")
    first, moment = manager.receive()[0].split("\n")
    assert first == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= after
    assert manager.receive()[0] == "READY=1\nSTATUS=ok"
    assert manager.is_empty()


def test_pings_and_longer_timeouts_are_datagrams_of_their_own(manager_and_environ):
    manager, environ = manager_and_environ
    notifier = Notifier(environ)
    assert notifier.watchdog()
    assert notifier.extend_timeout(2.5)
    assert [manager.receive()[0] for _ in range(2)] == [
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=2500000",
    ]
    assert manager.is_empty()


@pytest.mark.parametrize(
    ("seconds", "sent"),
    [
        (0.0, 0),
        (-1.0, 0),
        (float("nan"), 0),
        (float("inf"), 86_400_000_000),
        (1e300, 86_400_000_000),
        (1e-9, 0),
    ],
)
def test_no_time_to_ask_for_is_an_error(tmp_path, seconds, sent):
    manager = Manager(str(tmp_path / "notify"))
    assert Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).extend_timeout(seconds)
    assert manager.receive()[0] == f"EXTEND_TIMEOUT_USEC={sent}"
    manager.socket.close()


@pytest.fixture
def frozen(manager_and_environ):
    """A notifier, its manager whose queue is full, and how many messages fill it."""
    manager, environ = manager_and_environ
    notifier = Notifier(environ)
    return notifier, manager, manager.full(notifier)


def left(frozen):
    """Return the keys of what is sent once the manager of `frozen` goes on."""
    notifier, manager, sent = frozen
    manager.thaw(sent)
    assert notifier.resend()
    text = manager.receive()[0]
    assert manager.is_empty()
    return [line.partition("=")[0] for line in text.split("\n")]


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
    sent = manager.full(notifier)
    assert not notifier.ready("serving")
    manager.thaw(sent)
    assert notifier.status("serving still")
    assert manager.receive()[0] == "READY=1\nSTATUS=serving still"
    manager.socket.close()


def test_a_reload_that_a_full_queue_hid_arrives_as_one_that_has_ended(frozen):
    """systemd 253 and later take RELOADING with READY, in one datagram, for just that; 252 heeds the later line."""
    notifier, *_ = frozen
    assert not notifier.reloading()
    assert not notifier.ready("ok")
    assert left(frozen) == ["RELOADING", "MONOTONIC_USEC", "READY", "STATUS"]


def test_a_reload_that_still_runs_is_not_told_as_ended(frozen):
    notifier, *_ = frozen
    assert not notifier.ready("ok")
    assert not notifier.reloading()
    assert left(frozen) == ["RELOADING", "MONOTONIC_USEC", "STATUS"]


def test_once_it_stops_nothing_of_before_is_told(frozen):
    notifier, *_ = frozen
    assert not notifier.ready("ok")
    assert not notifier.reloading()
    assert not notifier.stopping()
    assert left(frozen) == ["STOPPING", "STATUS"]


def test_a_stop_cannot_be_taken_back(manager_and_environ):
    manager, environ = manager_and_environ
    notifier = Notifier(environ)
    assert notifier.stopping()
    assert notifier.ready("ok")
    assert notifier.reloading()
    assert manager.receive()[0] == "STOPPING=1"
    assert manager.is_empty()


def test_pings_that_a_full_queue_did_not_take_are_not_sent_later(frozen):
    notifier, *_ = frozen
    assert not notifier.watchdog()
    assert not notifier.extend_timeout(5)
    assert left(frozen) == ["STATUS"]


def test_a_ping_takes_along_what_was_left(frozen):
    notifier, manager, sent = frozen
    assert not notifier.ready("serving")
    manager.thaw(sent)
    assert notifier.watchdog()
    assert manager.receive()[0] == "READY=1\nSTATUS=serving\nWATCHDOG=1"
    assert notifier.resend()
    assert manager.is_empty()


CALLS = {
    "ready": lambda notifier: notifier.ready("x"),
    "reloading": Notifier.reloading,
    "stopping": Notifier.stopping,
    "status": lambda notifier: notifier.status("x"),
    "watchdog": Notifier.watchdog,
    "extend": lambda notifier: notifier.extend_timeout(1),
    "full": None,
    "empty": None,
}


@given(st.lists(st.sampled_from(sorted(CALLS)), max_size=30))
def test_whenever_the_queue_is_full_the_manager_ends_up_with_the_true_state(calls):
    name = f"statusd-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    notifier, fillers = Notifier({"NOTIFY_SOCKET": f"@{name}"}), Notifier({"NOTIFY_SOCKET": f"@{name}"})
    truth, told, received = None, None, []

    def take_all():
        manager.socket.setblocking(False)
        while True:
            try:
                received.append(manager.socket.recv(4096).decode())
            except BlockingIOError:
                return

    for call in calls:
        if call == "full":
            while fillers.status("filler"):
                pass
        elif call == "empty":
            take_all()
        else:
            CALLS[call](notifier)
            if call in {"ready", "reloading", "stopping"} and truth != "STOPPING":
                truth = call.upper()
    take_all()
    notifier.resend()
    take_all()
    manager.socket.close()
    for text in received:
        # As systemd 252 does: the last of the three wins.
        states = [
            key
            for key in (line.partition("=")[0] for line in text.split("\n"))
            if key in {"READY", "RELOADING", "STOPPING"}
        ]
        told = states[-1] if states else told
    assert told == truth


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "1.5"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
    ],
)
def test_the_watchdog_is_wanted_where_the_environment_says_so_of_this_process(environ, seconds):
    assert watchdog_interval(environ) == seconds


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
