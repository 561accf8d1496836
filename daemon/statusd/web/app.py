"""The HTTP application: documents by path, and every error as problem+json."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import Any, Final

import trio
from quart import Response, request
from quart.wrappers import base
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, Rule

from statusd.web.answering import Answers, Service
from statusd.web.asked import HEEDED, RETRY, Answer, Asked
from statusd.web.edge.guard import Guard, root_cause
from statusd.web.edge.limits import Limits
from statusd.web.edge.traffic import Traffic
from statusd.web.edge.wire import PATIENCE, PROBES_ONLY, ROUTE, STREAM
from statusd.web.events import event_stream, last_event_id, resumed
from statusd.web.problems import TOO_MANY_STREAMS
from statusd.web.query import QueryError, branch_in, query_of
from statusd.web.site import no_such_node

EVENT_STREAM: Final = "text/event-stream"
_UNSTORED: Final = MappingProxyType({"cache-control": "no-store", "x-accel-buffering": "no"})

_BOUNDS: Final = MappingProxyType({408: "body_timeout", 413: "body_bytes"})
"""Status code of Quart -> the bound that it means."""

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

    def create_url_adapter(self, request: base.BaseRequestWebsocket | None) -> MapAdapter | None:  # noqa: ARG002  # as Quart calls it
        """Find the same route for whatever is asked: the site knows the endpoints."""
        return _Everywhere(self.url_map, "localhost", "/", None, "http", "/", "GET")


class _Everywhere(MapAdapter):
    """Looks for no route.

    Quart's own search would find none, and keep each request in a circle with that error until a garbage collection,
    which holds up everybody; and it fails on many a valid ``Host``.
    """

    def match(self, *_asked: Any, **_how: Any) -> Any:
        """Return the route, and no arguments."""
        return _ROUTE, {}


_ROUTE: Final = Rule("/", endpoint="everything")


def create_app(
    service: Service,
    limits: Limits | None = None,
    guard: Guard | None = None,
    traffic: Traffic | None = None,
) -> QuartTrio:
    """Return the application that serves `service`.

    Args:
        service: what is served.
        limits: of bodies and streams; the defaults when None.
        guard: notes what fails; one of its own when None.
        traffic: counts; one of its own when None.
    """
    limits = limits or Limits()
    traffic = traffic or Traffic()
    answers = Answers(service, patience=limits.waiting_time, most_waiting=limits.waiting, traffic=traffic)
    app = App("statusd", static_folder=None)
    app.guard = guard or Guard()
    app.logger = logging.getLogger("statusd.web")  # Quart's own would start a thread and print by itself
    app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes
    app.config["BODY_TIMEOUT"] = limits.body_timeout
    app.config["RESPONSE_TIMEOUT"] = None  # each connection has its own bounds; this one cuts streams
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.before_request
    async def answer() -> Response:
        # Read to its end or its limit first: what is unread would be taken for the next request, or reset the answer.
        await request.get_data(cache=False)
        asked = _asked()
        endpoint = answers.find(asked)
        if isinstance(endpoint, Answer):
            return _response(endpoint)
        if endpoint.is_stream:
            return _streamed(answers, asked, limits)
        scope: Any = request.scope
        return _response(await answers.in_full(asked, endpoint, scope["state"].get(PATIENCE)))

    @app.errorhandler(HTTPException)
    async def answer_problem(error: HTTPException) -> Response:
        status = error.code or 500
        response = _response(answers.problem(_asked(), status))
        if status in _BOUNDS:
            traffic.limited[_BOUNDS[status]] += 1
            response.headers["Connection"] = "close"
        return response

    return app


def _asked() -> Asked:
    """Return the current request."""
    scope: Any = request.scope
    fields = {name: ", ".join(values) for name in HEEDED if (values := request.headers.getlist(name))}
    return Asked(
        method=request.method,
        path=scope["raw_path"].decode("ascii"),
        query=request.query_string,
        fields=fields,
        is_probes_only=bool(scope["state"].get(PROBES_ONLY)),
    )


def _streamed(answers: Answers, asked: Asked, limits: Limits) -> Response:
    """Return the stream of events for the current request."""
    feed, route = answers.service.feed, "/events"
    try:
        branch = branch_in(query_of(asked.query), "path")
    except QueryError as error:
        return _response(answers.document(asked, route, error.problem))
    last_id = last_event_id(request.headers.get("Last-Event-ID"))
    if feed.snapshot.find(branch) is None and resumed(feed, branch, last_id) is None:
        return _response(answers.document(asked, route, no_such_node(branch)))
    traffic = answers.traffic
    if asked.method != "HEAD" and traffic.streams >= limits.streams:
        traffic.limited["streams"] += 1
        full = answers.problem(asked, 503, route, {"retry-after": RETRY}, reason=TOO_MANY_STREAMS)
        return _response(full)
    head = answers.answer(asked, route, 200, {"content-type": EVENT_STREAM, **_UNSTORED})
    if asked.method != "HEAD":
        traffic.streams += 1  # from before the answer begins: many may ask before the first one is sent
        scope: Any = request.scope  # a dict, into which more may be put than its type has
        scope[STREAM] = event_stream(feed, branch, last_id, answers.let_in(asked))
    return _response(head)


def _response(answer: Answer) -> Response:
    scope: Any = request.scope
    scope[ROUTE] = answer.route
    response = Response(answer.body, answer.status)
    response.headers = Headers(list(answer.fields.items()))
    return response
