"""What many operations of ``/openapi.json`` share: parameters, header fields, and the answers of HTTP itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from statusd.plugin.contracts import PROBLEM_TYPE
from statusd.web.page import HEADERS
from statusd.web.problems import http_problem, phrase
from statusd.web.query import MOST_FIELDS

QUALITY: Final = ("ETag", "Age", "Cache-Control", "Cache-Status")
"""The header fields that say how good an answer is."""
NO_SNIFF: Final = "X-Content-Type-Options"
OPTIONS: Final = "Options"
"""The name of the answer to ``OPTIONS``."""
FAILURES: Final = (400, 408, 413, 431, 500, 501, 505)
"""What any request can come to, whatever it asks for."""
PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}


def _parameter(
    name: str, place: str, about: str, schema: Mapping[str, Any], **rest: object
) -> dict[str, Any]:
    return {"name": name, "in": place, "description": about, "schema": dict(schema), **rest}


def _segment(name: str, about: str, **schema: object) -> dict[str, Any]:
    about = f"{about}; one segment, percent-encoded, `/` in it as well."
    return _parameter(name, "path", about, {"type": "string", "minLength": 1, **schema}, required=True)


PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "IfNoneMatch": _parameter(
            "If-None-Match",
            "header",
            "Entity tags that the client has; where one is that of the answer, it is 304 (RFC 9110, section 13.1.2).",
            {"type": "string"},
        ),
        "CacheControl": _parameter(
            "Cache-Control",
            "header",
            "`no-cache`, or `max-age=N` where the answer is older than N seconds, has the sources behind it probed "
            "first. Other directives are ignored.",
            {"type": "string"},
        ),
        "LastEventId": _parameter(
            "Last-Event-ID",
            "header",
            "The `id` of the last event that the client has: the stream goes on after it. What is no such id is ignored.",
            {"type": "string"},
        ),
        "Since": _parameter(
            "since",
            "query",
            "A revision. Together with `wait`: the answer comes once that of the branch is greater. One that is "
            "unknown or in the future is answered at once.",
            {"type": "integer", "minimum": 0, "maximum": 10**20 - 1},
        ),
        "Wait": _parameter(
            "wait",
            "query",
            "How many seconds to wait for a change since `since`; more than 60 are 60.",
            {"type": "number", "minimum": 0},
        ),
        "Path": _parameter(
            "path", "query", "The branch of the tree to follow; all of it by default.", {"type": "string"}
        ),
        "Verbose": _parameter(
            "verbose", "query", "Lists the nodes, one a line; whatever its value, none included.", {}
        ),
        "Exclude": _parameter(
            "exclude",
            "query",
            f"Paths of nodes to leave out; a request has {MOST_FIELDS} parameters at most.",
            {"type": "array", "items": {"type": "string"}},
        ),
        "wing": _segment("wing", "A branch at the top", enum=["sources", "models", "plugins", "daemon"]),
        "name": _segment("name", "A source, a model, a plugin, or a part of the daemon"),
        "kind": _segment("kind", "What kind of part, such as `readers`"),
        "part": _segment("part", "A part of a source; of some plugins' sources there are further ones below"),
    }
)
"""The reusable parameters, by the name of the component; those in paths by their own."""


def _field(about: str, **schema: object) -> dict[str, Any]:
    return {"description": about, "required": True, "schema": schema}


FIELDS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "ETag": _field(
            "Changes when the document does; of `/state` it is the revision of the branch.",
            type="string",
            pattern='^(W/)?"[!#-~]*"$',
        ),
        "Age": _field(
            "Seconds since the oldest reading behind the answer; 0 before any.", type="integer", minimum=0
        ),
        "Cache-Control": _field(
            "That no cache must answer without asking.", type="string", enum=["no-cache", "no-store"]
        ),
        "Cache-Status": _field(
            "For how many seconds the answer stays good, and why a default or a stale value stands in (RFC 9211).",
            type="string",
            pattern="^statusd; hit(; ttl=-?[0-9]+)?(; detail=[a-z][a-z0-9_]*)?$",
        ),
        "Allow": _field("The methods that are served.", type="string", const="GET, HEAD, OPTIONS"),
        "Vary": _field("What of the request decides about the answer.", type="string", const="Accept"),
        "Retry-After": _field("Seconds after which to ask again.", type="integer", minimum=1),
        "X-Accel-Buffering": _field("That proxies must not hold events back.", type="string", const="no"),
        NO_SNIFF: _field("That the content type is what it says.", type="string", const="nosniff"),
        **{
            name: _field("Keeps the page to what is its own.", type="string", const=value)
            for name, value in HEADERS.items()
        },
    }
)
"""The reusable header fields of answers, by name."""


def fields(*names: str) -> dict[str, Any]:
    """Return the header fields of an answer."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def failure_name(status: int) -> str:
    """Return the name under which the answer of HTTP itself with `status` stands among the components."""
    return "".join(phrase(status).split())


def _failure(status: int, *names: str) -> dict[str, Any]:
    return {
        "description": phrase(status),
        "headers": fields(NO_SNIFF, *names),
        "content": {
            PROBLEM_TYPE: {
                "schema": PROBLEM,
                "example": msgspec.json.decode(http_problem(status).body),
            }
        },
    }


def common_answers() -> dict[str, Any]:
    """Return the answers that are no operation's own: failures, and those to ``OPTIONS`` and unknown methods, and 304."""
    found = {failure_name(status): _failure(status) for status in (*FAILURES, 404)}
    found[failure_name(405)] = _failure(405, "Allow")
    found[failure_name(304)] = {"description": "The client has this document.", "headers": fields(*QUALITY)}
    found[OPTIONS] = {"description": "The methods that are served.", "headers": fields("Allow")}
    return found
