"""Reload: only what changed is stopped, started or altered; what cannot be used changes nothing."""

import json
import os
import threading
from pathlib import Path

import trio

from statusd.redaction import Redactor
from statusd.testing import Hang, OmniRT, Upstream
from tests.integration.reloads import reloading

RETRY = 0.01


def omnirt(upstream, *, more="", models=("flashtalk",), extra=""):
    served = "\n".join(f'{model} = "omnirt"' for model in models)
    return f"""
[sources.omnirt]
plugin = "omnirt"
endpoint = "{upstream.url}"
interval = 0.2
{more}
[models]
{served}
{extra}
"""


def http(name, upstream, **keys):
    further = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
    return f'\n[sources.{name}]\nplugin = "http"\nurl = "{upstream.url}/health"\ninterval = 0.2\n{further}\n'


async def until(condition):
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(RETRY)


async def test_a_source_that_did_not_change_keeps_its_connection_its_reading_and_the_time_since_it_is_so(
    tmp_path,
):
    async with Upstream() as kept, Upstream() as other, reloading(tmp_path, http("kept", kept)) as daemon:
        before = await daemon.client.until_reason("sources/kept", "ok")
        connections = kept.accepted
        outcome = await daemon.reload(http("kept", kept) + http("other", other))
        assert outcome.ok
        after = await daemon.client.node("sources/kept")
        assert after["since"] == before["since"]
        assert after["status"] == "ok"
        asked = len(kept.requests)
        await kept.wait_for_requests(asked + 2)
        assert kept.accepted == connections


async def test_a_new_source_has_reported_before_the_tree_shows_it(tmp_path):
    seen = []
    async with Upstream() as one, Upstream() as two, reloading(tmp_path, http("one", one)) as daemon:
        daemon.running.daemon.hub.listen(seen.append)
        await daemon.reload(http("one", one) + http("two", two))
        (first,) = [change for change in seen if "sources/two" in change.nodes]
        assert first.nodes["sources/two"].status == "ok"
        assert (await daemon.client.node("sources/two"))["status"] == "ok"


async def test_a_new_source_that_hangs_holds_up_the_reload_for_a_moment_only(tmp_path):
    async with (
        Upstream() as one,
        Upstream(behaviour=Hang()) as two,
        reloading(tmp_path, http("one", one)) as daemon,
    ):
        outcome = await daemon.reload(http("one", one) + http("two", two, timeout=3))
        assert outcome.ok
        assert outcome.ended - outcome.began < 3
        assert (await daemon.client.node("sources/two"))["reason"] == "pending"
        await daemon.client.until_reason("sources/two", "timeout")


async def test_a_source_that_is_not_there_any_more_is_gone_with_its_connection_and_its_series(tmp_path):
    async with (
        Upstream() as one,
        Upstream() as two,
        reloading(tmp_path, http("one", one) + http("two", two)) as daemon,
    ):
        await daemon.client.until_reason("sources/two", "ok")
        await daemon.client.until_reason("sources/one", "ok")
        assert (await daemon.reload(http("one", one))).ok
        assert (await daemon.client.node("sources/two"))["reason"] == "no such node"
        await until(lambda: two.open_connections == 0)
        asked = len(two.requests)
        await one.wait_for_requests(len(one.requests) + 2)
        assert len(two.requests) == asked
        assert b'"two"' not in (await daemon.client.get("/metrics")).body
        assert b'"one"' in (await daemon.client.get("/metrics")).body


async def test_a_source_with_another_address_begins_anew_there(tmp_path):
    async with Upstream() as one, Upstream() as two, reloading(tmp_path, http("it", one)) as daemon:
        await daemon.client.until_reason("sources/it", "ok")
        outcome = await daemon.reload(http("it", two))
        assert outcome.messages == ("started: it; 0 sources go on",)
        assert (await daemon.client.node("sources/it"))["status"] == "ok"
        asked = len(one.requests)
        await two.wait_for_requests(len(two.requests) + 2)
        assert len(one.requests) == asked


async def test_another_pace_or_place_restarts_no_source(tmp_path):
    async with Upstream() as upstream, reloading(tmp_path, http("it", upstream)) as daemon:
        before = await daemon.client.until_reason("sources/it", "ok")
        connections = upstream.accepted
        keys = {"required": False, "rise": 3, "fall": 3, "ttl": 7.0, "max_age": 60.0, "backend": "other"}
        assert (await daemon.reload(http("it", upstream, **keys))).messages == ("1 source goes on",)
        after = await daemon.client.node("sources/it")
        assert (after["since"], after["counts"]) == (before["since"], False)
        asked = len(upstream.requests)
        await upstream.wait_for_requests(asked + 1)
        assert upstream.accepted == connections


async def test_a_shorter_interval_holds_at_once(tmp_path):
    async with Upstream() as upstream:
        slow = http("it", upstream).replace("interval = 0.2", "interval = 3600")
        async with reloading(tmp_path, slow) as daemon:
            await daemon.client.until_reason("sources/it", "ok")
            assert (await daemon.reload(http("it", upstream))).messages == ("1 source goes on",)
            with trio.fail_after(10):
                await upstream.wait_for_requests(len(upstream.requests) + 3)


async def test_a_count_that_fall_has_begun_goes_on_over_a_reload(tmp_path):
    async with Upstream() as upstream:
        text = http("it", upstream, fall=3).replace("interval = 0.2", "interval = 3600")
        async with reloading(tmp_path, text) as daemon:
            await daemon.client.until_reason("sources/it", "ok")
            upstream.behaviour = Hang()
            supervisor = next(iter(daemon.running.daemon.sources))
            for expected in ("1 of 3", "2 of 3"):
                supervisor.changed()
                await daemon.client.until(
                    lambda: daemon.client.node("sources/it"),
                    lambda node, text=expected: text in node["message"],
                )
                assert (await daemon.reload(text + "\n[ready]\nrequire = []\n")).ok
            assert "2 of 3" in (await daemon.client.node("sources/it"))["message"]


async def test_a_model_that_is_new_is_served_by_a_source_that_goes_on(tmp_path):
    async with OmniRT() as upstream:
        upstream.connect("flashtalk")
        upstream.connect("musetalk")
        async with reloading(tmp_path, omnirt(upstream)) as daemon:
            before = await daemon.client.until_reason("models/flashtalk", "ok")
            connections = upstream.accepted
            outcome = await daemon.reload(omnirt(upstream, models=("musetalk", "flashtalk")))
            assert outcome.messages == ("1 source goes on",)
            body = await daemon.client.json("/models")
            assert body["models"] == ["musetalk", "flashtalk"]
            assert (await daemon.client.node("models/flashtalk"))["since"] == before["since"]
            await daemon.client.until(
                daemon.client.models, lambda models: models["musetalk"]["connected"] is True
            )
            assert upstream.accepted == connections


async def test_a_file_with_mistakes_changes_nothing_and_says_so_everywhere(tmp_path, caplog):
    async with Upstream() as upstream, reloading(tmp_path, http("it", upstream)) as daemon:
        before = await daemon.client.until_reason("sources/it", "ok")
        outcome = await daemon.reload(http("it", upstream, intervall=3) + "\n[nonsense]\n")
        assert (outcome.ok, outcome.code, outcome.generation) == (False, os.EX_CONFIG, 1)
        assert len(outcome.messages) == 2
        assert any("sources.it.intervall: unknown key" in message for message in outcome.messages)
        config = await daemon.client.node("daemon/config")
        assert (config["status"], config["reason"]) == ("degraded", "reload_failed")
        assert config["facts"]["generation"] == 1
        assert "the reload failed, and generation 1 goes on" in caplog.text
        assert (await daemon.client.node("sources/it"))["since"] == before["since"]
        assert (await daemon.reload(http("it", upstream))).ok
        config = await daemon.client.node("daemon/config")
        assert (config["status"], config["facts"]["generation"]) == ("ok", 2)


async def test_what_is_missing_around_a_new_configuration_is_told_to_whoever_reloads(tmp_path):
    async with Upstream() as upstream, reloading(tmp_path, http("it", upstream)) as daemon:
        faulty = '[sources.far]\nplugin = "faraway"\n[sources.om]\nplugin = "omnirt"\napi_key = { credential = "absent" }\n'
        outcome = await daemon.reload(http("it", upstream) + faulty)
        assert (outcome.ok, outcome.code, outcome.generation) == (True, 0, 2)
        changes, *faults = outcome.messages
        assert changes == "started: far, om; 1 source goes on"
        assert {fault.removeprefix(f"{daemon.path}: ").partition(":")[0] for fault in faults} == {
            "sources.far",
            "sources.om.api_key",
        }
        assert (await daemon.reload(http("it", upstream))).messages == ("stopped: far, om; 1 source goes on",)


async def test_an_address_that_is_taken_fails_the_reload_and_the_old_ones_go_on(tmp_path):
    async with Upstream() as stranger:
        binds = '[http]\nbind = ["127.0.0.1:0"{}]\n'
        async with reloading(tmp_path, binds.format(""), bind=None) as daemon:
            taken = f', "127.0.0.1:{stranger.port}"'
            outcome = await daemon.reload(binds.format(taken))
            assert (outcome.code, outcome.generation) == (1, 1)
            assert "is in use" in outcome.messages[0]
            assert (await daemon.client.get("/health")).status == 200


async def test_another_address_is_served_and_the_old_one_is_not_any_more(tmp_path):
    with_two = '[http]\nbind = ["127.0.0.1:0", "unix:{}"]\n'
    socket = tmp_path / "http.sock"
    async with reloading(tmp_path, with_two.format(socket), bind=None) as daemon:
        assert socket.exists()
        assert (await daemon.reload('[http]\nbind = ["127.0.0.1:0"]\n')).ok
        assert not socket.exists()
        assert (await daemon.client.get("/health")).status == 200
        facts = (await daemon.client.node("daemon/listener"))["facts"]
        assert facts["addresses"] == [daemon.client.base]


async def test_a_token_holds_from_the_reload_on_also_for_what_was_answered_before(tmp_path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "correct-horse-battery")
    async with reloading(tmp_path, "") as daemon:
        assert (await daemon.client.get("/state")).status == 200
        assert (await daemon.reload('[http]\ntoken = { env = "A_TOKEN" }\n')).ok
        assert (await daemon.client.get("/state")).status == 401
        assert (await daemon.client.get("/health")).status == 200
        assert (await daemon.reload("")).ok
        assert (await daemon.client.get("/state")).status == 200


async def test_bounds_and_the_front_stage_hold_from_the_reload_on(tmp_path):
    async with reloading(tmp_path, "") as daemon:
        edge = daemon.running.daemon.edge
        assert (await daemon.reload("[http.limits]\nrequests = 7\n")).ok
        assert edge.limits.requests == 7
        for _ in range(20):
            assert (await daemon.client.get("/health")).status == 200
        assert (await daemon.reload("")).ok
        assert edge.limits.requests > 7


async def test_what_redaction_masks_is_learnt_at_a_reload(tmp_path, monkeypatch):
    monkeypatch.setenv("NEW_KEY", "sk-very-secret-0815")
    async with OmniRT() as upstream, reloading(tmp_path, omnirt(upstream)) as daemon:
        assert (await daemon.reload(omnirt(upstream, more='api_key = { env = "NEW_KEY" }'))).ok
        redactor = daemon.running.daemon.plan.redactor
        assert redactor("it is sk-very-secret-0815") == "it is ***"


async def test_a_secret_of_before_is_masked_in_what_a_bad_file_is_told_to_have_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("OLD_KEY", "sk-very-secret-0815")
    async with (
        OmniRT() as upstream,
        reloading(
            tmp_path, omnirt(upstream, more='api_key = { env = "OLD_KEY" }'), redactor=Redactor()
        ) as daemon,
    ):
        outcome = await daemon.reload('[ready]\nrequire = "sk-very-secret-0815"\n')
        assert not outcome.ok
        assert "***" in outcome.messages[0]
        assert "sk-very" not in repr(outcome)
        assert "sk-very" not in str(await daemon.client.node("daemon/config"))


async def test_ten_requests_for_a_reload_at_once_are_one_or_two(tmp_path):
    async with reloading(tmp_path, "") as daemon:
        before = await daemon.client.node("daemon/config")
        for _ in range(10):
            daemon.reloader.want()
        await daemon.client.until(
            lambda: daemon.client.node("daemon/config"),
            lambda node: node["facts"]["generation"] > before["facts"]["generation"],
        )
        outcome = await daemon.reload("")
        assert outcome.generation <= 4


async def test_a_file_that_is_watched_is_reloaded_when_it_changes(tmp_path):
    async with reloading(tmp_path, "[reload]\nwatch = true\n") as daemon:
        daemon.path.write_text('[reload]\nwatch = true\n[sources.mock]\nplugin = "mock"\n')
        await daemon.client.until_reason("sources/mock", "ok")


async def test_a_watched_file_that_is_empty_for_a_while_is_reloaded_once_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("statusd.reloading.LOOK", 0.02)
    async with reloading(tmp_path, "[reload]\nwatch = true\n") as daemon:
        daemon.path.write_text("")  # as `>` does, and as a full disk leaves it
        await trio.sleep(0.2)  # ten looks, each of which would have been the reason for a reload
        daemon.path.write_text('[reload]\nwatch = true\n[sources.mock]\nplugin = "mock"\n')
        await daemon.client.until_reason("sources/mock", "ok")
        assert daemon.running.daemon.generation == 2


async def test_a_long_poll_and_an_event_stream_go_on_over_a_reload(tmp_path):
    async with reloading(tmp_path, "") as daemon:
        answers = []

        async def poll():
            revision = (await daemon.client.json("/state"))[
                "revision"
            ]  # of sources: on a busy host daemon/loop may change
            answers.append(await daemon.client.get(f"/state/sources?since={revision}&wait=10"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await daemon.reload('[sources.mock]\nplugin = "mock"\n')
        (answer,) = answers
        assert answer.status == 200
        assert "mock" in json.loads(answer.body)["node"]["children"]


async def test_who_was_let_in_by_a_token_is_let_go_once_it_is_another_one(tmp_path, monkeypatch):
    locked = '[http]\nhosts = {}\ntoken = {{ env = "A_TOKEN" }}\n[sources.mock]\nplugin = "mock"\n'
    monkeypatch.setenv("A_TOKEN", "correct-horse-battery")
    async with reloading(tmp_path, locked.format("[]")) as daemon, trio.open_nursery() as nursery:
        revision = daemon.running.daemon.hub.snapshot.revision
        answers = {}

        async def ask(path):
            port = int(daemon.client.base.rpartition(":")[2])
            head = "Host: localhost\r\nAuthorization: Bearer correct-horse-battery\r\nConnection: close"
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(f"GET {path} HTTP/1.1\r\n{head}\r\n\r\n".encode())
                answers[path] = b"".join([piece async for piece in stream])

        poll = f"/state/sources/mock?since={revision}&wait=60"
        nursery.start_soon(ask, "/events?path=sources")
        nursery.start_soon(ask, poll)
        traffic = daemon.running.daemon.edge.traffic
        await until(lambda: (traffic.streams, traffic.waiting) == (1, 1))
        assert (await daemon.reload(locked.format('["a.example"]'))).ok
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (traffic.streams, traffic.waiting, answers) == (1, 1, {})  # they may still
        monkeypatch.setenv("A_TOKEN", "another-horse-battery")
        assert (await daemon.reload(locked.format('["a.example"]'))).ok
        await until(lambda: len(answers) == 2)
        assert answers[poll].startswith(b"HTTP/1.1 401 ")
        assert answers["/events?path=sources"].endswith(b"\r\n0\r\n\r\n")


async def test_reloads_leave_no_task_no_thread_and_no_descriptor_behind(tmp_path):
    async with Upstream() as one, Upstream() as two:
        texts = [http("a", one), http("a", two) + http("b", one), http("b", one, timeout=1.5)]
        async with reloading(tmp_path, texts[0]) as daemon:
            for text in texts * 2:
                assert (await daemon.reload(text)).ok
            await until(lambda: two.open_connections == 0)
            before = census()
            for text in texts * 6:
                assert (await daemon.reload(text)).ok
            await until(lambda: two.open_connections == 0)
            await until(lambda: census() <= before)


def census():
    """Return the numbers of what could leak, as a tuple of which none may grow."""
    tasks, todo = 0, [trio.lowlevel.current_root_task()]
    while todo:
        task = todo.pop()
        tasks += 1
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return Census((tasks, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))))


class Census(tuple):
    """Numbers; no greater than others where none of them is."""

    __slots__ = ()

    def __le__(self, other):
        return all(mine <= theirs for mine, theirs in zip(self, other, strict=True))


async def test_a_reload_describes_no_view_before_somebody_asks(tmp_path, monkeypatch):
    async with reloading(tmp_path, "") as daemon:
        before = (await daemon.client.get("/openapi.json")).body
        with monkeypatch.context() as patch:
            patch.setattr("statusd.serving.render_openapi", lambda _: 1 / 0)
            assert (await daemon.reload('[plugins]\ndisabled = ["takeoff"]\n')).ok
        assert b"/status/" in before
        assert b"/status/" not in (await daemon.client.get("/openapi.json")).body
