"""The error answers of the HTTP server itself."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from statusd.plugin.contracts import Document, problem

TOO_MANY_STREAMS: Final = "too_many_streams"
TOO_MANY_WAITING: Final = "too_many_waiting"
TOO_MANY_CONNECTIONS: Final = "too_many_connections"

_DETAILS: Final[Mapping[int, Mapping[str, str]]] = MappingProxyType(
    {
        400: {"bad_request": "The request is not valid HTTP (RFC 9112, RFC 9113)."},
        401: {
            "unauthorized": "This wants the token of [http] token: send it as Authorization: Bearer <token>, or as the "
            "password of any user."
        },
        404: {"not_found": "Nothing is served at this path."},
        405: {"method_not_allowed": "Only GET, HEAD and OPTIONS are served."},
        408: {"request_timeout": "The request's body did not arrive in time."},
        413: {"content_too_large": "The request's body is over the limit."},
        421: {
            "unknown_host": "The request names a host that this daemon does not answer for: add the name to [http] hosts, "
            "or ask by IP address or as localhost."
        },
        429: {
            "too_many_from_address": "From this address as many connections are open as one may have: close some, or raise "
            "connections_per_peer in [http.limits]."
        },
        431: {"header_too_large": "The request's header is over the limit."},
        500: {"internal_error": "The daemon failed to answer; its log says why."},
        501: {"not_implemented": "The request uses a transfer coding other than chunked."},
        503: {
            TOO_MANY_CONNECTIONS: "As many connections are open as the daemon serves; ask again later, or raise connections "
            "in [http.limits].",
            TOO_MANY_STREAMS: "As many event streams are open as the daemon serves; ask again later, or poll /state.",
            TOO_MANY_WAITING: "As many requests wait for news or for probes as the daemon serves; ask again later, or "
            "without wait and Cache-Control.",
        },
        505: {
            "version_not_supported": "Only HTTP/1.0 and HTTP/1.1 are served in this form; HTTP/2 is negotiated over TLS."
        },
    }
)
"""Status code -> reason -> what happened, and the remedy; the first reason is the one that it commonly is."""


def phrase(status: int) -> str:
    """Return the reason phrase for a status line (RFC 9110, section 15); ``""`` for a code that has none."""
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "Content Too Large"  # the name of RFC 9110, which Python has from 3.13 on
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def http_problem(status: int, reason: str = "") -> Document:
    """Return the answer for a failure that HTTP itself has a status code for.

    Args:
        status: the status code.
        reason: which of the failures with that code it is; ``""`` = the one that it commonly is.
    """
    details = _DETAILS.get(status, {f"http_{status}": ""})
    reason = reason or next(iter(details))
    return problem(status, phrase(status) or "Error", reason, details[reason])


def reasons(status: int) -> tuple[str, ...]:
    """Return the reasons that `http_problem` knows with `status`."""
    return tuple(_DETAILS.get(status, ()))
