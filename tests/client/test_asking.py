"""The core by itself: on a connection that is a script, and a clock of the test's own."""

import itertools
import json
import math
from collections import deque

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.client import ClientError, Disconnected, TreeChange, TreeSnapshot
from statusd.client.address import Address
from statusd.client.asking import about_state, ask
from statusd.client.connection import run
from statusd.client.faults import timed_out
from statusd.client.following import SILENCE, Following, pause
from tests.client.conftest import response, stream
from tests.client.samples import node

SNAPSHOT = f"retry: 500\n\nid: 1\nevent: snapshot\ndata: {json.dumps({'revision': 1, 'path': '', 'node': node()})}\n\n"
CHANGE = (
    'id: 2\nevent: change\ndata: {"revision": 2, "changes": [{"path": "a", "node": {"status": "ok"}}]}\n\n'
)
FAULT = object()
ADDRESS = Address.parse("127.0.0.1:8000")


@attrs.define(eq=False)
class Scripted:
    """Receives what it was given, at the instants that it was given; notes every step with its deadline."""

    answers: deque = attrs.field(converter=deque)
    time: float = 0.0
    address: Address = ADDRESS
    until: float = math.inf
    is_closed: bool = False
    steps: list = attrs.field(factory=list)
    sent: list = attrs.field(factory=list)

    def now(self):
        return self.time

    async def connect(self):
        self.steps.append(("connect", self.until))

    async def send(self, data):
        self.steps.append(("send", self.until))
        self.sent.append(data)

    async def receive(self):
        self.steps.append(("receive", self.until))
        at, answer = self.answers.popleft()
        self.time = max(self.time, at)
        if answer is FAULT:
            raise timed_out("it")
        return answer

    async def sleep(self, until):
        self.steps.append(("sleep", until))
        self.time = max(self.time, until)

    def drop(self):
        self.steps.append(("drop", self.until))

    def close(self):
        self.is_closed = True


@pytest.fixture
def steady(monkeypatch):
    monkeypatch.setattr("statusd.client.following.random.random", lambda: 0.0)


def pieces(data, cuts):
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start != end]


def at_once(answers):
    return [(0.0, answer) for answer in answers]


def followed(connection, count):
    following = Following(connection, "", 5.0)
    return [run(following.next()) for _ in range(count)]


def state_of(connection, *, wait=None, timeout=5.0):
    question = about_state("", since=None, wait=wait, max_age=None, no_cache=False)
    return run(ask(question, connection, timeout))


@given(st.lists(st.integers(1, 700)))
def test_any_split_of_an_event_stream_gives_the_same_updates(cuts):
    whole = stream(SNAPSHOT, ": beat\n\n", CHANGE)
    updates = followed(Scripted(at_once(pieces(whole, cuts))), 2)
    assert [type(update) for update in updates] == [TreeSnapshot, TreeChange]


@given(st.lists(st.integers(1, 300)), st.booleans())
def test_any_split_of_an_answer_gives_the_same_state(cuts, is_early):
    body = json.dumps({"revision": 3, "path": "", "node": node()}).encode()
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n" if is_early else b""
    assert state_of(Scripted(at_once(pieces(early + response(body), cuts)))).revision == 3


def test_a_question_has_one_deadline_from_the_connection_to_the_last_byte():
    whole = response(json.dumps({"revision": 3, "path": "", "node": node()}).encode())
    connection = Scripted([(120.0, whole[:9]), (130.0, whole[9:-9]), (140.0, whole[-9:])], 100.0)
    state_of(connection, wait=60.0)
    assert connection.steps == [("connect", 165.0), ("send", 165.0), *[("receive", 165.0)] * 3]


def test_a_stream_counts_as_dead_three_heartbeats_after_its_last_byte():
    head, rest = pieces(stream(SNAPSHOT), [95])
    connection = Scripted([(3.0, head), (40.0, rest), (41.0, FAULT)])
    assert [type(update) for update in followed(connection, 2)] == [TreeSnapshot, Disconnected]
    deadlines = [until for step, until in connection.steps if step == "receive"]
    assert deadlines == [5.0, 3.0 + SILENCE, 40.0 + SILENCE]  # the header is due like any answer
    assert SILENCE == 45.0


def test_the_pauses_follow_the_server_grow_and_end_with_a_good_stream(steady):
    good = stream(SNAPSHOT)
    connection = Scripted(at_once([good, *[FAULT] * 8, good, FAULT, good]))
    updates = followed(connection, 12)
    kinds = [TreeSnapshot, *[Disconnected] * 8, TreeSnapshot, Disconnected, TreeSnapshot]
    assert [type(update) for update in updates] == kinds
    instants = [until for step, until in connection.steps if step == "sleep"]
    pauses = [after - before for before, after in itertools.pairwise(instants)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 0.5]


def test_every_lost_connection_is_dropped_before_its_loss_is_told():
    connection = Scripted(at_once([stream(SNAPSHOT), FAULT]))
    followed(connection, 2)
    assert connection.steps[-1][0] == "drop"


SECONDS = st.one_of(st.none(), st.integers(0, 10**15))


@given(SECONDS, st.integers(0, 10**6), SECONDS)
def test_no_server_can_make_a_client_hammer_it_or_wait_for_ever(retry, failures, retry_after):
    assert 0.1 <= pause(retry, failures) <= 45
    assert min(retry_after or 0.1, 600) <= pause(retry, failures, retry_after) <= 900


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_lost_stream_is_not_opened_again_before_the_server_wants_it(steady, status):
    busy = response(b"", status, Retry_After="120")
    connection = Scripted(at_once([stream(SNAPSHOT), FAULT, busy, busy, stream(SNAPSHOT)]))
    updates = followed(connection, 5)
    assert [type(update) for update in updates] == [TreeSnapshot, *[Disconnected] * 3, TreeSnapshot]
    assert "try again in 2 min" in updates[2].message
    instants = [until for step, until in connection.steps if step == "sleep"]
    assert [after - before for before, after in itertools.pairwise(instants)] == [0.5, 120, 120]


def test_a_stream_that_is_there_again_forgets_what_an_earlier_answer_asked_for(steady):
    busy = response(b"", "503 Service Unavailable", Retry_After="120")
    connection = Scripted(at_once([stream(SNAPSHOT), FAULT, busy, stream(SNAPSHOT), FAULT, stream(SNAPSHOT)]))
    followed(connection, 6)
    instants = [until for step, until in connection.steps if step == "sleep"]
    assert [after - before for before, after in itertools.pairwise(instants)] == [0.5, 120, 0.5]


def test_an_id_that_cannot_stand_in_a_header_is_not_sent():
    bad = SNAPSHOT.replace("id: 1", "id: 1\u20ac")
    connection = Scripted(at_once([stream(bad), b"", stream(SNAPSHOT)]))
    followed(connection, 3)
    assert len(connection.sent) == 2
    assert b"Last-Event-ID" not in connection.sent[1]


def test_a_first_stream_that_is_lost_closes_for_good():
    connection = Scripted(at_once([FAULT]))
    following = Following(connection, "", 5.0)
    with pytest.raises(ClientError):
        run(following.next())
    assert run(following.next()) is None
