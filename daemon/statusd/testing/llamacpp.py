"""A simulated llama.cpp server: ``/health`` with its loading answer, ``/slots``, ``/v1/models``."""

from __future__ import annotations

from typing import Any

import attrs

from statusd.testing.upstream import Upstream
from statusd.testing.wire import Request, Response


@attrs.define(eq=False, kw_only=True)
class LlamaCpp(Upstream):
    """A llama.cpp server.

    Attributes:
        is_loading: whether it still loads its model; then everything answers 503.
        slots: one flag a slot: whether it is processing.
        has_slots: whether ``/slots`` is on (off by ``--no-slots``).
        model: the id that ``/v1/models`` lists.
        api_key: the key that every path but the two of health wants; none when empty.
    """

    is_loading: bool = False
    slots: list[bool] = attrs.field(factory=lambda: [False, False])
    has_slots: bool = True
    model: str = "tiny-llama-q4.gguf"
    api_key: str = ""

    def respond(self, request: Request) -> Response:
        """Answer as the server does in its present state."""
        if self.is_loading:
            return _error(503, "Loading model", "unavailable_error")
        if request.path in {"/health", "/v1/health"}:
            return Response.json({"status": "ok"})
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return _error(401, "Invalid API Key", "authentication_error")
        if request.path == "/slots":
            return self._slots(request)
        if request.path in {"/models", "/v1/models"}:
            return Response.json({"object": "list", "data": [{"id": self.model, "object": "model"}]})
        return _error(404, "File Not Found", "not_found_error")

    def _slots(self, request: Request) -> Response:
        if not self.has_slots:
            return _error(501, "This server does not support slots endpoint.", "not_supported_error")
        if all(self.slots) and "fail_on_no_slot=1" in request.query.split("&"):
            return _error(503, "no slot available", "unavailable_error")
        document: list[dict[str, Any]] = [
            {"id": number, "is_processing": is_busy} for number, is_busy in enumerate(self.slots)
        ]
        return Response.json(document)


def _error(code: int, message: str, kind: str) -> Response:
    return Response.json({"error": {"code": code, "message": message, "type": kind}}, code)
