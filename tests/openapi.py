"""Every answer in every test, held against the OpenAPI document that its own daemon serves."""

from __future__ import annotations

import functools
import json
import re
import weakref

import attrs
import jsonschema_rs

from statusd.web.access import GUARDED, PROBES, is_below, is_probe
from statusd.web.edge.wire import PROBES_ONLY, STREAM
from statusd.web.openapi import openapi_document
from statusd.web.site import Ask
from statusd.web.target import canonical

VIOLATIONS: list[str] = []
"""What in-process daemons have answered against their document; the test that was running fails for it."""
ENDPOINT = "/openapi.json"
EVENTS = "text/event-stream"
JSON_TYPES = ("application/json", "application/problem+json")
SERVED = {"get", "head", "options"}
FAILURES = ("400", "408", "413", "431", "501", "505")
"""What HTTP itself refuses, before anything is served."""
MESSAGE = {"content-type", "content-length", "date", "connection", "transfer-encoding"}
"""Header fields that OpenAPI leaves to others: of the body, the message, the connection."""
_NOWHERE = "/status/nowhere"
"""Answered as everything is that is no probe endpoint, at an address for those alone: 404."""


class ViolationError(AssertionError):
    """Raised for an answer that the document does not allow."""


@attrs.frozen(eq=False)
class Contract:
    """An OpenAPI document, ready to hold answers against."""

    document: dict
    _validators: dict = attrs.field(factory=dict, init=False)

    def hold(self, method, path, status, headers, body):
        """Want an answer that the document allows.

        Args:
            method: of the request.
            path: of the request as it was sent; the query does not matter.
            status: the status code.
            headers: names in lower case.
            body: all of it; of an event stream, whole events; None: not known.
        """
        path = path.partition("?")[0]
        item, responses = self._responses(method.lower(), path)
        response = responses.get(str(status)) or responses.get("default")
        where = f"{method} {path} -> {status}"
        _want(response, f"{where}: not documented, only {', '.join(responses)}")
        response = self._resolved(response)
        self._hold_headers(where, response, headers)
        if body and headers.get("content-type") == "application/problem+json":
            _want(json.loads(body).get("status") == status, f"{where}: another status in the problem")
        if method == "HEAD" or status in {204, 304}:
            _want(not body, f"{where}: a body")
            if method == "HEAD" and item and status not in {204, 304}:
                shown = item["get"]["responses"]
                self._media_type(where, self._resolved(shown.get(str(status)) or shown["default"]), headers)
            return
        schema, media_type = self._media_type(where, response, headers)
        if body is None:
            return
        if media_type == EVENTS:
            for event in events_in(body):
                self.hold_event(where, event)
        elif media_type in JSON_TYPES:
            self.hold_value(where, schema["schema"], json.loads(body))
        elif schema.get("schema"):
            self.hold_value(where, schema["schema"], body.decode())

    def hold_value(self, where, schema, value):
        """Want `value` to be of `schema`."""
        validator = self._validator(json.dumps(schema, sort_keys=True))
        for error in validator.iter_errors(value):
            place = "/".join(str(part) for part in error.instance_path)
            raise ViolationError(f"{where}: at /{place}: {error.message[:500]}")

    def hold_event(self, where, fields):
        """Want an event, ``{"event", "id", "data"}``, to be one of those of ``/events``."""
        schema = self.document["paths"]["/events"]["get"]["responses"]["200"]["content"][EVENTS]
        self.hold_value(where, schema["schema"], fields)
        data = self.document["components"]["schemas"][f"{fields['event'].capitalize()}Event"]["properties"][
            "data"
        ]
        self.hold_value(where, data["contentSchema"], json.loads(fields["data"]))

    def _responses(self, method, path):
        """Return the path item, None where there is none, and the answers that it allows."""
        shared = self.document["components"]["responses"]
        failures = {
            code: one
            for code, one in self.document["paths"]["/health"]["get"]["responses"].items()
            if code[0] in "45"
        }
        crowded = {"429": shared["TooManyRequests"], "503": shared["ServiceUnavailable"]}
        if path == "*":
            return None, failures | crowded | {"204": shared["Options"]}
        path = canonical(path)
        item = self._find(path)
        if item is None:
            missing = {"404": shared["NotFound"]}
            if is_below(path, PROBES):
                return None, failures | missing
            foreign = {"421": shared["MisdirectedRequest"]} if is_below(path, GUARDED) else {}
            secret = {"204": shared["Options"]} if method == "options" else {"401": shared["Unauthorized"]}
            return None, failures | crowded | foreign | secret | missing
        if method not in SERVED:
            refused = {code: one for code, one in item["options"]["responses"].items() if code[0] in "45"}
            secret = {"401": shared["Unauthorized"]} if "security" in item["get"] else {}
            return item, refused | secret | {"405": shared["MethodNotAllowed"]}
        return item, item[method]["responses"]

    def _find(self, path):
        paths = self.document["paths"]
        if path in paths:
            return paths[path]
        for template, item in paths.items():
            if "{" in template:
                pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
                if re.fullmatch(pattern, path):
                    return item
        return None

    def _hold_headers(self, where, response, headers):
        for name, reference in response.get("headers", {}).items():
            field = self._resolved(reference)
            value = headers.get(name.lower())
            _want(value is not None or not field["required"], f"{where}: no {name}")
            if value is not None:
                if field["schema"]["type"] == "integer":
                    _want(re.fullmatch("[0-9]+", value), f"{where}: {name}: {value!r} is no number")
                    value = int(value)
                self.hold_value(f"{where}: {name}", field["schema"], value)
        documented = {name.lower() for name in response.get("headers", {})}
        _want(not (unknown := set(headers) - documented - MESSAGE), f"{where}: not documented: {unknown}")

    def _media_type(self, where, response, headers):
        """Return what the document says about a body of the answer's type, and that type."""
        media_type = headers.get("content-type", "").partition(";")[0].strip()
        _want(media_type, f"{where}: no Content-Type")
        content = response.get("content", {})
        _want(media_type in content or "*/*" in content, f"{where}: {media_type} is not documented")
        return content.get(media_type, content.get("*/*")), media_type

    def _resolved(self, thing):
        """Return what a reference stands for."""
        while "$ref" in thing:
            _, wing, name = thing["$ref"].removeprefix("#/").split("/")
            thing = self.document["components"][wing][name]
        return thing

    def _validator(self, text):
        validator = self._validators.get(text)
        if validator is None:
            schema = {**json.loads(text), "components": {"schemas": self._closed}}
            validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
            self._validators[text] = validator
        return validator

    @functools.cached_property
    def _closed(self):
        """The named schemas, without room for what they do not name: clients must bear more, statusd must not send it."""
        return {
            name: schema | {"additionalProperties": False} if "properties" in schema else schema
            for name, schema in self.document["components"]["schemas"].items()
        }


def _want(holds, otherwise):
    if not holds:
        raise ViolationError(otherwise)


def events_in(data):
    """Yield the fields of each whole event in `data`, comments and ``retry`` aside."""
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if set(fields) - {"retry"}:
            yield fields


@functools.lru_cache(maxsize=64)
def contract(document):
    """Return the contract in the bytes of a document."""
    return Contract(json.loads(document))


def held(fetch, path):
    """Return the answer to a GET of `path`, held against the document of the daemon that gives it.

    Args:
        fetch: path -> status code, headers by name, body.
        path: with a query or without.
    """
    status, headers, body = fetch(path)
    _, _, document = fetch(ENDPOINT)
    fields = {name.lower(): value for name, value in dict(headers).items()}
    contract(document).hold("GET", path, status, fields, body)
    return status, headers, body


def hold_refusal(status, headers, body):
    """Want an answer that no operation gives, such as that to invalid HTTP, to be as documented.

    Args:
        status: the status code.
        headers: names in lower case.
        body: all of it; empty for HEAD.
    """
    method = "GET" if body else "HEAD"
    if str(status) in FAILURES:
        _daemons_own().hold(method, "/health", status, headers, body)


@functools.cache
def _daemons_own():
    return Contract(openapi_document(()))


def contract_of(service):
    """Return the contract of what an application serves."""
    rendered = service.site.find(ENDPOINT).render(Ask(query={}, accept="", now=0.0))
    return contract(rendered.document.body)


@attrs.define(eq=False)
class Witness:
    """Stands before an application, and holds its answers against its document."""

    app: object
    service: object

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(self.service, scope)

        async def noted(message):
            await send(message)
            exchange.take(message)

        await self.app(scope, receive, noted)
        if STREAM in scope:
            scope[STREAM] = exchange.noted(scope[STREAM])


@attrs.define(eq=False)
class Exchange:
    """A request, and so much of its answer as has been sent."""

    service: object
    scope: dict
    status: int = 0
    headers: dict = attrs.field(factory=dict)
    body: bytearray = attrs.field(factory=bytearray)

    def take(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            is_stream = self.headers.get("content-type", "").startswith(EVENTS)
            is_last = not message.get("more_body", False)
            if is_last or is_stream:
                self.hold(is_last=is_last)

    async def noted(self, parts):
        """Yield `parts`, and take each."""
        try:
            async for part in parts:
                self.take({"type": "http.response.body", "body": part, "more_body": True})
                yield part
        finally:
            await parts.aclose()

    def hold(self, *, is_last):
        body = bytes(self.body) if self.scope["method"] != "HEAD" else b""  # which the server then cuts off
        if not is_last:
            whole, separator, rest = body.rpartition(b"\n\n")
            body, self.body = whole + separator, bytearray(rest)
        is_probes_only = bool(self.scope["state"].get(PROBES_ONLY))
        path = self.scope["raw_path"].decode()
        _witness(
            self.service,
            self.scope["method"],
            _NOWHERE if is_probes_only and not is_probe(path) else path,
            self.status,
            self.headers,
            body,
        )


def _witness(service, method, path, status, headers, body):
    try:
        contract_of(service).hold(method, path, status, headers, body)
    except Exception as error:  # noqa: BLE001  # whatever it is, it must fail the test and not the daemon
        VIOLATIONS.append(f"{type(error).__name__}: {error}")


def witnessed(create_app):
    """Return `create_app`, with a witness before each application."""

    @functools.wraps(create_app)
    def create(service, *arguments, **options):
        app = create_app(service, *arguments, **options)
        app.asgi_app = Witness(app.asgi_app, service)
        return app

    return create


def witnessed_reply(reply):
    """Return `reply`, of the front stage, with a witness that sees each answer once, as it is sent."""
    seen = weakref.WeakSet()

    @functools.wraps(reply)
    def witnessed(front, data):
        found = reply(front, data)
        if found is not None and found[0] not in seen:
            answer, _ = found
            seen.add(answer)
            lines = answer.head.decode("latin-1").split("\r\n")[1:-1]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            _witness_asked(front.answers, answer.asked, answer.counted[1], headers, answer.body)
        return found

    return witnessed


def witnessed_answer(at_once):
    """Return `at_once`, of `Answers`, with a witness: also HTTP/2 has its answers from there."""

    @functools.wraps(at_once)
    def witnessed(answers, asked):
        answer = at_once(answers, asked)
        if answer is not None:
            body = b"" if asked.method == "HEAD" else answer.body
            _witness_asked(answers, asked, answer.status, answer.fields, body)
        return answer

    return witnessed


def _witness_asked(answers, asked, status, headers, body):
    path = _NOWHERE if asked.is_probes_only and not is_probe(asked.path) else asked.path
    _witness(answers.service, asked.method, path, status, headers, body)
