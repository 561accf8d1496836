"""``/models``: every configured model, with the backend selected for it and whether it is connected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import attrs
import msgspec

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

    def render(self, path: str, snapshot: Snapshot) -> Document:  # noqa: ARG002  # it has one path only
        """Return the list of models and what the tree says about each."""
        models = self.context.models
        body: dict[str, object] = {
            "models": models,
            "statuses": [_status(model, snapshot.find(f"models/{segment(model)}")) for model in models],
        }
        if self.default:
            body["default_model"] = self.default
        return Document(body=msgspec.json.encode(body))


def _status(model: str, node: Node | None) -> dict[str, str | bool]:
    selected = _selected(node)
    status = Status(selected["status"])
    return {
        "id": model,
        "backend": str(selected.get("backend", "")),
        "connected": status.is_connected,
        "reason": _reason(selected, status),
    }


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


@hookimpl
def statusd_register_views(registry: ViewRegistry) -> None:
    """Register ``/models``."""
    registry.add(ModelsView)
