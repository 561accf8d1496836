"""What only one of the two clients can be asked: cancellation, interruption, closing."""

import json
import threading

import pytest
import trio

from statusd.client import Client, ClientError, Disconnected, TreeChange, TreeSnapshot, TrioClient
from tests.client.conftest import says, stream
from tests.client.samples import node

FIRST = f"id: 1\nevent: snapshot\ndata: {json.dumps({'revision': 1, 'path': '', 'node': node()})}\n\n"
SECOND = 'id: 2\nevent: change\ndata: {"revision": 2, "changes": []}\n\n'


async def test_cancelling_a_wait_for_an_update_loses_none_and_keeps_the_connection(serve):
    go_on = threading.Event()

    def script(server, peer):
        whole = stream(FIRST, SECOND)
        peer.sendall(whole[:-20])
        go_on.wait(10)
        peer.sendall(whole[-20:])
        server.stopping.wait(10)

    server = serve(script)
    async with TrioClient(server.url) as client:
        events = client.events()
        assert isinstance(await anext(events), TreeSnapshot)
        for _ in range(3):
            with trio.move_on_after(0.02) as scope:
                await anext(events)
            assert scope.cancelled_caught
        go_on.set()
        assert await anext(events) == TreeChange(2, ())
    assert len(server.requests) == 1


async def test_an_update_that_is_there_is_not_lost_to_a_cancelled_scope(serve):
    server = serve(says(stream(FIRST + SECOND), then_waits=True))
    async with TrioClient(server.url) as client, client.events() as events:
        await anext(events)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert await anext(events) == TreeChange(2, ())


async def test_closing_the_client_ends_its_streams(serve):
    server = serve(says(stream(FIRST), then_waits=True))
    async with TrioClient(server.url) as client:
        events = client.events()
        await anext(events)
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_closing_from_another_task_ends_a_waiting_iterator(serve, nursery):
    server = serve(says(stream(FIRST), then_waits=True))
    client = TrioClient(server.url)
    events = client.events()
    await anext(events)
    ended = trio.Event()

    async def wait():
        assert [update async for update in events] == []
        ended.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    await client.aclose()
    with trio.fail_after(5):
        await ended.wait()


def test_closing_from_another_thread_ends_a_waiting_iterator(serve):
    server = serve(says(stream(FIRST), then_waits=True))
    client = Client(server.url)
    events = client.events()
    next(events)
    timer = threading.Timer(0.05, client.close)
    timer.start()
    assert list(events) == []
    timer.join()


def test_closing_ends_a_pause_between_two_streams(serve, monkeypatch):
    monkeypatch.setattr("statusd.client.following.pause", lambda *_: 1000.0)
    client = Client(serve(says(stream(FIRST))).url)
    events = client.events()
    assert [type(next(events)) for _ in range(2)] == [TreeSnapshot, Disconnected]
    timer = threading.Timer(0.05, client.close)
    timer.start()
    assert list(events) == []
    timer.join()


async def test_closing_ends_a_pause_of_the_trio_client_too(serve, monkeypatch, nursery):
    monkeypatch.setattr("statusd.client.following.pause", lambda *_: 1000.0)
    client = TrioClient(serve(says(stream(FIRST))).url)
    events = client.events()
    assert [type(await anext(events)) for _ in range(2)] == [TreeSnapshot, Disconnected]
    nursery.start_soon(client.aclose)
    assert [update async for update in events] == []


def test_closing_the_blocking_client_ends_its_streams(serve):
    server = serve(says(stream(FIRST), then_waits=True))
    with Client(server.url) as client:
        events = client.events()
        next(events)
    assert list(events) == []
    with client.events() as again:
        next(again)
    assert list(again) == []


def test_an_interrupted_wait_goes_on_without_a_gap(serve, monkeypatch):
    server = serve(
        says(stream(FIRST), then_waits=True),
        says(stream(SECOND), then_waits=True),
    )
    with Client(server.url) as client:
        events = client.events()
        next(events)
        monkeypatch.setattr("statusd.client.sockets._left", interrupted_once(lambda until: 10.0))
        with pytest.raises(KeyboardInterrupt):
            next(events)
        assert next(events) == TreeChange(2, ())
    assert "Last-Event-ID: 1\r\n" in server.requests[1]


def test_an_interrupted_question_is_interrupted_and_nothing_else(serve, monkeypatch):
    server = serve(says(b""))
    monkeypatch.setattr("statusd.client.sockets._left", interrupted_once(lambda until: 1.0))
    with pytest.raises(KeyboardInterrupt):
        Client(server.url).state()


def interrupted_once(function):
    calls = iter([KeyboardInterrupt])

    def call(*arguments):
        for error in calls:
            raise error
        return function(*arguments)

    return call


def test_errors_have_words_for_programs_and_for_people():
    error = ClientError("refused", "It was refused: start it.")
    assert (error.reason, str(error)) == ("refused", "It was refused: start it.")
