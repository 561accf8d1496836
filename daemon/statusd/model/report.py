"""Reports: what a probe says, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from statusd.model.status import Status

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None
"""A JSON value (RFC 8259)."""


@attrs.frozen
class Payload:
    """Bytes for a view, such as an upstream's body; they re-render documents without raising the revision."""

    body: bytes
    content_type: str = "application/json"


@attrs.frozen(kw_only=True)
class Report:
    """One immutable statement by a source about itself, about a part below it, or about a model it serves.

    Attributes:
        status: how the thing is doing.
        reason: a lower_snake_case word for programs; see ``statusd.REASONS``.
        message: one sentence for people; no raw exception text, no secrets, no noise such as latencies.
        path: the part below the source's own node, as ``"readers/r1"`` with percent-encoded segments (see
            ``statusd.segment``); ``""`` = the source itself.
        model: the model id this is about, instead of a part; must be one that the source is configured to serve.
        label: for a model: the word that ``/models`` shows as ``reason`` instead of the usual one.
        facts: the state that goes with the status, as JSON values; a change here is a change of state.
        measurements: noise such as latencies and heartbeat times; a change here never counts as one.
        payload: bytes for a view; only on the source itself (``path == ""``).
    """

    status: Status
    reason: str = "ok"
    message: str = ""
    path: str = ""
    model: str | None = None
    label: str = ""
    facts: Mapping[str, Json] = attrs.field(factory=dict)
    measurements: Mapping[str, float] = attrs.field(factory=dict)
    payload: Payload | None = None

    @classmethod
    def ok(cls, reason: str = "ok", message: str = "", **rest: Any) -> Report:
        """Return a report with status `ok`; `rest` as the other attributes."""
        return cls(status=Status.OK, reason=reason, message=message, **rest)

    @classmethod
    def degraded(cls, reason: str, message: str = "", **rest: Any) -> Report:
        """Return a report with status `degraded`; `rest` as the other attributes."""
        return cls(status=Status.DEGRADED, reason=reason, message=message, **rest)

    @classmethod
    def unknown(cls, reason: str, message: str = "", **rest: Any) -> Report:
        """Return a report with status `unknown`; `rest` as the other attributes."""
        return cls(status=Status.UNKNOWN, reason=reason, message=message, **rest)

    @classmethod
    def down(cls, reason: str, message: str = "", **rest: Any) -> Report:
        """Return a report with status `down`; `rest` as the other attributes."""
        return cls(status=Status.DOWN, reason=reason, message=message, **rest)

    @classmethod
    def off(cls, reason: str = "not_configured", message: str = "", **rest: Any) -> Report:
        """Return a report with status `off`; `rest` as the other attributes."""
        return cls(status=Status.OFF, reason=reason, message=message, **rest)
