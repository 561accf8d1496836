"""TitanML Takeoff: asks an inference server's status endpoint, relays the body at ``/status``, shows its readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl

import attrs

from statusd import (
    Document,
    Payload,
    ProbeError,
    Problem,
    Report,
    Snapshot,
    SourceRegistry,
    Url,
    View,
    ViewRegistry,
    expect_success,
    hookimpl,
    option,
    parse_object,
    problem,
    schemes,
)
from statusd_plugins.common_keys import body_size, expect_source, plain_path
from statusd_plugins.over_http import OverHttp
from statusd_plugins.takeoff_body import TakeoffStatus
from statusd_plugins.takeoff_readers import reports, understand
from statusd_plugins.takeoff_redaction import pointers_into_the_body, redacted

PLUGIN: Final = "takeoff"
TITLE: Final = "Server is not available"


def _without_wait(_instance: object, _attribute: object, url: Url) -> None:
    # Takeoff holds a request with `wait` open until a model is ready: no question for a probe.
    if any(name == "wait" for name, _ in parse_qsl(url.query, keep_blank_values=True)):
        raise ValueError(
            'must not have the query parameter "wait", which makes the server hold the answer back'
        )


@attrs.frozen(kw_only=True)
class TakeoffSource(OverHttp):
    """A Takeoff server's status endpoint, of its inference API or its management API."""

    url: Url = option(
        Url(),
        validator=[schemes("http", "https"), _without_wait],
        help='Address of the server\'s API, such as "http://127.0.0.1:3000"; empty = not configured.',
    )
    path: str = option(
        "/status", validator=plain_path, help="Path of the status endpoint, appended to `url`."
    )
    max_body: int = option(
        1 << 20, validator=body_size, help="Bytes of body after which the answer counts as `too_large`."
    )
    redact: tuple[str, ...] = option(
        (),
        validator=pointers_into_the_body,
        help='JSON pointers to leave out of the relayed body, such as "/config" or "/status/live_readers/*/pids"; '
        "without any the body is relayed byte for byte.",
    )

    @property
    def is_configured(self) -> bool:
        """Whether there is a URL."""
        return bool(self.url)

    async def probe(self) -> list[Report]:
        """Ask once; a 200 with one JSON object is relayed, whatever it says about the readers."""
        response = await self.get(self.url.with_path(self.path, self.url.query), max_body=self.max_body)
        expect_success(response)
        if response.status != 200:
            raise ProbeError(
                "unexpected_answer", f"The server answered {response.status}; expected 200 and a body."
            )
        body = bytes(response.body)
        whole, *parts = reports(understand(parse_object(body)))
        facts = dict(whole.facts)
        if self.redact:
            body, unmatched = redacted(body, self.redact)
            if unmatched:
                facts["redact_unmatched"] = [*unmatched]
        return [attrs.evolve(whole, facts=facts, payload=Payload(body)), *parts]


@attrs.frozen(kw_only=True)
class StatusView(View):
    """``/status``: the body of the first Takeoff source, byte for byte; ``/status/<source>``: that of each."""

    name: ClassVar[str] = "status"

    source: str = option(
        "",
        help='The source that "/status" relays; empty = the first one with plugin = "takeoff".',
    )

    def __attrs_post_init__(self) -> None:
        expect_source(self.source, self._sources, PLUGIN)

    @property
    def _sources(self) -> tuple[str, ...]:
        return self.context.sources_of(PLUGIN)

    def paths(self) -> tuple[str, ...]:
        """Return ``/status`` and a path a source."""
        return ("/status", *(f"/status/{name}" for name in self._sources))

    def sources(self, path: str) -> tuple[str, ...]:
        """Return the source whose body is relayed, if there is one."""
        name = path.removeprefix("/status").strip("/") or self.source or next(iter(self._sources), "")
        return (name,) if name else ()

    def responses(self, path: str) -> Mapping[int, Any]:  # noqa: ARG002  # the same for each
        """Return the documented body, or any object: those of other versions and of the inference API differ."""
        return {200: TakeoffStatus | dict[str, Any], 503: Problem}

    def render(self, path: str, snapshot: Snapshot) -> Document:
        """Return the relayed body while the newest probe is good and fresh, else 503."""
        names = self.sources(path)
        if not names:
            return _unavailable("not_configured", f'No source with plugin = "{PLUGIN}" is configured.')
        node = snapshot.find(f"sources/{names[0]}")
        if node is None:
            return _unavailable("pending")
        if node.is_restored:
            # What it said to an earlier run is known, but not its body.
            return attrs.evolve(
                _unavailable("pending", "The first probe has not finished yet."), detail="restored"
            )
        if node.payload is None:
            # Of the newest probe, like the body: thresholds and dependencies shape the node alone.
            newest = node if node.basis is None else node.basis.newest
            return _unavailable(newest.reason, newest.message)
        return Document(body=node.payload.body, content_type=node.payload.content_type)


def _unavailable(reason: str, message: str = "") -> Document:
    detail = "not_observed" if reason == "pending" else reason
    return attrs.evolve(problem(503, TITLE, reason, message), detail=detail)


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register the source type."""
    registry.add(TakeoffSource)


@hookimpl
def statusd_register_views(registry: ViewRegistry) -> None:
    """Register ``/status``."""
    registry.add(StatusView)
