"""`statusd probe`: one probe of one source, explained."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from statusd.config.load import read
from statusd.errors import StatusdError
from statusd.model.merge import own_report
from statusd.model.report import Json, Report
from statusd.model.status import Status
from statusd.net.trace import Step
from statusd.parts import Builder, BuiltSource
from statusd.planning import Plan, plan
from statusd.redaction import Redactor
from statusd.systemd.escaping import escape


class NoSuchSourceError(StatusdError):
    """Raised when the configuration has no source of that name."""


@attrs.frozen(kw_only=True)
class Explained:
    """One probe, from what was sent to the reports it became.

    Attributes:
        source: the source's name.
        plugin: its plugin's name.
        steps: what was sent and received, and what was waited for.
        took: seconds.
        reports: what it became.
    """

    source: str
    plugin: str
    steps: Sequence[Step]
    took: float
    reports: tuple[Report, ...]

    @property
    def is_ok(self) -> bool:
        """Whether the source itself is ok."""
        return own_report(self.reports).status is Status.OK

    def as_json(self) -> dict[str, Any]:
        """Return everything as a JSON object."""
        return {
            "source": self.source,
            "plugin": self.plugin,
            "took": round(self.took, 6),
            "steps": [{"at": round(step.at, 6), "kind": step.kind, "text": step.text} for step in self.steps],
            "reports": [_report_json(report) for report in self.reports],
        }

    def as_text(self) -> str:
        """Return everything for people."""
        marks = {"sent": ">", "received": "<", "phase": "*"}
        lines = [
            f"source {self.source} (plugin {self.plugin})",
            *(
                f"{step.at * 1000:9.1f} ms {marks[step.kind]} {escape(line)}".rstrip()
                for step in self.steps
                for line in step.text.splitlines() or [""]
            ),
        ]
        lines.append(f"{self.took * 1000:9.1f} ms   done")
        for report in self.reports:
            lines += _report_lines(report)
        return "\n".join(lines)


def probe(
    name: str, config: str | None, environ: Mapping[str, str], redactor: Redactor | None = None
) -> Explained:
    """Probe the source `name` once.

    Args:
        name: the source.
        config: the file, or None for what `run` would use.
        environ: the environment.
        redactor: learns the secrets.

    Raises:
        ConfigError: with every mistake in the configuration.
        StartError: when two plugins claim one name.
        NoSuchSourceError: with the names there are.
    """
    planned = plan(read(config, environ), redactor=redactor)
    return trio.run(_probe, name, planned)


async def _probe(name: str, planned: Plan) -> Explained:
    configs = {config.name: config for config in planned.configuration.sources}
    if name not in configs:
        raise NoSuchSourceError(
            f'no source "{name}" is configured; there are: {", ".join(configs) or "none"}'
        )
    builder = Builder(planned)
    built = builder.source(configs[name])
    builder.expect_no_mistakes()
    began = time.perf_counter()
    reports = await _reports(built)
    took = time.perf_counter() - began
    await builder.net.aclose()
    redactor = Redactor(planned.configuration.secrets)
    steps = [attrs.evolve(step, text=redactor(step.text)) for step in built.trace.steps]
    return Explained(source=name, plugin=configs[name].plugin, steps=steps, took=took, reports=reports)


async def _reports(built: BuiltSource) -> tuple[Report, ...]:
    if built.prober is None:
        return built.first
    built.trace.is_recording = True
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_ctrl_c, nursery.cancel_scope)
        reports = await built.prober.probe()
        nursery.cancel_scope.cancel()
        return reports
    raise KeyboardInterrupt


async def _cancel_on_ctrl_c(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Cancel `scope` at Ctrl-C: inside a probe its exception would be taken for a fault of the plugin."""
    with trio.open_signal_receiver(signal.SIGINT) as received:
        task_status.started()
        async for _number in received:
            scope.cancel()


def _report_json(report: Report) -> dict[str, Any]:
    about = {"model": report.model} if report.model is not None else {"path": report.path}
    return {
        **about,
        "status": report.status.value,
        "reason": report.reason,
        "message": report.message,
        "label": report.label,
        "facts": dict(report.facts),
        "measurements": dict(report.measurements),
        "payload_bytes": len(report.payload.body) if report.payload is not None else None,
    }


def _report_lines(report: Report) -> list[str]:
    about = f"model {report.model}" if report.model is not None else report.path or "the source"
    lines = [f"{about}: {report.status} ({report.reason}) {escape(report.message)}".rstrip()]
    if report.label:
        lines.append(f"    label: {report.label}")
    for kind in ("facts", "measurements"):
        for key, value in getattr(report, kind).items():
            lines.append(f"    {kind[:-1]} {escape(key)}: {escape(_value(value))}")
    if report.payload is not None:
        lines.append(f"    payload: {len(report.payload.body)} bytes, {report.payload.content_type}")
    return lines


def _value(value: Json) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
