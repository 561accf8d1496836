"""A simulated OmniRT server: models that connect and drop, an optional key, both paths of its model list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from statusd.testing.behaviours import Behaviour, html, redirect, say
from statusd.testing.upstream import Upstream
from statusd.testing.wire import Request, Response

FRESH_STATUSES: Final[Mapping[str, str]] = {
    "flashtalk": "fallback_runtime",
    "wav2lip": "runtime_not_enabled",
    "quicktalk": "runtime_not_enabled",
    "musetalk": "not_configured",
    "fasterliveportrait": "runtime_not_enabled",
    "fasterliveportrait_video_clone": "runtime_not_enabled",
}
"""Model id -> reason, as OmniRT 0.1.0 answers with no runtime: none is connected."""


@attrs.define(eq=False, kw_only=True)
class OmniRT(Upstream):
    """An OmniRT server; change its models by `connect` and `drop`.

    Attributes:
        prefix: path before every other, as a gateway adds one.
        api_key: the key it wants as ``Authorization: Bearer``; none when empty.
        has_current_path: whether ``/v1/audio2video/models`` exists.
        has_legacy_path: whether ``/v1/avatar/models`` exists.
        connected: ids of the connected models.
        reasons: id -> reason, of every model it knows.
    """

    prefix: str = ""
    api_key: str = ""
    has_current_path: bool = True
    has_legacy_path: bool = False
    connected: list[str] = attrs.field(factory=list)
    reasons: dict[str, str] = attrs.field(factory=lambda: dict(FRESH_STATUSES))

    def connect(self, model: str) -> None:
        """Bring `model` up."""
        if model not in self.connected:
            self.connected.append(model)
        self.reasons[model] = "ready"

    def drop(self, model: str, reason: str = "worker_lost") -> None:
        """Take `model` down, with the `reason` that its entry then shows."""
        self.connected.remove(model)
        self.reasons[model] = reason

    def document(self) -> dict[str, Any]:
        """Return what the model list answers now."""
        return {
            "models": list(self.connected),
            "statuses": [
                {"id": model, "connected": model in self.connected, "reason": reason}
                for model, reason in self.reasons.items()
            ],
        }

    def respond(self, request: Request) -> Response:
        """Answer the model list, ``/healthz``, ``/readyz`` and ``/metrics``; 404 for the rest."""
        if not request.path.startswith(f"{self.prefix}/"):
            return Response.json({"detail": "Not Found"}, 404)
        path = request.path.removeprefix(self.prefix)
        if path == "/healthz":
            return Response.json({"ok": True})
        if path == "/readyz":
            return Response.json(
                {
                    "ok": True,
                    "job_store_backend": "memory",
                    "remote_worker_count": 0,
                    "allowed_model_tiers": [],
                }
            )
        if path == "/metrics":
            return Response.text('omnirt_queue_depth{priority="default"} 0\n')
        is_list = (path == "/v1/audio2video/models" and self.has_current_path) or (
            path == "/v1/avatar/models" and self.has_legacy_path
        )
        if not is_list:
            return Response.json({"detail": "Not Found"}, 404)
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return Response.json({"detail": "Unauthorized"}, 401)
        return Response.json(self.document())


def garbage_model_lists() -> dict[str, Behaviour]:
    """Return answers at 200 that are no model list, and a redirect, each by a name for test ids."""
    return {
        "empty": say(200),
        "cut_json": say(200, b'{"models":["flashtalk"'),
        "html": html(),
        "list": say(200, b'["flashtalk"]'),
        "text": say(200, b'"flashtalk"'),
        "models_is_text": say(200, b'{"models":"flashtalk","statuses":"flashtalk"}'),
        "models_of_numbers": say(200, b'{"models":[1,null,{}],"statuses":[1,null,{}]}'),
        "not_utf8": say(200, b'{"models":["\xff"]}'),
        "deep": say(200, b'{"models":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "redirect": redirect("/v1/models"),
    }
