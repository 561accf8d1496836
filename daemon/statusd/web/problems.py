"""The error answers of the HTTP server itself."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from statusd.plugin.contracts import Document, problem

_PROBLEMS: Final[Mapping[int, tuple[str, str, str]]] = MappingProxyType(
    {
        400: ("Bad Request", "bad_request", "The request is not valid HTTP/1.1 (RFC 9112)."),
        404: ("Not Found", "not_found", "Nothing is served at this path."),
        405: ("Method Not Allowed", "method_not_allowed", "Only GET, HEAD and OPTIONS are served."),
        408: ("Request Timeout", "request_timeout", "The request's body did not arrive in time."),
        413: ("Content Too Large", "content_too_large", "The request's body is over the limit."),
        431: (
            "Request Header Fields Too Large",
            "header_too_large",
            "The request's header is over the limit.",
        ),
        500: ("Internal Server Error", "internal_error", "The daemon failed to answer; its log says why."),
        501: ("Not Implemented", "not_implemented", "The request uses a transfer coding other than chunked."),
        503: (
            "Service Unavailable",
            "too_many_streams",
            "As many event streams are open as the daemon serves; ask again later, or poll /state.",
        ),
        505: (
            "HTTP Version Not Supported",
            "version_not_supported",
            "Only HTTP/1.0 and HTTP/1.1 are served.",
        ),
    }
)


def phrase(status: int) -> str:
    """Return the reason phrase for a status line (RFC 9110, section 15); ``""`` for a code that has none."""
    if status in _PROBLEMS:
        return _PROBLEMS[status][0]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def http_problem(status: int) -> Document:
    """Return the answer for a failure that HTTP itself has a status code for."""
    title, reason, detail = _PROBLEMS.get(status, (phrase(status) or "Error", f"http_{status}", ""))
    return problem(status, title, reason, detail)
