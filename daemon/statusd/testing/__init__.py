"""For authors of plugins: fakes, simulators of the upstreams, and conformance checks."""

from __future__ import annotations

from statusd.testing.behaviours import (
    Answer,
    Behaviour,
    Cut,
    Delay,
    Drip,
    Drop,
    Exchange,
    Flood,
    Hang,
    Ignore,
    Port,
    Raw,
    Refuse,
    Say,
    Unreachable,
    endless_body,
    endless_headers,
    endless_interim,
    html,
    huge_body,
    redirect,
    say,
)
from statusd.testing.conformance import (
    check_cancellation,
    check_failures,
    check_garbage,
    check_healthy,
    check_keys,
    check_secrets,
    check_source,
)
from statusd.testing.fakes import (
    FakeClock,
    FakeCompleted,
    FakeContext,
    FakeHttp,
    FakeRedis,
    FakeResponse,
    FakeTcp,
    FakeWebSocket,
)
from statusd.testing.flashhead import FlashHead
from statusd.testing.hostile import Garbage, garbage
from statusd.testing.listening import check_watch
from statusd.testing.llamacpp import LlamaCpp
from statusd.testing.omnirt import OmniRT, garbage_model_lists
from statusd.testing.servers import SERVERS, CannedServer, ServerKind
from statusd.testing.takeoff import NOT_AVAILABLE, Takeoff, garbage_status_answers
from statusd.testing.takeoff_schemas import (
    SCHEMAS,
    Reader,
    inference_document,
    management_document,
    with_lists,
)
from statusd.testing.upstream import Upstream
from statusd.testing.wire import Request, Response

__all__ = [
    "NOT_AVAILABLE",
    "SCHEMAS",
    "SERVERS",
    "Answer",
    "Behaviour",
    "CannedServer",
    "Cut",
    "Delay",
    "Drip",
    "Drop",
    "Exchange",
    "FakeClock",
    "FakeCompleted",
    "FakeContext",
    "FakeHttp",
    "FakeRedis",
    "FakeResponse",
    "FakeTcp",
    "FakeWebSocket",
    "FlashHead",
    "Flood",
    "Garbage",
    "Hang",
    "Ignore",
    "LlamaCpp",
    "OmniRT",
    "Port",
    "Raw",
    "Reader",
    "Refuse",
    "Request",
    "Response",
    "Say",
    "ServerKind",
    "Takeoff",
    "Unreachable",
    "Upstream",
    "check_cancellation",
    "check_failures",
    "check_garbage",
    "check_healthy",
    "check_keys",
    "check_secrets",
    "check_source",
    "check_watch",
    "endless_body",
    "endless_headers",
    "endless_interim",
    "garbage",
    "garbage_model_lists",
    "garbage_status_answers",
    "html",
    "huge_body",
    "inference_document",
    "management_document",
    "redirect",
    "say",
    "with_lists",
]
