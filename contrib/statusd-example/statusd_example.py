"""The backend `llamacpp_slots`, which counts a llama.cpp server's busy slots, and the endpoint `/slots`."""

from __future__ import annotations

import json
from typing import ClassVar

import attrs

from statusd import (
    Document,
    HttpResponse,
    HttpSource,
    ProbeError,
    Report,
    Secret,
    Snapshot,
    SourceRegistry,
    Url,
    View,
    ViewRegistry,
    expect_success,
    hookimpl,
    option,
    parse_json,
    schemes,
)


@attrs.frozen(kw_only=True)
class LlamaCppSlots(HttpSource):
    """A llama.cpp server: `degraded` while all of its slots are taken."""

    url: Url = option(
        Url(), validator=schemes("http", "https"), help="Address of the server; empty = not configured."
    )
    api_key: Secret | None = option(None, help="What the server was started with as --api-key.")

    @property
    def is_configured(self) -> bool:
        """Whether there is a server to ask."""
        return bool(self.url)

    async def probe(self) -> Report:
        """Count the busy slots; where the server does not show them, its health decides."""
        response = await self._ask("/slots")
        if response.status in {404, 501, 503}:  # off by --no-slots, or still loading: /health tells which
            response = await self._ask("/health")
            if b"Loading model" in response.body:
                raise ProbeError("loading", "The server is still loading its model.")
            expect_success(response)
            return Report.ok(message="The server is well, and does not show its slots.")
        expect_success(response)
        match parse_json(response.body):
            case [*slots] if slots and all(type(slot) is dict and "is_processing" in slot for slot in slots):
                busy = sum(slot["is_processing"] is True for slot in slots)
            case _:
                raise ProbeError("unexpected_answer", "The answer is no list of slots: is this llama.cpp?")
        facts = {"busy": busy, "total": len(slots)}
        if busy == len(slots):
            return Report.degraded("busy", f"All {busy} slots are taken.", facts=facts)
        return Report.ok(facts=facts)

    async def _ask(self, path: str) -> HttpResponse:
        headers = {"Authorization": f"Bearer {self.api_key.reveal()}"} if self.api_key else {}
        return await self.get(self.url.with_path(path), headers=headers)


@attrs.frozen(kw_only=True)
class SlotsView(View):
    """`/slots`: the slots of every such source, null where they are not known."""

    name: ClassVar[str] = "slots"

    def paths(self) -> tuple[str, ...]:
        """Return `/slots`."""
        return ("/slots",)

    def render(self, path: str, snapshot: Snapshot) -> Document:  # noqa: ARG002  # it has one path only
        """Read the counts from the tree; nothing is asked."""
        rows = []
        for name in self.context.sources_of("llamacpp_slots"):
            node = snapshot.find(f"sources/{name}")
            facts = node.facts if node is not None and node.status.is_connected else {}
            rows.append({"name": name, "busy": facts.get("busy"), "total": facts.get("total")})
        return Document(body=json.dumps({"sources": rows}, separators=(",", ":")).encode())


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register the backend; its name is the entry point's."""
    registry.add(LlamaCppSlots)


@hookimpl
def statusd_register_views(registry: ViewRegistry) -> None:
    """Register the endpoint."""
    registry.add(SlotsView)
