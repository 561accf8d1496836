"""`/queue/status` against a real Redis in every state: it follows a change within its interval, and never fails."""

import json

import pytest

from statusd.testing import Hang, Upstream
from statusd.testing.redis_server import RedisServer, find_server
from tests.integration.inprocess import running

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(find_server() is None, reason="no Redis server to be found"),
]
KEY = "opentalking:flashtalk_queue_status"
ZEROS = {"slot_occupied": False, "queue_size": 0}
BUSY = {"slot_occupied": True, "queue_size": 3}
CONFIG = """
[sources.queue]
plugin = "redis_queue"
url = "{url}"
interval = 0.05
timeout = 0.3
"""


async def answer(client):
    """Return the document; whatever Redis does, it is whole, and a 200."""
    return (await marked(client))[0]


async def marked(client):
    """Return the document, and the reason why a default stands in it, or None."""
    response = await client.get("/queue/status")
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    document = json.loads(response.body)
    assert list(document) == ["slot_occupied", "queue_size"]
    _, is_marked, detail = response.headers["cache-status"].partition("detail=")
    return document, detail if is_marked else None


async def until(client, wanted):
    await client.until(lambda: answer(client), lambda document: document == wanted)


async def test_it_follows_redis_through_every_state():
    async with RedisServer() as redis, running(CONFIG.format(url=redis.url), {}) as client:
        await client.until_reason("sources/queue", "no_key")
        assert await marked(client) == (ZEROS, "no_key")
        await redis.execute("HSET", KEY, "slot_occupied", "1", "queue_size", "3")
        await until(client, BUSY)
        assert await marked(client) == (BUSY, None)
        assert (await client.node("sources/queue"))["facts"] == BUSY

        redis.freeze()
        await client.until_reason("sources/queue", "timeout")
        assert await marked(client) == (ZEROS, "redis_unreachable")
        redis.thaw()
        await until(client, BUSY)

        redis.kill()
        await client.until_reason("sources/queue", "refused", "connection_lost")
        assert await marked(client) == (ZEROS, "redis_unreachable")
        await redis.restart()
        await client.until_reason("sources/queue", "no_key")
        await redis.execute("HSET", KEY, "slot_occupied", "YES", "queue_size", " 12 ")
        await until(client, {"slot_occupied": True, "queue_size": 12})

        await redis.execute("DEL", KEY)
        await redis.execute("SET", KEY, "text")
        await client.until_reason("sources/queue", "wrong_type")
        assert await marked(client) == (ZEROS, "wrong_type")
        await redis.execute("DEL", KEY)
        await redis.execute("HSET", KEY, "slot_occupied", b"\xff", "queue_size", "-5")
        await client.until_reason("sources/queue", "bad_value")
        assert await marked(client) == (ZEROS, "bad_value")


async def test_a_wrong_password_is_told_and_never_shown():
    async with RedisServer(password="right-word") as redis:
        url = redis.url.replace("redis://", "redis://:${WORD}@")
        async with running(CONFIG.format(url=url), {"WORD": "wrong-word"}) as client:
            await client.until_reason("sources/queue", "unauthorized")
            assert await marked(client) == (ZEROS, "unauthorized")
            assert b"wrong-word" not in (await client.get("/state")).body
        async with running(CONFIG.format(url=url), {"WORD": "right-word"}) as client:
            await client.until_reason("sources/queue", "no_key")


@pytest.mark.parametrize("behaviour", [Upstream().behaviour, Hang()], ids=["HTTP server", "silent server"])
async def test_what_is_not_a_redis_at_all_reads_zeros(behaviour):
    async with Upstream(behaviour=behaviour) as upstream:
        url = upstream.url.replace("http://", "redis://")
        async with running(CONFIG.format(url=url), {}) as client:
            await client.until_reason("sources/queue", "protocol_error", "timeout")
            assert await answer(client) == ZEROS


async def test_what_changes_is_pushed_also_after_a_restart_and_nothing_is_missed():
    seldom = CONFIG.replace("interval = 0.05", "interval = 600")  # so that no poll can be what brings it
    async with RedisServer() as redis, running(seldom.format(url=redis.url), {}) as client:
        await client.until_reason("sources/queue", "no_key")
        for size in range(5):
            await redis.execute("HSET", KEY, "slot_occupied", "1", "queue_size", size)
            await until(client, {"slot_occupied": True, "queue_size": size})
        await redis.execute("DEL", KEY)
        await client.until_reason("sources/queue", "no_key")
        await redis.execute("HSET", KEY, "slot_occupied", "1", "queue_size", "9")
        await until(client, {"slot_occupied": True, "queue_size": 9})
        await redis.stop()
        await client.until_reason("sources/queue", "refused", "connection_lost")
        assert await marked(client) == (ZEROS, "redis_unreachable")
        await redis.start()
        await redis.execute("HSET", KEY, "slot_occupied", "1", "queue_size", "3")
        await until(client, BUSY)
        await redis.execute("HSET", KEY, "queue_size", "4")
        await until(client, {"slot_occupied": True, "queue_size": 4})
