"""Simulated inference servers as a table: what each answers when well and when not, and what nobody may ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from statusd.testing.upstream import Upstream
from statusd.testing.wire import Request, Response

EMPTY: Final = Response(content_type=None)
"""200 without a body."""


@attrs.frozen(kw_only=True)
class ServerKind:
    """One kind of inference server.

    Attributes:
        well: path -> answer while it serves.
        unwell: path -> answer while it does not; a path that is absent here answers as in `well`.
        forbidden: paths, or beginnings of paths ending in ``/``, that a poller must never GET.
        models: the ids its model list names while it serves.
    """

    well: Mapping[str, Response]
    unwell: Mapping[str, Response]
    forbidden: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def _openai_list(*models: str) -> Response:
    return Response.json({"object": "list", "data": [{"id": model, "object": "model"} for model in models]})


_UNAVAILABLE: Final = Response(status=503, content_type=None)
_OLLAMA_MODEL: Final = {
    "name": "gemma3:latest",
    "model": "gemma3:latest",
    "size": 6_591_830_464,
    "digest": "a2af6cc3eb7f",
    "details": {"family": "gemma3", "parameter_size": "4.3B"},
    "expires_at": "2026-11-21T17:36:00.000000000Z",
    "size_vram": 5_333_539_264,
    "context_length": 4096,
}
_SWAP_MODEL: Final = {
    "model": "qwen",
    "state": "ready",
    "cmd": "llama-server --api-key swap-secret",
    "proxy": "http://127.0.0.1:5800",
    "ttl": 0,
    "name": "",
    "description": "",
}

SERVERS: Final[Mapping[str, ServerKind]] = {
    "vllm": ServerKind(
        well={
            "/health": EMPTY,
            "/v1/models": _openai_list("meta-llama/Llama-3.1-8B-Instruct"),
            "/load": Response.json({"server_load": 3}),
        },
        unwell={"/health": _UNAVAILABLE, "/v1/models": _UNAVAILABLE},
        models=("meta-llama/Llama-3.1-8B-Instruct",),
    ),
    "tgi": ServerKind(
        well={
            "/health": EMPTY,
            "/info": Response.json({"model_id": "tiiuae/falcon-7b", "model_dtype": "torch.float16"}),
        },
        unwell={"/health": Response.json({"error": "unhealthy", "error_type": "healthcheck"}, 503)},
        models=("tiiuae/falcon-7b",),
    ),
    "triton": ServerKind(
        well={"/v2/health/live": EMPTY, "/v2/health/ready": EMPTY, "/v2/models/resnet/ready": EMPTY},
        unwell={
            "/v2/health/ready": Response(status=400, content_type=None),
            "/v2/models/resnet/ready": Response(status=400, content_type=None),
        },
    ),
    "ollama": ServerKind(
        well={
            "/": Response.text("Ollama is running"),
            "/api/ps": Response.json({"models": [_OLLAMA_MODEL]}),
            "/api/tags": Response.json({"models": [_OLLAMA_MODEL]}),
            "/api/version": Response.json({"version": "0.12.0"}),
        },
        unwell=dict.fromkeys(("/", "/api/ps", "/api/tags", "/api/version"), _UNAVAILABLE),
        models=("gemma3:latest",),
    ),
    "llamacpp": ServerKind(
        well={
            "/health": Response.json({"status": "ok"}),
            "/v1/health": Response.json({"status": "ok"}),
            "/v1/models": _openai_list("tiny-llama-q4.gguf"),
        },
        unwell=dict.fromkeys(
            ("/health", "/v1/health", "/v1/models"),
            Response.json(
                {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, 503
            ),
        ),
        models=("tiny-llama-q4.gguf",),
    ),
    "sglang": ServerKind(
        well={
            "/health": EMPTY,
            "/health_generate": EMPTY,
            "/v1/models": _openai_list("qwen/qwen2.5-0.5b-instruct"),
            "/get_model_info": Response.json(
                {"model_path": "qwen/qwen2.5-0.5b-instruct", "is_generation": True}
            ),
            "/get_server_info": Response.json({"api_key": "sglang-secret", "version": "0.5.0"}),
        },
        unwell={"/health": _UNAVAILABLE, "/health_generate": _UNAVAILABLE},
        forbidden=("/health_generate",),
        models=("qwen/qwen2.5-0.5b-instruct",),
    ),
    "litellm": ServerKind(
        well={
            "/health/liveliness": Response.json("I'm alive!"),
            "/health/readiness": Response.json({"status": "healthy", "db": "connected"}),
            "/health": Response.json({"healthy_endpoints": [], "unhealthy_endpoints": []}),
            "/v1/models": _openai_list("gpt-4o"),
        },
        unwell={
            "/health/liveliness": _UNAVAILABLE,
            "/health/readiness": Response.json({"status": "unhealthy", "db": "disconnected"}, 503),
        },
        forbidden=("/health",),
        models=("gpt-4o",),
    ),
    "ray_serve": ServerKind(
        well={"/-/healthz": Response.text("success"), "/-/routes": Response.json({"/": "app"})},
        unwell={"/-/healthz": Response.text("This node is being drained.", 503)},
    ),
    "llama_swap": ServerKind(
        well={
            "/health": Response.text("OK"),
            "/running": Response.json({"running": [_SWAP_MODEL]}),
            "/v1/models": _openai_list("qwen", "smollm"),
            "/upstream/qwen/health": EMPTY,
        },
        unwell={"/health": _UNAVAILABLE, "/running": _UNAVAILABLE},
        forbidden=("/upstream/",),
        models=("qwen",),
    ),
}
"""Preset name of the ``http`` plugin -> server."""


@attrs.define(eq=False, kw_only=True)
class CannedServer(Upstream):
    """A server of one of the `SERVERS`.

    Attributes:
        kind: what it is.
        is_well: whether it serves.
        prefix: path before every other, as a gateway adds one.
    """

    kind: ServerKind
    is_well: bool = True
    prefix: str = ""

    @classmethod
    def named(cls, name: str, **rest: bool | str) -> CannedServer:
        """Return the server `name` of the table; `rest` as the other attributes."""
        return cls(kind=SERVERS[name], **rest)  # type: ignore[arg-type]  # mypy: each value fits its own attribute

    def respond(self, request: Request) -> Response:
        """Answer from the table; 404 for the rest."""
        path = request.path.removeprefix(self.prefix)
        answers = {**self.kind.well, **({} if self.is_well else self.kind.unwell)}
        return answers.get(path, Response(status=404, content_type=None))

    @property
    def forbidden_requests(self) -> list[str]:
        """The requests received that a poller must never send: the costly GETs, and everything but GET and HEAD."""
        return [
            f"{request.method} {request.target}"
            for request in self.requests
            if request.method not in {"GET", "HEAD"}
            or self._is_forbidden(request.path.removeprefix(self.prefix))
        ]

    def _is_forbidden(self, path: str) -> bool:
        return any(
            path.startswith(forbidden) if forbidden.endswith("/") else path == forbidden
            for forbidden in self.kind.forbidden
        )
