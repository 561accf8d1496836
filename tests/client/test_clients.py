"""Both clients against servers that answer well, badly, slowly, or not at all: they must not differ."""

import json
import socket

import pytest

from statusd.client import ClientError, Disconnected, TreeChange, TreeMirror, TreeSnapshot
from tests.client.conftest import response, says, stream
from tests.client.samples import node

STATE = {"revision": 7, "path": "sources/queue", "node": node("down", x=node())}
EXPLANATION = {
    "revision": 7, "path": "models/a%2Fb", "status": "down", "reason": "refused", "message": "m",
    "because": ["The probe was refused."], "would_change": ["A good probe."], "source": None,
}  # fmt: skip


def event(kind, revision, document):
    return f"id: {revision}\nevent: {kind}\ndata: {json.dumps({'revision': revision, **document})}\n\n"


def snapshot(revision, tree, path=""):
    return event("snapshot", revision, {"path": path, "node": tree})


def change(revision, path, state):
    return event("change", revision, {"changes": [{"path": path, "node": state}]})


def problem(status, reason, **more):
    body = json.dumps({"type": "about:blank", "title": "t", "status": 1, "reason": reason, **more}).encode()
    return response(body, status, "application/problem+json")


def reason_of(call, *arguments, **options):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **options)
    assert caught.value.message == str(caught.value)
    return caught.value.reason


def test_state_gives_the_branch_and_how_good_it_is(client, serve):
    head = {"Age": 3, "Cache_Status": "statusd; hit; ttl=-2; detail=stale"}
    server = serve(says(response(json.dumps(STATE).encode(), **head)))
    state = client.call("state", "sources/queue", url=server.url)
    assert (state.revision, state.path, state.node) == (7, "sources/queue", STATE["node"])
    assert (state.age, state.detail, state.is_stale) == (3.0, "stale", True)
    [request] = server.requests
    assert request.startswith("GET /state/sources/queue HTTP/1.1\r\n")
    assert "cache-control" not in request.lower()


def test_state_sends_what_was_asked_for(client, serve):
    server = serve(says(response(json.dumps(STATE).encode())))
    client.call("state", url=server.url, since=5, wait=2.5, max_age=3.9, no_cache=True)
    [request] = server.requests
    assert request.startswith("GET /state?since=5&wait=2.5 HTTP/1.1\r\n")
    assert "Cache-Control: no-cache, max-age=3\r\n" in request


@pytest.mark.parametrize("options", [{"wait": -1}, {"wait": float("nan")}, {"max_age": float("inf")}])
def test_impossible_arguments_are_refused(client, options):
    with pytest.raises(ValueError, match="must be seconds"):
        client.call("state", url="http://127.0.0.1:1", **options)


def test_explain_gives_the_sentences_and_the_document(client, serve):
    server = serve(says(response(json.dumps(EXPLANATION).encode())))
    found = client.call("explain", "models/a%2Fb", url=server.url)
    assert (found.status, found.reason, found.because) == ("down", "refused", ("The probe was refused.",))
    assert found.document == EXPLANATION
    assert server.requests[0].startswith("GET /explain/models/a%2Fb HTTP/1.1\r\n")


def test_a_wait_adds_to_the_timeout(client, serve):
    def answers_late(server, peer):
        server.stopping.wait(0.4)
        peer.sendall(response(json.dumps(STATE).encode()))

    server = serve(answers_late)
    assert client.call("state", url=server.url, timeout=0.2, wait=5).revision == 7


def test_unix_sockets(client, serve):
    server = serve(says(response(json.dumps(STATE).encode())), unix=True)
    assert client.call("state", url=server.url).revision == 7
    assert "Host: localhost\r\n" in server.requests[0]


def test_the_address_comes_from_the_environment(client, serve, monkeypatch):
    server = serve(says(response(json.dumps(STATE).encode())))
    monkeypatch.setenv("STATUSD_URL", server.url)
    assert client.call("state").revision == 7
    assert reason_of(client.call, "state", url="") == "bad_address"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "connection_lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "connection_lost"),
        (response(b'{"a": 1}')[:-1], "connection_lost"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not_statusd"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "not_statusd"),
        (response(b"<html>"), "not_statusd"),
        (response(b"[]"), "not_statusd"),
        (response(b'{"revision": true, "path": "", "node": {"status": "ok", "children": {}}}'), "not_statusd"),
        (response(b'{"revision": 1, "path": "", "node": {"status": "ok"}}'), "not_statusd"),
        (response(b'{"revision": NaN}'), "not_statusd"),
        (response(b"[" * 100_000), "not_statusd"),
        (response(b'{"revision": 1, "path": "", "node": ' + b'{"status":"ok","children":{"a":' * 150
                  + b"{}" + b"}}" * 150 + b"}"), "not_statusd"),
        (problem("404 Not Found", "not_found"), "no_such_node"),
        (response(b"nothing", "404 Not Found", "text/html"), "not_statusd"),
        (problem("503 Service Unavailable", "too_many", detail="Wait\x1b[31m."), "unavailable"),
        (response(b"", "502 Bad Gateway", "text/html"), "unavailable"),
        (response(b"", "401 Unauthorized", "text/html"), "unauthorized"),
        (response(b"", "301 Moved", Location="https://elsewhere/"), "moved"),
        (response(b"", "204 No Content"), "not_statusd"),
    ],
)  # fmt: skip
def test_every_bad_answer_is_told_apart(client, serve, answer, reason):
    server = serve(says(answer))
    with pytest.raises(ClientError) as caught:
        client.call("state", "x", url=server.url)
    assert caught.value.reason == reason
    assert server.url in caught.value.message
    assert caught.value.message.isprintable()


def test_nobody_there(client, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert reason_of(client.call, "state", url=f"http://127.0.0.1:{port}") == "refused"
    assert reason_of(client.call, "state", url=f"http://localhost:{port}") == "refused"
    assert reason_of(client.call, "state", url=f"unix:{tmp_path}/none.sock") == "no_socket"
    assert reason_of(client.call, "state", url="http://name.invalid") == "name_not_resolved"
    assert reason_of(client.updates, 1, url=f"http://127.0.0.1:{port}") == "refused"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", response(b"{}" * 10)[:-1]])
def test_a_server_that_hangs_is_given_up_on(client, serve, said):
    server = serve(says(said, then_waits=True))
    assert reason_of(client.call, "state", url=server.url, timeout=0.2) == "timeout"


def test_a_body_without_end_is_given_up_on(client, serve, monkeypatch):
    monkeypatch.setattr("statusd.client.asking.MAX_BODY", 10_000)
    server = serve(says(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 20_000, then_waits=True))
    assert reason_of(client.call, "state", url=server.url) == "too_large"


def test_events_go_on_where_the_stream_was_lost(client, serve):
    server = serve(
        says(
            stream(
                "retry: 20\n\n", snapshot(1, node(a=node())), ": beat\n\n", change(2, "a", {"status": "down"})
            )
        ),
        says(stream(change(3, "b", {"status": "ok"})), then_waits=True),
    )
    updates = client.updates(4, url=server.url)
    kinds = [type(update) for update in updates]
    assert kinds == [TreeSnapshot, TreeChange, Disconnected, TreeChange]
    mirror = TreeMirror()
    for update in updates:
        mirror.apply(update)
    assert mirror.revision == 3
    assert set(mirror.node["children"]) == {"a", "b"}
    first, second = server.requests
    assert first.startswith("GET /events HTTP/1.1\r\n")
    assert "Last-Event-ID" not in first
    assert "Last-Event-ID: 2\r\n" in second


def test_a_branch_is_followed_by_its_path(client, serve):
    server = serve(says(stream(snapshot(1, node(), "models/a%2Fb")), then_waits=True))
    [update] = client.updates(1, "models/a%2Fb", url=server.url)
    assert update.path == "models/a%2Fb"
    assert server.requests[0].startswith("GET /events?path=models%2Fa%252Fb HTTP/1.1\r\n")


def test_a_stream_goes_on_past_faults_once_it_has_begun(client, serve):
    server = serve(
        says(stream(snapshot(1, node()))),
        says(problem("503 Service Unavailable", "stopping")),
        says(problem("404 Not Found", "not_found")),
        says(b""),
        says(stream(snapshot(5, node("down"))), then_waits=True),
    )
    updates = client.updates(6, "x", url=server.url)
    assert [type(update) for update in updates] == [TreeSnapshot, *[Disconnected] * 4, TreeSnapshot]
    assert all("Last-Event-ID: 1\r\n" in request for request in server.requests[1:])


@pytest.mark.parametrize("bad", ["event: change\ndata: {}\n\n", "event: snapshot\ndata: x\n\n"])
def test_after_a_broken_event_a_fresh_snapshot_is_asked_for(client, serve, bad):
    server = serve(says(stream(snapshot(1, node()), bad)), says(stream(snapshot(9, node())), then_waits=True))
    updates = client.updates(3, url=server.url)
    assert [type(update) for update in updates] == [TreeSnapshot, Disconnected, TreeSnapshot]
    assert "Last-Event-ID" not in server.requests[1]


def test_events_of_kinds_to_come_are_passed_over(client, serve):
    server = serve(says(stream("event: news\ndata: x\n\n", snapshot(1, node())), then_waits=True))
    assert client.updates(1, url=server.url) == [TreeSnapshot(revision=1, path="", node=node())]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (problem("404 Not Found", "not_found"), "no_such_node"),
        (problem("503 Service Unavailable", "too_many_streams"), "unavailable"),
        (response(b"{}"), "not_statusd"),
        (stream(), "connection_lost"),
        (stream("data: x\n\n"), "connection_lost"),
    ],
)
def test_a_first_stream_that_does_not_begin_raises(client, serve, answer, reason):
    assert reason_of(client.updates, 1, "x", url=serve(says(answer)).url) == reason


def test_a_stream_that_falls_silent_is_opened_again(client, serve, monkeypatch):
    monkeypatch.setattr("statusd.client.following.SILENCE", 0.2)
    server = serve(
        says(stream(snapshot(1, node())), then_waits=True),
        says(stream(snapshot(2, node())), then_waits=True),
    )
    updates = client.updates(3, url=server.url)
    assert [type(update) for update in updates] == [TreeSnapshot, Disconnected, TreeSnapshot]
