"""What many operations of ``/openapi.json`` share: parameters, header fields, and the answers of HTTP itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from statusd.plugin.contracts import PROBLEM_TYPE
from statusd.web.access import ALLOWED, CHALLENGE, EXPOSED, PREFLIGHT_AGE, SECURITY
from statusd.web.page import HEADERS
from statusd.web.problems import http_problem, phrase, reasons
from statusd.web.query import MOST_FIELDS

QUALITY: Final = ("ETag", "Age", "Cache-Control", "Cache-Status")
"""The header fields that say how good an answer is."""
PAGE_POLICY: Final = "Page-Content-Security-Policy"
"""The component that is the page's own policy, in place of the one that all other answers have."""
VARY_ACCEPT: Final = "Vary-Accept"
"""The component that is ``Vary`` where `Accept` decides, too."""
OPTIONS: Final = "Options"
"""The name of the answer to ``OPTIONS``."""
FAILURES: Final = (400, 408, 413, 431, 500, 501, 505)
"""What any request can come to, whatever it asks for."""
BEFORE_ANSWERS: Final = frozenset({431, 501, 505})
"""Those that are refused before it is known what for, so that nothing about other origins is said."""
CROWDED: Final = (429, 503)
"""What all but the probe endpoints can come to when there are too many connections."""
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


def _field(about: str, *, required: bool = True, **schema: object) -> dict[str, Any]:
    return {"description": about, "required": required, "schema": {"type": "string", **schema}}


_SECURITY: Final[Mapping[str, str]] = MappingProxyType(
    {"-".join(word.capitalize() for word in name.split("-")): value for name, value in SECURITY.items()}
)
_CORS: Final = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Vary")
_PREFLIGHT: Final = tuple(f"Access-Control-{name}" for name in ("Allow-Methods", "Allow-Headers", "Max-Age"))
_METHODS: Final = "GET, HEAD, OPTIONS"
_NAMES: Final = MappingProxyType({PAGE_POLICY: "Content-Security-Policy", VARY_ACCEPT: "Vary"})
"""Component -> header field, where they differ."""

FIELDS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "ETag": _field(
            "Changes when the document does; of `/state` it is the revision of the branch.",
            pattern='^(W/)?"[!#-~]*"$',
        ),
        "Age": _field(
            "Seconds since the oldest reading behind the answer; 0 before any.", type="integer", minimum=0
        ),
        "Cache-Control": _field("That no cache must answer without asking.", enum=["no-cache", "no-store"]),
        "Cache-Status": _field(
            "For how many seconds the answer stays good, and why a default or a stale value stands in (RFC 9211).",
            pattern="^statusd; hit(; ttl=-?[0-9]+)?(; detail=[a-z][a-z0-9_]*)?$",
        ),
        "Allow": _field("The methods that are served.", const=_METHODS),
        "Retry-After": _field("Seconds after which to ask again.", type="integer", minimum=1),
        "WWW-Authenticate": _field("How to send the token.", const=CHALLENGE),
        "X-Accel-Buffering": _field("That proxies must not hold events back.", const="no"),
        "Vary": _field(
            "There where origins are configured: that the answer depends on who asks.",
            required=False,
            const="Origin",
        ),
        VARY_ACCEPT: _field("What of the request decides about the answer.", pattern="^Accept(, Origin)?$"),
        "Access-Control-Allow-Origin": _field(
            "Whose scripts may read the answer: the origin that asks, where it is configured.", required=False
        ),
        "Access-Control-Expose-Headers": _field(
            "What of the header these scripts may read.", required=False, const=EXPOSED
        ),
        "Access-Control-Allow-Methods": _field(
            "What these scripts may ask for.", required=False, const=_METHODS
        ),
        "Access-Control-Allow-Headers": _field("What these scripts may send.", required=False, const=ALLOWED),
        "Access-Control-Max-Age": _field(
            "For how many seconds this holds.", required=False, const=int(PREFLIGHT_AGE), type="integer"
        ),
        **{
            name: _field("That a browser takes the answer for nothing that it is not.", const=value)
            for name, value in _SECURITY.items()
        },
        PAGE_POLICY: _field("Keeps the page to what is its own.", const=HEADERS["Content-Security-Policy"]),
    }
)
"""The reusable header fields of answers, by the name of the component."""


def fields(*names: str, has_cors: bool = True, is_preflight: bool = False) -> dict[str, Any]:
    """Return the header fields of an answer: those that every one has, and some more.

    Args:
        names: of components.
        has_cors: whether it can say what scripts of other origins may do with it.
        is_preflight: whether also what they may ask for.
    """
    every = (*_SECURITY, *(_CORS if has_cors else ()), *(_PREFLIGHT if is_preflight else ()), *names)
    return {_NAMES.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in every}


def failure_name(status: int) -> str:
    """Return the name under which the answer of HTTP itself with `status` stands among the components."""
    return "".join(phrase(status).split())


def _failure(status: int, *names: str) -> dict[str, Any]:
    known = {reason: msgspec.json.decode(http_problem(status, reason).body) for reason in reasons(status)}
    return {
        "description": phrase(status),
        "headers": fields(*names, has_cors=status not in BEFORE_ANSWERS),
        "content": {
            PROBLEM_TYPE: {
                "schema": PROBLEM,
                "examples": {reason: {"value": value} for reason, value in known.items()},
            }
        },
    }


def common_answers() -> dict[str, Any]:
    """Return the answers that are no operation's own: failures, and those to ``OPTIONS`` and unknown methods, and 304."""
    found = {failure_name(status): _failure(status) for status in (*FAILURES, 404, 421)}
    found[failure_name(401)] = _failure(401, "WWW-Authenticate")
    found[failure_name(405)] = _failure(405, "Allow")
    found |= {failure_name(status): _failure(status, "Retry-After") for status in CROWDED}
    found[failure_name(304)] = {"description": "The client has this document.", "headers": fields(*QUALITY)}
    found[OPTIONS] = {
        "description": "The methods that are served.",
        "headers": fields("Allow", is_preflight=True),
    }
    return found


SCHEMES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of `[http] token`, where one is configured.",
        },
        "password": {
            "type": "http",
            "scheme": "basic",
            "description": "The same as the password of any user: what browsers can ask for.",
        },
    }
)
"""How a client shows the token, where one is wanted."""
TOKEN: Final = ({}, *({name: ()} for name in SCHEMES))
"""What an operation wants that wants the token where one is configured."""
