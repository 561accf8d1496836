"""The core by itself: scripts driven by hand, on a clock of the test's own."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.client import Disconnected, TreeChange, TreeSnapshot
from statusd.client.address import Address
from statusd.client.asking import SILENCE, Asking, Patience
from statusd.client.faults import timed_out
from statusd.client.steps import Close, Connect, Emit, Pause, Receive, Run, Send
from tests.client.conftest import response, stream
from tests.client.samples import node

ADDRESS = Address.parse("127.0.0.1:8000")
SNAPSHOT = f"retry: 500\n\nid: 1\nevent: snapshot\ndata: {json.dumps({'revision': 1, 'path': '', 'node': node()})}\n\n"
CHANGE = (
    'id: 2\nevent: change\ndata: {"revision": 2, "changes": [{"path": "a", "node": {"status": "ok"}}]}\n\n'
)


@pytest.fixture
def steady(monkeypatch):
    monkeypatch.setattr("statusd.client.asking.random.random", lambda: 0.0)


def asking(now):
    return Asking(address=ADDRESS, timeout=5.0, clock=lambda: now[0])


def pieces(data, cuts):
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start != end]


def drive(run, answers):
    """Perform the steps of `run` with `answers` to its waits, until there are none; return what it emitted."""
    emitted = []
    answers = iter(answers)
    while run.step is not None:
        if isinstance(run.step, Emit):
            emitted.append(run.step.update)
        if isinstance(run.step, Receive):
            answer = next(answers, None)
            if answer is None:
                return emitted
            run.give(answer)
        else:
            run.give()
    return emitted


@given(st.lists(st.integers(1, 700)))
def test_any_split_of_an_event_stream_gives_the_same_updates(cuts):
    whole = stream(SNAPSHOT, ": beat\n\n", CHANGE)
    updates = drive(Run(asking([0.0]).follow("")), pieces(whole, cuts))
    assert [type(update) for update in updates] == [TreeSnapshot, TreeChange]


@given(st.lists(st.integers(1, 300)), st.booleans())
def test_any_split_of_an_answer_gives_the_same_state(cuts, is_early):
    body = json.dumps({"revision": 3, "path": "", "node": node()}).encode()
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n" if is_early else b""
    run = Run(asking([0.0]).state("", since=None, wait=None, max_age=None, no_cache=False))
    drive(run, pieces(early + response(body), cuts))
    assert run.result.revision == 3


def test_a_question_has_one_deadline_from_the_connection_to_the_last_byte():
    now = [100.0]
    run = Run(asking(now).state("", since=1, wait=60.0, max_age=None, no_cache=False))
    assert run.step == Connect(165.0)
    now[0] = 120.0
    run.give()
    assert isinstance(run.step, Send)
    assert run.step.until == 165.0
    run.give()
    assert run.step == Receive(165.0)


def test_a_stream_counts_as_dead_three_heartbeats_after_its_last_byte():
    now = [0.0]
    run = Run(asking(now).follow(""))
    head, rest = pieces(stream(SNAPSHOT), [95])
    for _ in range(2):
        run.give()
    assert run.step == Receive(5.0)  # the header is due like any answer
    now[0] = 3.0
    run.give(head)
    assert run.step == Receive(3.0 + SILENCE)
    now[0] = 40.0
    run.give(rest)
    run.give()
    assert run.step == Receive(40.0 + SILENCE)
    assert SILENCE == 45.0


def test_the_pauses_follow_the_server_grow_and_end_with_a_good_stream(steady):
    now = [0.0]
    run = Run(asking(now).follow(""))
    drive(run, [stream(SNAPSHOT)])
    pauses = []
    for _ in range(8):
        run.fail(timed_out("it"))
        seen = []
        while not isinstance(run.step, Pause):
            seen.append(run.step)
            run.give()
        assert isinstance(seen[0], Close)
        assert isinstance(seen[1].update, Disconnected)
        pauses.append(run.step.until)
        run.give()
        assert isinstance(run.step, Connect)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert drive(run, [stream(SNAPSHOT)]) == [TreeSnapshot(revision=1, path="", node=node())]
    run.fail(timed_out("it"))
    run.give()
    run.give()
    assert run.step == Pause(0.5)


@given(st.one_of(st.none(), st.integers(0, 10**15)), st.integers(0, 10**6))
def test_no_server_can_make_a_client_hammer_it_or_wait_for_ever(retry, failures):
    assert 0.1 <= Patience().pause(retry, failures) <= 45


def test_an_id_that_cannot_stand_in_a_header_is_not_sent():
    run = Run(asking([0.0]).follow(""))
    bad = SNAPSHOT.replace("id: 1", "id: 1\u20ac")
    drive(run, [stream(bad)])
    run.give(b"")
    while not isinstance(run.step, Send):
        run.give()
    assert b"Last-Event-ID" not in run.step.data
