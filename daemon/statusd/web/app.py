"""The HTTP application: documents by path, and every error as problem+json."""

from __future__ import annotations

import logging
from typing import Any, Final

import trio
from quart import Response, request
from quart.wrappers import base
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from statusd.plugin.contracts import Document
from statusd.web.documents import Documents
from statusd.web.guard import Guard, root_cause
from statusd.web.limits import Limits
from statusd.web.problems import http_problem

METHODS: Final = ("GET", "HEAD", "OPTIONS")
ALLOW: Final = ", ".join(METHODS)

GONE: Final[type[Exception]] = getattr(base, "ClientDisconnectedError", trio.BrokenResourceError)
"""What Quart raises from 0.23 on when the client has left."""


class App(QuartTrio):
    """Quart, with its log lines in the daemon's log."""

    guard: Guard

    def log_exception(self, *about: Any) -> None:
        """Log a failed request, in place of Quart's own log with its own format and thread.

        Args:
            about: the exception triple; from Quart 0.23 on after the request's context.
        """
        error: BaseException = about[-1][1]
        if not isinstance(root_cause(error), GONE):
            self.guard.note("request", error)

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request; a client that leaves meanwhile is no failure."""
        try:
            await super().asgi_app(scope, receive, send)
        except* GONE:
            pass

    def create_url_adapter(self, request: base.BaseRequestWebsocket | None) -> MapAdapter | None:
        """Bind the URL map without the ``Host``: no route depends on it, and Quart fails on many valid ones."""
        if request is None:
            return super().create_url_adapter(None)
        return self.url_map.bind("localhost", default_method=request.method, path_info=request.path)


def create_app(documents: Documents, limits: Limits | None = None) -> QuartTrio:
    """Return the application that serves `documents`.

    Args:
        documents: what is served.
        limits: of bodies; the defaults when None.
    """
    limits = limits or Limits()
    app = App("statusd", static_folder=None)
    app.guard = Guard()
    app.logger = logging.getLogger("statusd.web")  # Quart's own would start a thread and print by itself
    app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes
    app.config["BODY_TIMEOUT"] = limits.body_timeout
    app.config["RESPONSE_TIMEOUT"] = None  # each connection has its own bounds; this one cuts streams
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.url_map.merge_slashes = False  # //health is another path, and no reason to redirect

    @app.before_request
    async def answer_document() -> Response | None:
        # Read to its end or its limit first: what is unread would be taken for the next request, or reset the answer.
        await request.get_data(cache=False)
        return _answer(documents)

    @app.errorhandler(HTTPException)
    async def answer_problem(error: HTTPException) -> Response:
        response = _response(http_problem(error.code or 500))
        if methods := getattr(error, "valid_methods", None):
            response.headers["Allow"] = ", ".join(sorted(methods))
        if error.code in {408, 413}:
            response.headers["Connection"] = "close"
        return response

    return app


def _answer(documents: Documents) -> Response | None:
    """Return the answer for the current request; None leaves it to the routes, and so to 404."""
    path = request.scope["raw_path"].decode("ascii")
    if path == "*":  # asks about the server itself (RFC 9110, section 9.3.7)
        return _options()
    document = documents.get(path)
    if document is None:
        return None
    if request.method == "OPTIONS":
        return _options()
    if request.method not in METHODS:
        response = _response(http_problem(405))
        response.headers["Allow"] = ALLOW
        return response
    return _response(document)


def _options() -> Response:
    response = Response(b"", 204, {"Allow": ALLOW})
    del response.headers["Content-Type"]
    del response.headers["Content-Length"]
    return response


def _response(document: Document) -> Response:
    return Response(
        document.body,
        document.status,
        {"X-Content-Type-Options": "nosniff"},
        content_type=document.content_type,
    )
