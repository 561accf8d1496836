"""OpenTalking's FlashTalk queue: a hash in Redis, and the view of ``/queue/status``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import attrs
import msgspec

from statusd import (
    Document,
    ProbeError,
    Report,
    Secret,
    Snapshot,
    Source,
    SourceRegistry,
    Status,
    Url,
    View,
    ViewRegistry,
    hookimpl,
    option,
    schemes,
)
from statusd_plugins.common_keys import expect_source

PLUGIN: Final = "redis_queue"
TRUTHY: Final = frozenset({"1", "true", "yes", "on"})


def slot_occupied(text: str) -> bool:
    """Return whether the slot is taken: by ``1``, ``true``, ``yes`` or ``on``, in any case."""
    return text.strip().lower() in TRUTHY


def queue_size(text: str) -> int:
    """Return how many wait: a decimal number of any size; what is negative or no number counts as 0."""
    try:
        return max(0, int(text.strip()))
    except ValueError:
        return 0


def understand(reply: Any) -> dict[str, str]:
    """Return the fields of the hash as text, undecodable bytes left out.

    Raises:
        ProbeError: ``unexpected_answer``.
    """
    if not isinstance(reply, Mapping):
        raise ProbeError("unexpected_answer", "The server's reply to HGETALL is not a hash.")
    fields: dict[str, str] = {}
    for name, value in reply.items():
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise ProbeError("unexpected_answer", "The server's hash holds something else than strings.")
        fields[name.decode(errors="ignore")] = value.decode(errors="ignore")
    return fields


def _numbered_database(_instance: object, _attribute: object, url: Url) -> None:
    if url.scheme == "unix":
        if not url.path:
            raise ValueError('has no path of a socket; expected "unix:///run/redis/redis.sock"')
    elif not re.fullmatch(r"/?[0-9]{0,9}", url.path):
        raise ValueError('has a database that is not a number; expected "redis://host:6379/0"')


@attrs.frozen(kw_only=True)
class RedisQueueSource(Source):
    """The hash that the FlashTalk worker keeps in Redis."""

    default_interval: ClassVar[float] = 0.5

    url: Url = option(
        Url(),
        validator=[schemes("redis", "rediss", "unix"), _numbered_database],
        help='Address of the Redis server: "redis://host:6379/0", "rediss://..." (TLS) or "unix:///path?db=0"; '
        "empty = not configured. Of its query only `db` counts.",
    )
    key: str = option("opentalking:flashtalk_queue_status", help="The key of the hash.")
    username: str = option("", help="ACL user, where the URL names none.")
    password: Secret | None = option(None, help="Password, where the URL holds none.")
    ca_file: str = option(
        "", help="PEM file with the certificate authorities to trust, instead of the system's."
    )

    @property
    def is_configured(self) -> bool:
        """Whether there is a URL."""
        return bool(self.url)

    async def probe(self) -> Report:
        """Read the hash once."""
        reply = await self.context.redis.execute(
            self.url,
            "HGETALL",
            self.key,
            username=self.username,
            password=self.password,
            ca_file=self.ca_file,
        )
        fields = understand(reply)
        if not fields:
            return Report.unknown("no_key", f'The server holds nothing under the key "{self.key}".')
        return Report.ok(
            facts={
                "slot_occupied": slot_occupied(fields.get("slot_occupied", "")),
                "queue_size": queue_size(fields.get("queue_size", "")),
            }
        )


@attrs.frozen(kw_only=True)
class QueueView(View):
    """``/queue/status``: what the newest probe of the queue found, and zeros where it found nothing."""

    name: ClassVar[str] = "queue"

    source: str = option(
        "", help=f'The source that "/queue/status" shows; empty = the first one with plugin = "{PLUGIN}".'
    )

    def __attrs_post_init__(self) -> None:
        expect_source(self.source, self.context.sources_of(PLUGIN), PLUGIN)

    def paths(self) -> tuple[str, ...]:
        """Return ``/queue/status``."""
        return ("/queue/status",)

    def render(self, path: str, snapshot: Snapshot) -> Document:  # noqa: ARG002  # there is one path
        """Return the two fields; always 200."""
        name = self.source or next(iter(self.context.sources_of(PLUGIN)), "")
        node = snapshot.find(f"sources/{name}") if name else None
        facts = node.facts if node is not None and node.status is Status.OK else {}
        size = facts.get("queue_size")
        body = {
            "slot_occupied": facts.get("slot_occupied") is True,
            "queue_size": size if type(size) is int and size > 0 else 0,
        }
        return Document(body=msgspec.json.encode(body))


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register the source type."""
    registry.add(RedisQueueSource)


@hookimpl
def statusd_register_views(registry: ViewRegistry) -> None:
    """Register ``/queue/status``."""
    registry.add(QueueView)
