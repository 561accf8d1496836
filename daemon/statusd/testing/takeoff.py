"""A simulated Takeoff server: both shapes of its ``/status``, every documented version, readers that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs
import msgspec

from statusd.testing.behaviours import Behaviour, Say, html, redirect, say
from statusd.testing.takeoff_schemas import (
    Reader,
    ReaderState,
    Schema,
    inference_document,
    management_document,
    with_lists,
)
from statusd.testing.upstream import Upstream
from statusd.testing.wire import Request, Response

NOT_AVAILABLE: Final[tuple[Say, ...]] = (
    say(503, content_type=None),
    say(503, b"Server is not available", "text/plain; charset=utf-8"),
    say(503, b'{"error":"Server is not available"}'),
)
"""The documented 503; its body is not documented, so it may be any of these."""


@attrs.define(eq=False, kw_only=True)
class Takeoff(Upstream):
    """A Takeoff server; change its readers by `put` and `remove`.

    Attributes:
        shape: ``management`` (port 3001: config and status) or ``inference`` (port 3000: flat and masked).
        schema: the version of the management shape.
        readers: reader id -> reader.
        is_null: answer ``status: null``.
        is_milliseconds: heartbeat timestamps in milliseconds.
        is_list: lists where the documentation has maps.
        extra: further top-level fields, as a later version may send.
        padding: bytes of blanks after the document, which JSON allows.
        now: the wall clock, for heartbeats.
    """

    shape: Literal["management", "inference"] = "management"
    schema: Schema = "doubleword"
    readers: dict[str, Reader] = attrs.field(factory=dict)
    is_null: bool = False
    is_milliseconds: bool = False
    is_list: bool = False
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    padding: int = 0
    now: Callable[[], float] = time.time

    def put(self, name: str, state: ReaderState, **rest: Any) -> None:
        """Add the reader `name`, or change it; `rest` as the attributes of `Reader`.

        A live reader's heartbeat is brought up to now at each answer; a dead one keeps its last.
        """
        before = self.readers.get(name, Reader(heartbeat_at=self.now()))
        self.readers[name] = attrs.evolve(before, state=state, **rest)

    def remove(self, name: str) -> None:
        """Forget the reader `name`."""
        del self.readers[name]

    def document(self) -> dict[str, Any]:
        """Return what ``/status`` answers now, before it is encoded."""
        document = (
            inference_document(self.readers)
            if self.shape == "inference"
            else management_document(self.readers, self.schema, is_milliseconds=self.is_milliseconds)
        )
        if self.is_list:
            document = with_lists(document)
        if self.is_null:
            document["status"] = None
        return document | dict(self.extra)

    def body(self) -> bytes:
        """Return the bytes that ``/status`` answers now."""
        return msgspec.json.encode(self.document()) + b" " * self.padding

    def respond(self, request: Request) -> Response:
        """Answer ``/status``, ``/healthz``, ``/reader_groups``, ``/metrics``; 404 for the rest."""
        if request.path == "/status":
            self._beat()
            return Response(body=self.body())
        if request.path == "/healthz":
            is_ready = any(reader.state == "live" for reader in self.readers.values())
            return Response(status=200 if is_ready else 503, content_type=None)
        if request.path == "/reader_groups" and self.shape == "management":
            return Response.json(self._groups())
        if request.path == "/metrics" and self.shape == "management":
            return Response.text('http_requests_total{status="200",path="/status"} 1\n')
        return Response(status=404, content_type=None)

    @property
    def forbidden_requests(self) -> list[str]:
        """The requests that a poller must never send: ``/healthz?wait=``, which holds them, and every write."""
        return [
            f"{request.method} {request.target}"
            for request in self.requests
            if request.method not in {"GET", "HEAD"}
            or (request.path == "/healthz" and "wait" in request.query)
        ]

    def _beat(self) -> None:
        for name, reader in self.readers.items():
            if reader.state == "live":
                self.readers[name] = attrs.evolve(reader, heartbeat_at=max(reader.heartbeat_at, self.now()))

    def _groups(self) -> dict[str, list[dict[str, Any]]]:
        groups: dict[str, list[dict[str, Any]]] = {}
        for name, reader in self.readers.items():
            groups.setdefault(reader.consumer_group, []).append(
                {
                    "reader_id": name,
                    "device": reader.device,
                    "model_name": reader.model_name,
                    "model_type": reader.model_type,
                    "pids": list(reader.pids),
                    "ready": reader.state == "live",
                }
            )
        return groups


def garbage_status_answers() -> dict[str, Behaviour]:
    """Return answers at 200 that are no status document, and a redirect, each by a name for test ids."""
    whole = msgspec.json.encode(management_document({"generate-1": Reader()}))
    return {
        "empty": say(200),
        "cut_json": say(200, whole[: len(whole) // 2]),
        "html": html(),
        "list": say(200, b"[]"),
        "null": say(200, b"null"),
        "nan": say(200, b'{"config":{"port":NaN},"status":null}'),
        "two_values": say(200, whole + whole),
        "not_utf8": say(200, b'{"config":{"repository_path":"\xff"},"status":null}'),
        "lone_surrogate": say(200, b'{"config":{"repository_path":"\\ud800"},"status":null}'),
        "deep": say(200, b'{"status":' * 100_000 + b"null" + b"}" * 100_000),
        "redirect": redirect("/elsewhere"),
    }
