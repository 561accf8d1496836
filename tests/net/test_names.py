"""Names: looked up once, off the loop, and never in the way of anything else."""

import socket
import threading

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from statusd.errors import ProbeError
from statusd.net.limits import MAX_ADDRESSES, MAX_LOOKUPS, MAX_NAMES, NAME_FRESH, NAME_STALE
from statusd.net.names import Resolver, look_up

V4 = socket.AF_INET
V6 = socket.AF_INET6


@attrs.define(eq=False)
class NameServer:
    """A lookup that a test opens and closes; it blocks, in its thread, while it is closed."""

    answer: object = ((V4, ("192.0.2.1", 0)),)
    asked: list = attrs.field(factory=list)
    gate: threading.Event = attrs.field(factory=threading.Event)
    threads: set = attrs.field(factory=set)

    def __call__(self, host):
        self.asked.append(host)
        self.threads.add(threading.get_ident())
        assert self.gate.wait(20)
        answer = self.answer(host) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


@pytest.fixture
def names():
    server = NameServer()
    server.gate.set()
    yield server
    server.gate.set()


@pytest.fixture
def resolver(names):
    return Resolver(lookup=names)


async def refusal(resolver, host="backend.example"):
    with pytest.raises(ProbeError) as caught:
        await resolver.resolve(host, 80)
    assert caught.value.reason == "name_not_resolved"
    return caught.value.message


async def landed(resolver):
    """Wait until no lookup is under way."""
    with trio.fail_after(5):
        while resolver._running:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", [(V4, ("127.0.0.1", 80))]),
        ("::1", [(V6, ("::1", 80, 0, 0))]),
        ("localhost", [(V6, ("::1", 80, 0, 0)), (V4, ("127.0.0.1", 80))]),
        ("Redis.LocalHost.", [(V6, ("::1", 80, 0, 0)), (V4, ("127.0.0.1", 80))]),
    ],
)
async def test_addresses_and_localhost_are_not_looked_up(resolver, names, host, addresses):
    assert await resolver.resolve(host, 80) == addresses
    assert names.asked == []


async def test_an_interface_stays_with_its_address():
    (address,) = await Resolver().resolve("fe80::1%lo", 80)
    assert address == (V6, ("fe80::1", 80, 0, socket.if_nametoindex("lo")))


async def test_a_name_is_looked_up_in_a_thread_and_gets_the_port(resolver, names):
    assert await resolver.resolve("backend.example", 8080) == [(V4, ("192.0.2.1", 8080))]
    assert names.threads
    assert threading.get_ident() not in names.threads


async def test_families_alternate_and_are_few(resolver, names):
    names.answer = [(V6, (f"2001:db8::{n}", 0, 0, 0)) for n in range(20)] + [(V4, ("192.0.2.1", 0))]
    addresses = await resolver.resolve("backend.example", 80)
    assert [family for family, _ in addresses] == [V6, V4] + [V6] * (MAX_ADDRESSES - 2)
    assert [sockaddr[0] for _, sockaddr in addresses[:3]] == ["2001:db8::0", "192.0.2.1", "2001:db8::1"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "raw text"), "has no address"),
        (socket.gaierror(socket.EAI_AGAIN, "raw text"), "name server does not answer"),
        (OSError(24, "raw text"), "short of something"),
        (UnicodeError("raw text"), "cannot be a host name"),
        (MemoryError("raw text"), "could not be looked up"),
    ],
)
async def test_failures_are_told_apart(resolver, names, error, words):
    names.answer = error
    message = await refusal(resolver)
    assert words in message
    assert "backend.example" in message
    assert "raw text" not in message


async def test_a_lookup_that_finds_nothing_is_a_failure(resolver, names):
    names.answer = []
    assert "has no address" in await refusal(resolver)


@pytest.mark.parametrize("host", ["", "a\0b", "x" * 64 + ".example", "a..b"])
async def test_what_cannot_be_a_name_is_refused(host):
    await refusal(Resolver(), host)


async def test_the_real_lookup_reads_the_hosts_file():
    assert look_up("localhost")


async def test_all_who_wait_share_one_lookup(resolver, names):
    names.gate.clear()
    results = []

    async def wait():
        results.append(await resolver.resolve("backend.example", 80))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        names.gate.set()
    assert len(results) == 5
    assert names.asked == ["backend.example"]


async def test_probes_that_give_up_leave_one_lookup_behind(resolver, names):
    names.gate.clear()
    for _ in range(10):
        with trio.move_on_after(0.001) as scope:
            await resolver.resolve("backend.example", 80)
        assert scope.cancelled_caught
    names.gate.set()
    await landed(resolver)
    # what it found in the end is used
    await resolver.resolve("backend.example", 80)
    assert names.asked == ["backend.example"]


async def test_forty_hung_lookups_stop_nothing_else(resolver, names):
    hung = threading.Event()

    def answer(host):
        if host.startswith("hung"):
            hung.wait(20)
        return [(V4, ("192.0.2.1", 0))]

    names.answer = answer
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(resolver.resolve, f"hung{number}.example", 80)
        await wait_all_tasks_blocked()
        with trio.fail_after(5):
            await trio.to_thread.run_sync(int)
            assert await resolver.resolve("good.example", 80)
        hung.set()


async def test_lookups_over_the_limit_queue(names):
    resolver = Resolver(lookup=names, limit=2)
    names.gate.clear()
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(resolver.resolve, f"n{number}.example", 80)
        await wait_all_tasks_blocked()
        with trio.fail_after(5):
            while len(names.asked) < 2:
                await trio.lowlevel.checkpoint()
        assert resolver._running == 2
        names.gate.set()
    assert sorted(names.asked) == [f"n{number}.example" for number in range(5)]
    assert MAX_LOOKUPS > 40


async def test_no_threads_left_is_a_failure_of_the_probe(resolver, names, monkeypatch):
    def refuse(*_args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.lowlevel, "start_thread_soon", refuse)
    assert "could not be looked up" in await refusal(resolver)
    monkeypatch.undo()
    assert await resolver.resolve("backend.example", 80)


async def test_an_answer_is_used_until_it_is_old(resolver, names, mock_clock):
    await resolver.resolve("backend.example", 80)
    mock_clock.jump(NAME_FRESH)
    await resolver.resolve("backend.example", 80)
    assert len(names.asked) == 1
    names.answer = [(V4, ("192.0.2.2", 0))]
    mock_clock.jump(1)
    # the old one at once, the new one when it is there
    assert await resolver.resolve("backend.example", 80) == [(V4, ("192.0.2.1", 80))]
    await landed(resolver)
    assert await resolver.resolve("backend.example", 80) == [(V4, ("192.0.2.2", 80))]
    assert len(names.asked) == 2


async def test_the_last_answer_serves_while_the_name_server_hangs_or_is_away(resolver, names, mock_clock):
    await resolver.resolve("backend.example", 80)
    names.gate.clear()
    mock_clock.jump(NAME_FRESH + 1)
    for _ in range(3):
        assert await resolver.resolve("backend.example", 80)
    assert resolver._running == 1
    names.answer = socket.gaierror(socket.EAI_AGAIN, "")
    names.gate.set()
    await landed(resolver)
    assert len(names.asked) == 2
    assert await resolver.resolve("backend.example", 80)
    await landed(resolver)
    mock_clock.jump(NAME_STALE)
    await refusal(resolver)


async def test_a_name_that_is_gone_is_gone_at_once(resolver, names, mock_clock):
    await resolver.resolve("backend.example", 80)
    names.answer = socket.gaierror(socket.EAI_NONAME, "")
    mock_clock.jump(NAME_FRESH + 1)
    assert await resolver.resolve("backend.example", 80)
    await landed(resolver)
    await refusal(resolver)


async def test_failures_are_not_remembered(resolver, names):
    names.answer = socket.gaierror(socket.EAI_NONAME, "")
    await refusal(resolver)
    names.answer = [(V4, ("192.0.2.1", 0))]
    assert await resolver.resolve("backend.example", 80)


async def test_few_names_are_remembered(resolver):
    for number in range(MAX_NAMES + 5):
        resolver._name(f"n{number}")
    assert len(resolver._names) == MAX_NAMES


def test_a_lookup_may_outlive_the_loop(names):
    names.gate.clear()

    async def give_up():
        with trio.move_on_after(0.01):
            await Resolver(lookup=names).resolve("backend.example", 80)

    trio.run(give_up)
    names.gate.set()
