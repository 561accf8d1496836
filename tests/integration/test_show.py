"""The client and its commands against the real daemon."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from functools import partial
from pathlib import Path

import pytest
import trio

import statusd.commands.watch as watching
from statusd.client import Client, ClientError, Disconnected, TreeChange, TreeMirror, TreeSnapshot, TrioClient
from tests.integration.inprocess import running
from tests.stages import configured

SCRIPT = Path(sys.executable).parent / "statusd"
DEADLINE = 20
CONFIG = """
[sources.disk]
plugin = "local"
files = ["{file}"]
interval = 0.05
[sources.mock]
plugin = "mock"
[models]
"a/b" = "disk"
mock = "mock"
"""


@pytest.fixture
def disk(tmp_path):
    """A file whose presence makes the source `disk` ok."""
    file = tmp_path / "file"
    file.write_text("here")
    return file


@contextlib.asynccontextmanager
async def daemon(disk):
    async with running(CONFIG.format(file=disk)) as asked:
        await asked.until_reason("sources/disk", "ok")
        yield asked


def timeless(node):
    """Return a node without the times that no revision tells of."""
    kept = {key: value for key, value in node.items() if key not in {"observed_at", "expires_at", "children"}}
    return {**kept, "children": {name: timeless(child) for name, child in node["children"].items()}}


async def until(events, mirror, holds):
    """Apply updates until the mirror is as wanted; return them."""
    seen = []
    with trio.fail_after(DEADLINE):
        while not holds(mirror):
            seen.append(await anext(events))
            mirror.apply(seen[-1])
    return seen


def disk_is(status, mirror):
    node = mirror.find("models/a%2Fb")
    return node is not None and node["status"] == status and mirror.is_connected


async def test_the_mirror_is_the_tree_after_every_change(disk):
    async with daemon(disk) as asked, TrioClient(asked.base) as client, client.events() as events:
        mirror = TreeMirror()
        await until(events, mirror, partial(disk_is, "ok"))
        for _ in range(3):
            disk.unlink()
            await until(events, mirror, partial(disk_is, "down"))
            disk.write_text("again")
            await until(events, mirror, partial(disk_is, "ok"))
        assert await tree_at_the_mirrors_revision(client, events, mirror) == timeless(mirror.node)


async def tree_at_the_mirrors_revision(client, events, mirror):
    with trio.fail_after(DEADLINE):
        while True:
            state = await client.state()
            await until(events, mirror, lambda mirror: mirror.revision >= state.revision)  # noqa: B023  # awaited here
            if mirror.revision == state.revision:
                return timeless(state.node)


async def test_a_branch_is_followed_and_its_changes_only(disk):
    async with daemon(disk) as asked, TrioClient(asked.base) as client:
        events = client.events("models/a%2Fb")
        first = await anext(events)
        assert isinstance(first, TreeSnapshot)
        assert first.path == "models/a%2Fb"
        disk.unlink()
        second = await anext(events)
        assert isinstance(second, TreeChange)
        assert [(change.path, change.node["status"]) for change in second.changes] == [
            ("models/a%2Fb", "down")
        ]


async def test_a_lost_stream_goes_on_without_a_gap(disk):
    async with daemon(disk) as asked, TrioClient(asked.base) as client:
        events = client.events()
        mirror = TreeMirror()
        await until(events, mirror, partial(disk_is, "ok"))
        events._following._connection.drop()
        disk.unlink()
        await asked.until_reason("sources/disk", "missing")
        seen = await until(events, mirror, partial(disk_is, "down"))
        assert not any(isinstance(update, TreeSnapshot) for update in seen)


async def test_state_waits_for_a_change_of_its_branch(disk):
    async with daemon(disk) as asked, TrioClient(asked.base) as client:
        before = await client.state("sources/disk")
        assert (before.path, before.node["status"], before.is_stale) == ("sources/disk", "ok", False)
        assert before.age is not None
        same = await client.state("sources/disk", since=before.revision, wait=0.1)
        assert same.revision == before.revision
        disk.unlink()
        after = await client.state("sources/disk", since=before.revision, wait=10)
        assert after.revision > before.revision
        assert after.node["status"] == "down"


async def test_a_fresh_answer_can_be_asked_for(tmp_path):
    file = tmp_path / "file"
    file.write_text("here")
    async with (
        running(CONFIG.format(file=file).replace("0.05", "60")) as asked,
        TrioClient(asked.base) as client,
    ):
        await asked.until_reason("sources/disk", "ok")
        file.unlink()
        assert (await client.state("sources/disk")).node["status"] == "ok"
        # Between two such probes lies a floor, so it may take a second question.
        state = await asked.until(
            partial(client.state, "sources/disk", no_cache=True), lambda state: state.node["status"] == "down"
        )
        assert state.age < 2


async def test_the_blocking_client_says_the_same(disk):
    async with daemon(disk) as asked:

        def ask():
            with Client(asked.base) as client:
                state = client.state("models")
                explanation = client.explain("models/a%2Fb")
                snapshot = next(client.events("models"))
                with pytest.raises(ClientError, match='has no node "models/nothing"') as caught:
                    client.state("models/nothing")
                return state, explanation, snapshot, caught.value.reason

        state, explanation, snapshot, reason = await trio.to_thread.run_sync(ask)
        assert timeless(state.node) == timeless(snapshot.node)
        assert (state.revision, reason) == (snapshot.revision, "no_such_node")
        assert (explanation.path, explanation.status) == ("models/a%2Fb", "ok")
        assert explanation.because
        assert explanation.document["rollup"]["rule"] == "best"


async def statusd(*arguments, environ=None, **options):
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    environ = {"PATH": "/usr/bin:/bin", **coverage, **(environ or {})}
    with trio.fail_after(DEADLINE):
        return await trio.run_process(
            [SCRIPT, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environ,
            **options,
        )


async def test_show_prints_the_tree(disk):
    async with daemon(disk) as asked:
        done = await statusd("show", "--url", asked.base)
        assert (done.returncode, done.stderr) == (0, b"")
        lines = done.stdout.decode().splitlines()
        assert lines[0].startswith("/ ")
        assert any(re.fullmatch(r"    a%2Fb +ok +[0-9.]+ s.*", line) for line in lines)
        assert b"\x1b" not in done.stdout
        branch = await statusd("show", "models", "--json", environ={"STATUSD_URL": asked.base})
        document = json.loads(branch.stdout)
        assert (document["path"], list(document["node"]["children"])) == ("models", ["a%2Fb", "mock"])


async def test_show_and_explain_name_what_there_is_instead(disk):
    async with daemon(disk) as asked:
        for command in ("show", "explain", "watch"):
            done = await statusd(command, "sources/disc", "--url", asked.base)
            assert (done.returncode, done.stdout) == (1, b"")
            assert done.stderr.decode().startswith(
                'statusd: There is no node "sources/disc". Near it: sources/disk'
            )


async def test_explain_prints_why(disk):
    async with daemon(disk) as asked:
        done = await statusd("explain", "/models/a%2Fb", "--url", asked.base)
        assert done.returncode == 0
        text = done.stdout.decode()
        assert text.startswith("models/a%2Fb: ok\n")
        assert "\nbecause\n  - " in text
        assert "best, decided by disk" in text
        done = await statusd("explain", "--url", asked.base)
        assert done.stdout.decode().startswith("/: ok\n")
        done = await statusd("explain", "sources/disk", "--json", "--url", asked.base)
        assert json.loads(done.stdout)["reading"]["status"] == "ok"


@pytest.mark.parametrize("command", [("show",), ("watch",), ("explain", "models"), ("watch", "--json")])
async def test_a_daemon_that_is_not_there_is_a_fault_with_a_remedy(command, tmp_path):
    done = await statusd(*command, "--url", f"unix:{tmp_path}/none.sock")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"statusd: There is no socket at unix:{tmp_path}/none.sock: start the server, or correct the path. "
        "(The address is from --url.)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("explain", "a", "b"), 2),
        (("show", "a", "b"), 2),
        (("show", "--config", "/nowhere.toml"), 78),
        (("show", "--url", "x"), 2),
    ],
)
async def test_exit_codes(arguments, code):
    done = await statusd(*arguments)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


@contextlib.contextmanager
def started(*arguments, **options):
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    with subprocess.Popen(
        [SCRIPT, *arguments],
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm", **coverage},
        stderr=subprocess.PIPE,
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def line_with(process, words):
    def read():
        while line := process.stdout.readline():
            if words in line:
                return line
        raise AssertionError(f"it ended without {words}")

    with trio.fail_after(DEADLINE):
        return await trio.to_thread.run_sync(read, abandon_on_cancel=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
async def test_watch_prints_changes_until_a_signal(disk, number, code):
    async with daemon(disk) as asked:
        with started("watch", "sources", "--url", asked.base, stdout=subprocess.PIPE) as process:
            await line_with(process, b" sources/disk ok")
            disk.unlink()
            await line_with(process, b" sources/disk down (")
            process.send_signal(number)
            assert await trio.to_thread.run_sync(process.wait, DEADLINE) == code
            assert process.stderr.read() == b""


async def test_watch_ends_with_its_reader_also_while_nothing_changes(disk):
    async with daemon(disk) as asked:
        with started("watch", "--json", "--url", asked.base, stdout=subprocess.PIPE) as process:
            assert json.loads(await line_with(process, b"snapshot"))["event"] == "snapshot"
            process.stdout.close()
            assert await trio.to_thread.run_sync(process.wait, DEADLINE) == 1
            assert process.stderr.read() == b""


def test_watch_ends_quietly_when_the_writer_finds_out_together_with_who_watches_the_pipe(monkeypatch):
    class Nowhere:
        def trio_client(self):
            return None

    async def follow(*_):
        try:
            await trio.sleep_forever()
        finally:
            raise BrokenPipeError

    monkeypatch.setattr(watching, "_follow", follow)
    read, write = os.pipe()
    os.close(read)
    # The command line ends without a word for that one, and with a traceback for a group of two.
    with os.fdopen(write, "w") as output, pytest.raises(BrokenPipeError):
        watching.watch("", Nowhere(), output, {}, as_json=False)


async def test_watch_follows_a_daemon_that_starts_again(disk, tmp_path):
    path = tmp_path / "s.sock"
    config = tmp_path / "statusd.toml"
    config.write_text(configured(f'[http]\nbind = ["unix:{path}"]\n' + CONFIG.format(file=disk)))

    async def ready(process):
        with trio.fail_after(DEADLINE):
            await trio.to_thread.run_sync(read_until_ready, process)

    def read_until_ready(process):
        while b"is ready" not in (line := process.stderr.readline()):
            assert line

    with started("run", "--config", str(config)) as first:
        await ready(first)
        async with TrioClient(f"unix:{path}") as client:
            events = client.events()
            mirror = TreeMirror()
            await until(events, mirror, partial(disk_is, "ok"))
            before = mirror.revision
            first.terminate()
            await trio.to_thread.run_sync(first.wait)
            with started("run", "--config", str(config)) as second:
                await ready(second)
                disk.unlink()
                seen = await until(events, mirror, partial(disk_is, "down"))
                assert isinstance(seen[0], Disconnected)
                assert any(isinstance(update, TreeSnapshot) for update in seen)
                assert mirror.revision > before


class Terminal:
    """A pseudo-terminal, and what was written to it."""

    def __init__(self, columns, rows):
        self.inner, self.outer = pty.openpty()
        self.resize(columns, rows)
        self.text = ""

    def resize(self, columns, rows):
        fcntl.ioctl(self.outer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, pattern, process):
        deadline = time.monotonic() + DEADLINE
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self.inner], [], [], 0.1)[0]:
                self.text += os.read(self.inner, 65536).decode()
            elif process.poll() is not None:
                raise AssertionError(f"it ended without {pattern}: {self.text} {process.stderr.read()}")

    def close(self):
        os.close(self.inner)
        os.close(self.outer)


@pytest.fixture
def terminal():
    terminal = Terminal(100, 40)
    yield terminal
    terminal.close()


async def test_watch_draws_on_a_terminal_and_gives_it_back(disk, terminal):
    async with daemon(disk) as asked:
        with started("watch", "--url", asked.base, stdout=terminal.outer) as process:
            see = partial(trio.to_thread.run_sync, terminal.until)
            await see(r"(?s)\x1b\[\?1049h.*disk +\x1b\[32mok.*\x1b\[J", process)
            disk.unlink()
            await see(r"disk +\x1b\[31mdown\x1b\[0m", process)
            terminal.text = ""
            terminal.resize(30, 5)
            process.send_signal(signal.SIGWINCH)
            await see(r"(?s)more lines.*\x1b\[J", process)
            frame = terminal.text[terminal.text.rindex("\x1b[H") :]
            shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).splitlines()
            assert len(shown) <= 5
            assert max(map(len, shown)) < 30
            process.send_signal(signal.SIGINT)
            await see(r"\x1b\[\?25h\x1b\[\?1049l", process)
            assert await trio.to_thread.run_sync(process.wait, DEADLINE) == 0


def is_stopped(process):
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_watch_gives_the_terminal_back_while_it_is_suspended(disk, terminal):
    async with daemon(disk) as asked:
        with started("watch", "--url", asked.base, stdout=terminal.outer) as process:
            see = partial(trio.to_thread.run_sync, terminal.until)
            await see(r"(?s)\x1b\[\?1049h.*\x1b\[J", process)
            process.send_signal(signal.SIGTSTP)
            await see(r"\x1b\[\?25h\x1b\[\?1049l", process)
            with trio.fail_after(DEADLINE):
                while not is_stopped(process):
                    await trio.sleep(0.01)
            terminal.text = ""
            process.send_signal(signal.SIGCONT)
            await see(r"(?s)\x1b\[\?1049h.*\x1b\[J", process)
