import json
import os
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from statusd.control import asking, server
from statusd.control.asking import ControlError, ask, socket_of
from statusd.control.place import Peer, open_socket, socket_path
from statusd.control.protocol import LONGEST_REQUEST, VERSION, RefusedError
from statusd.control.server import MOST_CONNECTIONS, ControlServer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


async def echo(arguments, peer):
    return {"arguments": dict(arguments), "uid": peer.uid, "pid": peer.pid}


async def refuse(_arguments, _peer):
    raise RefusedError("not_so", "Not so.")


async def fail(_arguments, _peer):
    raise ZeroDivisionError("secret")


async def large(_arguments, _peer):
    return "x" * 8_000_000


@pytest.fixture
async def control(path, nursery):
    given = ControlServer(path, {"echo": echo, "refuse": refuse, "fail": fail, "large": large})
    await nursery.start(given.run)
    return given


async def asked(path, *arguments):
    return await trio.to_thread.run_sync(ask, path, *arguments)


async def exchange(path, text):
    """Send `text` and return all that comes back."""
    async with await trio.open_unix_socket(str(path)) as stream:
        with suppress(trio.BrokenResourceError):  # it has answered before it had read all
            await stream.send_all(text)
        return await everything(stream)


async def everything(stream):
    """Return what comes until the other end closes, which resets where it has not read all."""
    received = b""
    with suppress(trio.BrokenResourceError):
        async for chunk in stream:
            received += chunk
    return received


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def request(**changes):
    return json.dumps({"version": VERSION, "command": "echo"} | changes).encode() + b"\n"


async def test_a_command_is_carried_out_and_who_asked_is_known(control, path):
    assert await asked(path, "echo", {"a": "ä\n"}) == {
        "arguments": {"a": "ä\n"},
        "uid": os.geteuid(),
        "pid": os.getpid(),
    }


async def test_a_refusal_and_a_fault_are_told_in_words_and_a_fault_without_its_text(control, path, caplog):
    with pytest.raises(ControlError, match=r"^Not so\.$") as caught:
        await asked(path, "refuse")
    assert caught.value.error == "not_so"
    with pytest.raises(ControlError, match="its log has more") as caught:
        await asked(path, "fail")
    assert caught.value.error == "internal_error"
    assert "secret" not in str(caught.value)
    assert "ZeroDivisionError" in caplog.text
    assert await asked(path, "echo")  # it goes on


async def test_an_unknown_command_is_answered_with_those_there_are(control, path):
    with pytest.raises(ControlError, match="echo, fail, large, refuse") as caught:
        await asked(path, "nonsense")
    assert caught.value.error == "unknown_command"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"\n", "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad_request"),
        (b"\x00\xff\n", "bad_request"),
        (b"[" * 60_000 + b"\n", "bad_request"),
        (b"{}\n", "bad_request"),
        (b'{"version":1}\n', "bad_request"),
        (request(command=3), "bad_request"),
        (request(arguments=[]), "bad_request"),
        (b'{"version":1,"command":"\xff"}\n', "bad_request"),
        (b'{"version":1,"command":"echo","arguments":{"a":"\xff"}}\n', "bad_request"),
        (b'{"version":1,"command":"echo","arguments":{"\xff":0}}\n', "bad_request"),
        (request(version="1"), "bad_request"),
        (request(version=1.5), "bad_request"),
        (request(version=2), "other_version"),
        (request(version=0, arguments=[]), "other_version"),
        (b"x" * LONGEST_REQUEST + b"\n", "too_large"),
        (b"x" * 10 * LONGEST_REQUEST, "too_large"),
    ],
)
async def test_what_is_no_request_is_answered_in_words_and_costs_nothing(control, path, text, error):
    answered = json.loads(await exchange(path, text))
    assert (answered["version"], answered["ok"], answered["error"]) == (VERSION, False, error)
    assert answered["message"].endswith(".")
    assert await asked(path, "echo")


async def test_a_request_of_just_the_longest_size_is_taken(control, path):
    rest = LONGEST_REQUEST - len(request(arguments={"a": ""}))
    answered = json.loads(await exchange(path, request(arguments={"a": "x" * rest})))
    assert answered["ok"]
    with pytest.raises(ControlError, match="too long"):
        await asked(path, "echo", {"a": "x" * LONGEST_REQUEST})


async def test_a_request_that_comes_in_bytes_is_read_and_what_follows_it_is_not(control, path):
    async with await trio.open_unix_socket(str(path)) as stream:
        for byte in request() + request():
            try:
                await stream.send_all(bytes([byte]))
            except trio.BrokenResourceError:
                break
        answers = await everything(stream)
    assert answers.count(b"\n") == 1


async def test_clients_that_are_silent_slow_or_gone_hold_nothing_up_for_long(control, path, monkeypatch):
    monkeypatch.setattr(server, "DEADLINE", 0.3)
    async with trio.open_nursery() as nursery:
        silent = [await trio.open_unix_socket(str(path)) for _ in range(MOST_CONNECTIONS * 2)]
        for stream in silent[:4]:
            await stream.send_all(b'{"version":')
        for stream in silent[4:8]:
            await stream.send_all(b'{"version":1,"command":"large"}\n')  # and never reads
        with trio.fail_after(5):
            assert await asked(path, "echo")  # behind all of them
        for stream in silent:
            nursery.start_soon(stream.aclose)


async def test_a_silent_client_is_told_that_it_was_too_slow(control, path, monkeypatch):
    monkeypatch.setattr(server, "DEADLINE", 0.1)
    async with await trio.open_unix_socket(str(path)) as stream:
        answered = json.loads(await everything(stream))
    assert answered["error"] == "too_slow"


async def test_a_thousand_that_hang_up_at_any_point_leave_nothing(control, path):
    before = descriptors()
    for number in range(1000):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(str(path))
            sock.send(request()[: number % 40])
        except BlockingIOError:
            await trio.sleep(0.01)
        sock.close()
    assert await asked(path, "echo")
    with trio.fail_after(5):
        while descriptors() > before + 2:
            await trio.sleep(0.01)


async def test_no_more_than_so_many_are_served_at_once(path, nursery):
    inside, most = 0, 0
    gate = trio.Event()

    async def wait(_arguments, _peer):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await gate.wait()
        inside -= 1

    await nursery.start(ControlServer(path, {"wait": wait}).run)
    async with trio.open_nursery() as clients:
        for _ in range(MOST_CONNECTIONS + 5):
            clients.start_soon(exchange, path, request(command="wait"))
        while inside < MOST_CONNECTIONS:
            await trio.sleep(0.01)
        await trio.sleep(0.05)
        gate.set()
    assert most == MOST_CONNECTIONS


async def test_a_kernel_that_hands_out_no_connection_ends_nothing(control, path, monkeypatch):
    monkeypatch.setattr(server, "PAUSE", 0.01)
    with trio.socket.socket(socket.AF_UNIX) as any_socket:
        kind = type(any_socket)
    accept, tries = kind.accept, []

    async def failing(self):
        tries.append(self)
        if len(tries) < 4:
            raise OSError(24, "Too many open files")
        return await accept(self)

    assert await asked(path, "echo")
    monkeypatch.setattr(kind, "accept", failing)
    for _ in range(3):
        assert await asked(path, "echo")
    assert len(tries) > 4


async def test_the_file_lets_in_its_owner_alone_from_the_first_moment(path, monkeypatch):
    seen = []
    bind, listen = socket.socket.bind, socket.socket.listen

    class Watched(socket.socket):
        def bind(self, where):
            bind(self, where)
            seen.append(stat.S_IMODE(Path(where).stat().st_mode))

        def listen(self, backlog):
            seen.append(stat.S_IMODE(path.stat().st_mode))
            listen(self, backlog)

    monkeypatch.setattr("statusd.control.place.socket.socket", Watched)
    for umask in (0o000, 0o077, 0o777):
        before = os.umask(umask)
        try:
            open_socket(path).close()
        finally:
            os.umask(before)
        path.unlink()
    assert seen == [0o600, 0o600, 0o600, 0o600, 0o000, 0o600]


async def test_others_cannot_connect(control, path, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
        "try: s.connect(sys.argv[1])\nexcept PermissionError: sys.exit(7)"
    )
    run = partial(subprocess.run, [sys.executable, "-c", code, str(path)], check=False)
    assert (await trio.to_thread.run_sync(run)).returncode == 7


async def test_a_stale_socket_is_replaced_and_a_living_one_is_not(path, nursery, caplog):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    async with trio.open_nursery() as inner:
        await inner.start(ControlServer(path, {"echo": echo}).run)
        assert await asked(path, "echo")
        second = ControlServer(path, {})
        await inner.start(second.run)  # returns: it has nothing to serve
        assert "another daemon listens there" in caplog.text
        assert await asked(path, "echo")
        inner.cancel_scope.cancel()
    assert not path.exists()


async def test_a_socket_that_somebody_else_put_there_since_stays(path):
    async with trio.open_nursery() as inner:
        await inner.start(ControlServer(path, {}).run)
        path.unlink()
        path.write_text("other")
        inner.cancel_scope.cancel()
    assert path.read_text() == "other"


@pytest.mark.parametrize("obstacle", ["file", "folder", "absent", "long"])
async def test_a_socket_that_cannot_be_opened_is_said_and_the_daemon_runs(
    tmp_path, nursery, caplog, obstacle
):
    path = tmp_path / "control.sock"
    if obstacle == "file":
        path.write_text("mine")
    elif obstacle == "folder":
        path.mkdir()
    elif obstacle == "absent":
        path = tmp_path / "absent" / "control.sock"
    else:
        path = tmp_path / ("x" * 120)
    await nursery.start(ControlServer(path, {}).run)
    assert "cannot be opened" in caplog.text
    assert obstacle != "file" or path.read_text() == "mine"


async def test_without_a_runtime_directory_there_is_none(nursery):
    assert socket_path({}) is None
    await nursery.start(ControlServer(None, {}).run)


def test_the_first_of_systemds_directories_is_meant():
    assert str(socket_path({"RUNTIME_DIRECTORY": "/run/a:/run/b"})) == "/run/a/control.sock"
    assert str(socket_of(None, {"RUNTIME_DIRECTORY": "/run/a:/run/b"})) == "/run/a/control.sock"
    assert str(socket_of("/x", {"RUNTIME_DIRECTORY": "/run/a"})) == "/x/control.sock"
    assert str(socket_of(None, {})) == "/run/statusd/control.sock"


@pytest.mark.parametrize("what", ["absent", "stale", "file"])
def test_no_daemon_is_said_with_where_it_was_looked_for(path, what):
    if what == "stale":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif what == "file":
        path.write_text("")
    with pytest.raises(ControlError, match=str(path)) as caught:
        ask(path, "echo")
    assert caught.value.error == "not_running"
    assert "statusd is not running" in str(caught.value)


def test_a_socket_that_may_not_be_used_is_said_with_the_remedy(path, monkeypatch):
    def deny(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asking.socket.socket, "connect", deny, raising=False)
    with pytest.raises(ControlError, match="run it as root or as the service's user"):
        ask(path, "echo")


class Fake:
    """Something that answers with `text` whatever it is asked."""

    def __init__(self, path, text, *, hold=0.0):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(path))
        self.sock.listen()
        self.text, self.hold = text, hold
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        connected, _ = self.sock.accept()
        with connected:
            connected.recv(65536)
            connected.sendall(self.text)
            if self.hold:
                self.over.wait(self.hold)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.sock.close()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "connection_lost"),
        (b"HTTP/1.1 400 Bad Request\r\n", "bad_answer"),
        (b'{"version":1}\n', "bad_answer"),
        (b'{"version":1,"ok":true,"result":"\xff"}\n', "bad_answer"),
        (b'{"version":7,"anything":[]}\n', "other_version"),
        (b'{"version":1,"ok":false,"error":"e","message":"M."}\n', "e"),
    ],
)
def test_whatever_answers_is_told_in_words(path, text, error):
    with Fake(path, text), pytest.raises(ControlError) as caught:
        ask(path, "echo")
    assert caught.value.error == error


def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(path, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 0.2)
    with Fake(path, b'{"version"', hold=10.0), pytest.raises(ControlError, match="not known") as caught:
        ask(path, "echo")
    assert caught.value.error == "timeout"


async def test_a_large_answer_arrives_whole(control, path):
    assert await asked(path, "large") == "x" * 8_000_000


IN_A_NAMESPACE = """
import ctypes, os, sys
import trio
from statusd.control.server import ControlServer
from pathlib import Path
async def who(_arguments, peer):
    return peer.uid
async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(ControlServer(Path(sys.argv[1]), {"who": who}).run)
        print("listening", flush=True)
        await trio.sleep_forever()
libc = ctypes.CDLL(None)
os.setresgid(64000, 64000, 64000)
os.setresuid(64000, 64000, 64000)
assert libc.unshare(0x10000000) == 0
print("unshared", flush=True)
sys.stdin.readline()
trio.run(main)
"""


@pytest.mark.parametrize(("mapping", "uid"), [("0 0 1\n64000 64000 1\n", 0), ("64000 64000 1\n", 65534)])
def test_root_gets_in_also_where_the_service_has_a_user_namespace_of_its_own(tmp_path, mapping, uid):
    if os.geteuid() != 0:
        pytest.skip("needs root, to map users")
    for folder in tmp_path.parents:
        if folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o755)
    tmp_path.chmod(0o777)
    path = tmp_path / "control.sock"
    command = [sys.executable, "-c", IN_A_NAMESPACE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout.readline() == "unshared\n"
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{service.pid}/{name}").write_text(mapping)
            service.stdin.write("\n")
            service.stdin.flush()
            assert service.stdout.readline() == "listening\n"
            assert ask(path, "who") == uid
        finally:
            service.kill()


def test_the_peer_is_who_connected(path):
    with open_socket(path) as listening, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        connected, _ = listening.accept()
        with connected:
            assert Peer.of(connected) == Peer(os.getpid(), os.geteuid())
