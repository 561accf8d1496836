"""OpenTalking's FlashTalk queue: a hash in Redis, and the view of ``/queue/status``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import unquote

import attrs
import msgspec

from statusd import (
    Document,
    Node,
    Payload,
    ProbeError,
    Report,
    Secret,
    Snapshot,
    Source,
    SourceRegistry,
    Url,
    View,
    ViewRegistry,
    hookimpl,
    option,
    schemes,
)
from statusd_plugins.common_keys import expect_source
from statusd_plugins.sandbox import SANDBOXED, hiding_of

PLUGIN: Final = "redis_queue"
TRUTHY: Final = frozenset({"1", "true", "yes", "on"})
UNREACHABLE: Final = frozenset(
    {
        "timeout",
        "refused",
        "unreachable",
        "name_not_resolved",
        "tls_failed",
        "connection_lost",
        "permission_denied",
        "not_found",
        "protocol_error",
        SANDBOXED,
    }
)
"""Reasons for which Redis could not be asked; whoever reads ``/queue/status`` need not tell them apart."""


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``/queue/status``.

    Attributes:
        slot_occupied: whether the slot is taken.
        queue_size: how many wait.
    """

    slot_occupied: bool
    queue_size: Annotated[int, msgspec.Meta(ge=0)]


NOTHING: Final = QueueStatus(slot_occupied=False, queue_size=0)
"""What stands in where nothing was found."""


def slot_occupied(text: str) -> bool:
    """Return whether the slot is taken: by ``1``, ``true``, ``yes`` or ``on``, in any case."""
    return text.strip().lower() in TRUTHY


def queue_size(text: str) -> int | None:
    """Return how many wait: a decimal number of any size; None where it is negative or no number."""
    try:
        size = int(text.strip())
    except ValueError:
        return None
    return size if size >= 0 else None


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


def judge(fields: Mapping[str, str]) -> Report:
    """Return what the fields of the hash say; what is missing or wrong counts as nothing, and is named."""
    size = queue_size(fields.get("queue_size", ""))
    found = QueueStatus(slot_occupied=slot_occupied(fields.get("slot_occupied", "")), queue_size=size or 0)
    faults = [
        f"no {name}, which then counts as {default}"
        for name, default in (("slot_occupied", "false"), ("queue_size", "0"))
        if name not in fields
    ]
    if size is None and "queue_size" in fields:
        faults.append("a queue_size that is not a number from 0 on, which then counts as 0")
    said: dict[str, Any] = {
        "facts": msgspec.structs.asdict(found),
        "payload": Payload(msgspec.json.encode(found)),
    }
    if faults:
        return Report.degraded("bad_value", f"The hash has {', and '.join(faults)}.", **said)
    return Report.ok(**said)


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
        try:
            reply = await self.context.redis.execute(
                self.url,
                "HGETALL",
                self.key,
                username=self.username,
                password=self.password,
                ca_file=self.ca_file,
            )
        except ProbeError as error:
            if self.url.scheme == "unix" and error.reason in {"not_found", "permission_denied"}:
                path = unquote(self.url.path)
                if hiding := await self.context.in_thread(hiding_of, path):
                    return hiding.report(f"The socket {path}")
            raise
        fields = understand(reply)
        if not fields:
            return Report.unknown("no_key", f'The server holds nothing under the key "{self.key}".')
        return judge(fields)

    async def watch(self, changed: Callable[[], None]) -> None:
        """Listen for changes of the hash."""
        await self.context.redis.watch(
            self.url,
            self.key,
            changed=changed,
            username=self.username,
            password=self.password,
            ca_file=self.ca_file,
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

    def sources(self, path: str) -> tuple[str, ...]:  # noqa: ARG002  # there is one path
        """Return the queue's source, if there is one."""
        name = self.source or next(iter(self.context.sources_of(PLUGIN)), "")
        return (name,) if name else ()

    def responses(self, path: str) -> Mapping[int, Any]:  # noqa: ARG002  # there is one path
        """Return the two fields; always 200."""
        return {200: QueueStatus}

    def render(self, path: str, snapshot: Snapshot) -> Document:
        """Return what the newest finished probe found, whatever thresholds make of it; zeros where it found nothing."""
        nodes = [snapshot.find(f"sources/{name}") for name in self.sources(path)]
        node = nodes[0] if nodes else None
        if node is not None and node.payload is not None:
            return Document(
                body=node.payload.body, detail="bad_value" if _reason(node) == "bad_value" else ""
            )
        if node is not None and node.is_restored and (found := _restored(node)) is not None:
            return Document(body=msgspec.json.encode(found), detail="restored")
        detail = "not_configured" if not nodes else "not_observed" if node is None else _substitute(node)
        return Document(body=msgspec.json.encode(NOTHING), detail=detail)


def _restored(node: Node) -> QueueStatus | None:
    """Return what an earlier run found in the queue; None where it found nothing, or too long ago."""
    found = node if node.basis is None else node.basis.newest
    if not found.status.is_connected:
        return None
    try:
        return msgspec.convert(dict(found.facts), QueueStatus)
    except msgspec.ValidationError:
        return None


def _reason(node: Node) -> str:
    return node.reason if node.basis is None else node.basis.newest.reason


def _substitute(node: Node) -> str:
    reason = _reason(node)
    if reason in {"pending", "ok"}:  # "ok": of an earlier run, whose facts this one does not understand
        return "not_observed"
    return "redis_unreachable" if reason in UNREACHABLE else reason


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register the source type."""
    registry.add(RedisQueueSource)


@hookimpl
def statusd_register_views(registry: ViewRegistry) -> None:
    """Register ``/queue/status``."""
    registry.add(QueueView)
