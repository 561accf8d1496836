"""The public plugin API of statusd: everything a plugin imports, with `statusd.testing` for its tests."""

from __future__ import annotations

from importlib.metadata import version as _version

from statusd.errors import OptionError, ProbeError, StatusdError
from statusd.model.jsontext import parse_json, parse_object
from statusd.model.reasons import REASONS
from statusd.model.report import Json, Payload, Report
from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node, Transition, segment
from statusd.plugin.context import (
    Clock,
    Completed,
    Context,
    HttpClient,
    HttpResponse,
    RedisClient,
    SourceInfo,
    TcpClient,
    ViewContext,
    WebSocketClient,
)
from statusd.plugin.contracts import (
    Document,
    HttpSource,
    Problem,
    Sink,
    Source,
    View,
    expect_success,
    problem,
)
from statusd.plugin.hookspecs import SinkRegistry, SourceRegistry, ViewRegistry, hookimpl
from statusd.plugin.options import option, positive, schemes
from statusd.values import Secret, Url

__version__ = _version("statusd")

__all__ = [
    "REASONS",
    "Clock",
    "Completed",
    "Context",
    "Document",
    "HttpClient",
    "HttpResponse",
    "HttpSource",
    "Json",
    "Node",
    "OptionError",
    "Payload",
    "ProbeError",
    "Problem",
    "RedisClient",
    "Report",
    "Secret",
    "Sink",
    "SinkRegistry",
    "Snapshot",
    "Source",
    "SourceInfo",
    "SourceRegistry",
    "Status",
    "StatusdError",
    "TcpClient",
    "Transition",
    "Url",
    "View",
    "ViewContext",
    "ViewRegistry",
    "WebSocketClient",
    "expect_success",
    "hookimpl",
    "option",
    "parse_json",
    "parse_object",
    "positive",
    "problem",
    "schemes",
    "segment",
]
