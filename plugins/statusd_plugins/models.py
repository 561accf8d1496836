"""``/models``: every configured model, with the backend selected for it and whether it is connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from statusd import (
    Document,
    Node,
    OptionError,
    Snapshot,
    Status,
    View,
    ViewRegistry,
    hookimpl,
    option,
    segment,
)

NOBODY: Final[Mapping[str, Any]] = {"status": "unknown", "reason": "pending", "label": "pending"}
"""Stands in for the selected source of a model that the tree does not hold: the document is whole all the same."""

DRAINED: Final = "drained"
"""The reason of what an operator has taken out of service."""


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One model.

    Attributes:
        id: as configured.
        backend: which one is selected for it.
        connected: whether that one can serve it.
        reason: why.
    """

    id: str
    backend: str
    connected: bool
    reason: str


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``/models``.

    Attributes:
        models: every id, in the configured order.
        statuses: each of them, in the same order.
        default_model: the one to take where nobody chooses, if the configuration names one.
    """

    models: tuple[str, ...]
    statuses: tuple[ModelStatus, ...]
    default_model: str | UnsetType = UNSET


@attrs.frozen(kw_only=True)
class ModelsView(View):
    """``/models``: always 200, always every model, in the configured order."""

    name: ClassVar[str] = "models"

    default: str = option("", help="The model that `default_model` names; empty = no such field.")

    def __attrs_post_init__(self) -> None:
        if self.default and self.default not in self.context.models:
            known = ", ".join(f'"{model}"' for model in self.context.models) or "none"
            raise OptionError("default", f'"{self.default}" is no model of [models]; configured: {known}')

    def paths(self) -> tuple[str, ...]:
        """Return ``/models``."""
        return ("/models",)

    def sources(self, path: str) -> tuple[str, ...]:  # noqa: ARG002  # it has one path only
        """Return the sources that serve models."""
        return tuple(dict.fromkeys(name for names in self.context.serving.values() for name in names))

    def responses(self, path: str) -> Mapping[int, Any]:  # noqa: ARG002  # it has one path only
        """Return the list; always 200."""
        return {200: Models}

    def render(self, path: str, snapshot: Snapshot) -> Document:  # noqa: ARG002  # it has one path only
        """Return the list of models and what the tree says about each."""
        models = self.context.models
        nodes = [snapshot.find(f"models/{segment(model)}") for model in models]
        is_drained = _is_drained(snapshot.root) or _is_drained(snapshot.find("models"))
        selected = [_serving(node, is_drained=is_drained or _is_drained(node)) for node in nodes]
        body = Models(
            models=models,
            statuses=tuple(_status(model, one) for model, one in zip(models, selected, strict=True)),
            default_model=self.default or UNSET,
        )
        return Document(body=msgspec.json.encode(body), detail=_detail(selected, nodes))


def _status(model: str, selected: Mapping[str, Any]) -> ModelStatus:
    status = Status(selected["status"])
    return ModelStatus(
        id=model,
        backend=str(selected.get("backend", "")),
        connected=status.is_connected,
        reason=_reason(selected, status),
    )


def _is_drained(node: Node | None) -> bool:
    """Whether an operator has taken it out of service."""
    return node is not None and node.status is Status.OFF and node.reason == DRAINED


def _serving(node: Node | None, *, is_drained: bool) -> Mapping[str, Any]:
    """Return the selected source, as far as it may serve."""
    selected = _selected(node)
    if is_drained and selected["status"] != Status.OFF.value:
        return {**selected, "status": Status.OFF.value, "reason": DRAINED, "label": DRAINED}
    return selected


def _selected(node: Node | None) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = node.facts if node is not None else {}
    return next((one for one in facts.get("candidates", ()) if one["source"] == facts.get("source")), NOBODY)


def _reason(selected: Mapping[str, Any], status: Status) -> str:
    """Return the word of the documented endpoint; the fine cause is in the tree."""
    if selected["label"]:
        return str(selected["label"])
    if status is Status.OFF:
        return "not_configured"
    plugin = str(selected["plugin"])
    return plugin if status.is_connected else f"{plugin}_unavailable"


def _detail(selected: Sequence[Mapping[str, Any]], nodes: Sequence[Node | None]) -> str:
    """Return why a model is called what it is without anybody knowing; ``""``: of each it is known."""
    unknown = [str(one["reason"]) for one in selected if one["status"] == Status.UNKNOWN.value]
    if "pending" in unknown:
        return "not_observed"
    if "stale" in unknown:
        return "stale"
    if any(node is not None and node.is_restored for node in nodes):
        return "restored"
    return next(iter(unknown), "")


@hookimpl
def statusd_register_views(registry: ViewRegistry) -> None:
    """Register ``/models``."""
    registry.add(ModelsView)
