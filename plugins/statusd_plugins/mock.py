"""A source without an upstream: its models are there because the configuration says so."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from statusd import Report, Source, SourceRegistry, Status, hookimpl, option

LABEL: Final = "local_self_test"


@attrs.frozen(kw_only=True)
class MockSource(Source):
    """Answers always, and always alike; for demonstrations, tests and the model ``mock``."""

    status: Literal["ok", "degraded", "unknown", "down", "off"] = option(
        "ok", help="The status to report, for itself and its models."
    )
    message: str = option("", help="The sentence to report with it.")

    async def probe(self) -> list[Report]:
        """Report the configured status; nothing is asked."""
        status = Status(self.status)
        is_ok = status is Status.OK
        whole = Report(status=status, reason="ok" if is_ok else "mocked", message=self.message)
        label = LABEL if is_ok else ""
        return [whole, *(attrs.evolve(whole, model=model, label=label) for model in self.context.models)]


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register the source type."""
    registry.add(MockSource)
