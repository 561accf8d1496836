"""The demo's embedded upstreams, and the story of what happens to them, as data."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import attrs
import trio

from statusd.testing.behaviours import Answer, Hang
from statusd.testing.flashhead import FlashHead
from statusd.testing.llamacpp import LlamaCpp
from statusd.testing.omnirt import OmniRT
from statusd.testing.redis_server import RedisServer
from statusd.testing.takeoff import NOT_AVAILABLE, Takeoff
from statusd.testing.takeoff_schemas import ReaderState

QUEUE_KEY: Final = "opentalking:flashtalk_queue_status"


@attrs.frozen(kw_only=True)
class World:
    """The upstreams of the demo.

    Attributes:
        takeoff: the management API of a Takeoff server.
        public: the inference API of the same server.
        omnirt: an OmniRT server with a key.
        flashhead: a WebSocket server.
        llama: a llama.cpp server.
        redis: a real Redis, which holds the queue.
    """

    takeoff: Takeoff
    public: Takeoff
    omnirt: OmniRT
    flashhead: FlashHead
    llama: LlamaCpp
    redis: RedisServer

    def variables(self) -> dict[str, str]:
        """Return the environment that ``demo.toml`` takes its addresses from."""
        return {
            "DEMO_TAKEOFF_URL": self.takeoff.url,
            "DEMO_TAKEOFF_PUBLIC_URL": self.public.url,
            "DEMO_OMNIRT_ENDPOINT": self.omnirt.url,
            "DEMO_OMNIRT_KEY": self.omnirt.api_key,
            "DEMO_FLASHHEAD_WS_URL": self.flashhead.websocket_url,
            "DEMO_LLAMA_URL": self.llama.url,
            "DEMO_REDIS_URL": self.redis.url,
        }

    def reader(self, name: str, state: ReaderState, model_name: str) -> None:
        """Bring a reader into `state`, in both APIs."""
        for server in (self.takeoff, self.public):
            server.put(name, state, model_name=model_name)

    async def queue(self, *, is_occupied: bool, size: int) -> None:
        """Write the queue's state as its worker does."""
        await self.redis.execute(
            "HSET", QUEUE_KEY, "slot_occupied", "1" if is_occupied else "0", "queue_size", str(size)
        )


@contextlib.asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """Run the upstreams on loopback while the block does.

    Raises:
        StartError: when Redis does not start.
    """
    async with contextlib.AsyncExitStack() as exits:
        yield World(
            takeoff=await exits.enter_async_context(Takeoff()),
            public=await exits.enter_async_context(Takeoff(shape="inference")),
            omnirt=await exits.enter_async_context(OmniRT(api_key=secrets.token_hex(16))),
            flashhead=await exits.enter_async_context(FlashHead(path="/v1/avatar/realtime")),
            llama=await exits.enter_async_context(LlamaCpp(is_loading=True)),
            redis=await exits.enter_async_context(RedisServer()),
        )


@attrs.frozen
class Scene:
    """One change among the upstreams.

    Attributes:
        seconds: how long to leave it so.
        sentence: what happens, for whoever watches.
        act: makes it happen.
    """

    seconds: float
    sentence: str
    act: Callable[[World], Awaitable[None]]


async def tell(world: World, scenes: Sequence[Scene], out: Callable[[str], None]) -> None:
    """Play the scenes once, saying each just before it happens."""
    for scene in scenes:
        out(scene.sentence)
        await scene.act(world)
        await trio.sleep(scene.seconds)


GENERATE: Final = ("generate-1", "meta-llama/Llama-3.1-8B-Instruct")
EMBED: Final = ("embed-1", "intfloat/e5-large-v2")


async def _generate_loads(world: World) -> None:
    world.reader(GENERATE[0], "loading", GENERATE[1])


async def _generate_lives(world: World) -> None:
    world.reader(GENERATE[0], "live", GENERATE[1])


async def _omnirt_connects(world: World) -> None:
    for model in ("flashtalk", "musetalk"):
        world.omnirt.connect(model)


async def _llama_has_loaded(world: World) -> None:
    world.llama.is_loading = False


async def _queue_grows(world: World) -> None:
    await world.queue(is_occupied=True, size=3)


async def _embed_lives(world: World) -> None:
    world.reader(EMBED[0], "live", EMBED[1])


async def _embed_dies(world: World) -> None:
    world.reader(EMBED[0], "dead", EMBED[1])


async def _musetalk_drops(world: World) -> None:
    world.omnirt.drop("musetalk")


async def _flashhead_hangs(world: World) -> None:
    world.flashhead.behaviour = Hang()


async def _queue_drains(world: World) -> None:
    await world.queue(is_occupied=False, size=0)


async def _flashhead_answers(world: World) -> None:
    world.flashhead.behaviour = Answer()


async def _musetalk_connects(world: World) -> None:
    world.omnirt.connect("musetalk")


async def _redis_is_killed(world: World) -> None:
    world.redis.kill()


async def _takeoff_is_unavailable(world: World) -> None:
    for server in (world.takeoff, world.public):
        server.behaviour = NOT_AVAILABLE[1]


async def _redis_returns(world: World) -> None:
    await world.redis.restart()
    await world.queue(is_occupied=True, size=1)


async def _takeoff_returns(world: World) -> None:
    for server in (world.takeoff, world.public):
        server.behaviour = Answer()


async def _everything_starts_over(world: World) -> None:
    for server in (world.takeoff, world.public):
        server.readers.clear()
    for model in list(world.omnirt.connected):
        world.omnirt.drop(model, "restarting")
    world.llama.is_loading = True
    await world.queue(is_occupied=False, size=0)


STORY: Final[tuple[Scene, ...]] = (
    Scene(4, "Takeoff starts to load a model: reader generate-1 is loading.", _generate_loads),
    Scene(4, "Takeoff's reader generate-1 is live.", _generate_lives),
    Scene(4, "OmniRT connects flashtalk and musetalk: /readyz becomes 200.", _omnirt_connects),
    Scene(4, "llama.cpp has loaded its model.", _llama_has_loaded),
    Scene(4, "The queue grows: the slot is occupied, three wait. Redis says so at once.", _queue_grows),
    Scene(4, "Takeoff gets a second reader, embed-1, live at once.", _embed_lives),
    Scene(4, "Takeoff's reader embed-1 dies; generate-1 lives on.", _embed_dies),
    Scene(4, "OmniRT loses the worker of musetalk.", _musetalk_drops),
    Scene(6, "FlashHead hangs: it never answers. The second probe in a row decides.", _flashhead_hangs),
    Scene(4, "The queue drains: the slot is free, nobody waits.", _queue_drains),
    Scene(4, "FlashHead answers again.", _flashhead_answers),
    Scene(4, "Takeoff's reader embed-1 comes back.", _embed_lives),
    Scene(4, "OmniRT connects musetalk again.", _musetalk_connects),
    Scene(5, "Redis is killed; /queue/status must not fail, and says zeros.", _redis_is_killed),
    Scene(4, "Takeoff answers 503: one failure, and its public API depends on it.", _takeoff_is_unavailable),
    Scene(4, "Redis is back on the same port, with one request waiting.", _redis_returns),
    Scene(4, "Takeoff is back, with both readers.", _takeoff_returns),
    Scene(4, "All servers start over: no reader, no model, an empty queue.", _everything_starts_over),
)
"""What happens, in a loop; the last scene leads to the state before the first."""
