"""The HTTP application: documents by path, and every error as problem+json."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import trio
from quart import Response, request
from quart.wrappers import base
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from statusd.model.snapshot import Snapshot
from statusd.plugin.contracts import Document
from statusd.web.edge.guard import Guard, root_cause
from statusd.web.edge.limits import Limits
from statusd.web.events import event_stream, last_event_id, resumed
from statusd.web.feed import Feed
from statusd.web.freshness import Freshness
from statusd.web.problems import http_problem
from statusd.web.quality import is_match, quality_fields
from statusd.web.query import Query, QueryError, branch_in, query_of, revision_in, seconds_in
from statusd.web.site import Ask, Endpoint, Site, no_such_node

METHODS: Final = ("GET", "HEAD", "OPTIONS")
ALLOW: Final = ", ".join(METHODS)
EVENT_STREAM: Final = "text/event-stream"
MOST_WAIT: Final = 60.0
"""Seconds that a long poll waits at most."""
STREAM: Final = "statusd.stream"
"""Marks the scope of a request that has one of the places for event streams."""

GONE: Final[type[Exception]] = getattr(base, "ClientDisconnectedError", trio.BrokenResourceError)
"""What Quart raises from 0.23 on when the client has left."""


class App(QuartTrio):
    """Quart, with its log lines in the daemon's log."""

    guard: Guard
    streams: int = 0
    """Event streams that have a place, from before their answer begins: many may ask before the first one is sent."""

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
        finally:
            self.streams -= scope.get(STREAM, 0)

    def create_url_adapter(self, request: base.BaseRequestWebsocket | None) -> MapAdapter | None:
        """Bind the URL map without the ``Host``: no route depends on it, and Quart fails on many valid ones."""
        if request is None:
            return super().create_url_adapter(None)
        return self.url_map.bind("localhost", default_method=request.method, path_info=request.path)


@attrs.frozen(kw_only=True)
class Service:
    """What the application serves.

    Attributes:
        site: the endpoints.
        feed: what revisions changed, for those who wait for one.
        freshness: has sources probed for requests that want them fresh.
        snapshot: returns the newest snapshot.
        now: returns the wall clock, in seconds since 1970.
    """

    site: Site
    feed: Feed
    freshness: Freshness
    snapshot: Callable[[], Snapshot]
    now: Callable[[], float] = time.time


def create_app(service: Service, limits: Limits | None = None) -> QuartTrio:
    """Return the application that serves `service`.

    Args:
        service: what is served.
        limits: of bodies and streams; the defaults when None.
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
        return await _answer(app, service, limits)

    @app.errorhandler(HTTPException)
    async def answer_problem(error: HTTPException) -> Response:
        response = _response(http_problem(error.code or 500))
        if methods := getattr(error, "valid_methods", None):
            response.headers["Allow"] = ", ".join(sorted(methods))
        if error.code in {408, 413}:
            response.headers["Connection"] = "close"
        return response

    return app


async def _answer(app: App, service: Service, limits: Limits) -> Response | None:
    """Return the answer for the current request; None leaves it to the routes, and so to 404."""
    path = request.scope["raw_path"].decode("ascii")
    if path == "*":  # asks about the server itself (RFC 9110, section 9.3.7)
        return _options()
    endpoint = service.site.find(path)
    if endpoint is None:
        missing = service.site.missing(path)
        return None if missing is None else _response(missing)
    if request.method == "OPTIONS":
        return _options()
    if request.method not in METHODS:
        response = _response(http_problem(405))
        response.headers["Allow"] = ALLOW
        return response
    try:
        if endpoint.is_stream:
            return _streamed(app, service.feed, limits)
        return await _rendered(service, endpoint, limits.waiting)
    except QueryError as error:
        return _response(error.problem)


async def _rendered(service: Service, endpoint: Endpoint, patience: float) -> Response | None:
    """Return the document of `endpoint`: waited for and probed for as the request asks, or 304.

    Args:
        service: what is served.
        endpoint: what was asked for.
        patience: seconds after which the answer shows what is there, whatever it waits for.
    """
    query, detail = query_of(request.query_string) if endpoint.takes_query else {}, ""
    with trio.move_on_after(patience):
        if endpoint.branch is not None:
            await _wait(service.feed, endpoint.branch, query)
        if endpoint.is_on_demand and endpoint.sources:
            control = ", ".join(request.headers.getlist("Cache-Control"))
            detail = await service.freshness.serve(endpoint.sources, control, service.now())
    now = service.now()
    ask = Ask(query=query, accept=", ".join(request.headers.getlist("Accept")), now=now)
    rendered = endpoint.render(ask)
    if rendered is None:
        return None
    document, fields = rendered.document, dict(rendered.fields)
    if rendered.tag:
        fields["ETag"] = rendered.tag
    if endpoint.sources is not None:
        detail = document.detail or detail
        fields |= quality_fields(service.snapshot(), endpoint.sources, detail, now, shows=endpoint.shows)
    if 200 <= document.status < 300 and rendered.tag:
        wanted = ", ".join(request.headers.getlist("If-None-Match")) or None
        if is_match(wanted, rendered.tag):
            return _bodiless(304, fields)
    response = _response(document)
    response.headers.update(fields)
    return response


async def _wait(feed: Feed, branch: str, query: Query) -> None:
    """Wait for a change of `branch`, where the query says since when and for how long."""
    since = revision_in(query, "since")
    seconds = seconds_in(query, "wait", most=MOST_WAIT)
    if since is not None and seconds:
        with trio.move_on_after(seconds):
            await feed.change_of(branch, since)


def _streamed(app: App, feed: Feed, limits: Limits) -> Response | None:
    """Return the stream of events for the current request."""
    branch = branch_in(query_of(request.query_string), "path")
    last_id = last_event_id(request.headers.get("Last-Event-ID"))
    if feed.snapshot.find(branch) is None and resumed(feed, branch, last_id) is None:
        return _response(no_such_node(branch))
    fields = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    if request.method == "HEAD":
        head = Response(b"", 200, fields, content_type=EVENT_STREAM)
        del head.headers["Content-Length"]  # a GET sends none: the stream has no end (RFC 9110, section 8.6)
        return head
    if app.streams >= limits.streams:
        response = _response(http_problem(503))
        response.headers["Retry-After"] = "10"
        return response
    app.streams += 1
    scope: Any = request.scope  # a dict, into which more may be put than its type has
    scope[STREAM] = 1  # given back when the request ends, whether the stream ever began or not
    return Response(event_stream(feed, branch, last_id), 200, fields, content_type=EVENT_STREAM)


def _options() -> Response:
    return _bodiless(204, {"Allow": ALLOW})


def _bodiless(status: int, fields: Mapping[str, str]) -> Response:
    response = Response(b"", status, dict(fields))
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
