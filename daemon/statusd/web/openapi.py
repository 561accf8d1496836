"""``/openapi.json``: every endpoint in OpenAPI 3.1, with the JSON Schema of each body out of the types that are sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, Final

import attrs
import msgspec

from statusd.plugin.contracts import Document, Problem
from statusd.web.access import GUARDED, PROBES, is_below
from statusd.web.bodies import ChangeBody, StateBody
from statusd.web.documents import Page, Rendered
from statusd.web.openapi_own import (
    Answer,
    Operation,
    own_operations,
    view_operation,
)
from statusd.web.openapi_schemas import Schema, schemas_of
from statusd.web.openapi_terms import (
    CROWDED,
    FAILURES,
    FIELDS,
    OPTIONS,
    PARAMETERS,
    QUALITY,
    SCHEMES,
    TOKEN,
    common_answers,
    failure_name,
    fields,
)

VERSION: Final = "3.1.1"

_ALWAYS: Final = (Problem, StateBody, ChangeBody)
"""What other parts of the document refer to by name."""

_ABOUT: Final = """\
What the inference services of this host are doing, as one tree, and as the documents that their clients know.

Everything is read: `GET`, `HEAD` and `OPTIONS` are served at each path, any other method is 405 with `Allow`. A path that \
is not listed is 404, and so is a node that is not in the tree. Unknown query parameters are ignored. Errors are `Problem`s.

Where a token is configured, it is wanted for all but the probe endpoints (`/health`, `/healthz`, `/livez`, `/readyz`, \
`/status`, `/queue/status`, `/models`, and what lies below them) and `OPTIONS`; without it, paths that are not listed are 401, too, \
and `OPTIONS` is 204 for them. At an address for probe endpoints alone (`[http] bind_probes`) all else is 404.

`/state`, `/explain` and `/readyz` take the path of any node: segments joined by `/`, each percent-encoded by itself. \
The nodes of the built-in plugins lie four segments deep at most, and those paths are listed; parts that other plugins \
report may lie deeper, and are answered alike.
"""


def render_openapi(pages: Iterable[Page]) -> Rendered:
    """Return the document for the daemon's own endpoints and for `pages`, those of views."""
    return Rendered.of(Document(body=msgspec.json.encode(openapi_document(pages))))


def openapi_document(pages: Iterable[Page]) -> dict[str, Any]:
    """Return what `render_openapi` renders, as JSON values."""
    operations = [*own_operations(), *(view_operation(page) for page in pages)]
    kinds = _Kinds.of(operations)
    return {
        "openapi": VERSION,
        "info": {"title": "statusd", "version": version("statusd"), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": {operation.path: _path_item(operation, kinds) for operation in operations},
        "components": {
            "schemas": kinds.components,
            "parameters": {name: dict(one) for name, one in PARAMETERS.items()},
            "headers": {name: dict(one) for name, one in FIELDS.items()},
            "responses": common_answers(),
            "securitySchemes": {name: dict(one) for name, one in SCHEMES.items()},
        },
    }


@attrs.frozen
class _Kinds:
    """The schemas of every body.

    Attributes:
        components: those with a name.
    """

    components: Mapping[str, Schema]
    _schemas: Mapping[tuple[str, str, str], Schema]

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> _Kinds:
        bodies = {
            (operation.path, code, media_type): kind
            for operation in operations
            for code, answer in operation.answers.items()
            for media_type, kind in answer.content.items()
        }
        schemas, components = schemas_of([*bodies.values(), *_ALWAYS])
        return cls(components, dict(zip(bodies, schemas, strict=False)))

    def content(self, path: str, code: str, answer: Answer) -> dict[str, Any]:
        return {
            media_type: {"schema": self._schemas[path, code, media_type]} for media_type in answer.content
        }


def _path_item(operation: Operation, kinds: _Kinds) -> dict[str, Any]:
    segments = re.findall(r"\{(\w+)\}", operation.path)
    parameters = [_ref("parameters", name) for name in (*segments, *operation.parameters)]
    about = {"summary": operation.summary, "tags": [operation.tag], "parameters": parameters}
    is_probe = is_below(operation.path, PROBES)
    secured = {} if is_probe else {"security": TOKEN}
    refused = [
        *FAILURES,
        *(() if is_probe else CROWDED),
        *((421,) if is_below(operation.path, GUARDED) else ()),
    ]
    missing = [404] if operation.has_nodes else []
    shared = _named(*refused, *missing, *_of_documents(operation, is_probe=is_probe)) | _unchanged(operation)
    answers = {code: _response(answer) for code, answer in operation.answers.items()}
    contents = {
        code: {"content": kinds.content(operation.path, code, answer)}
        for code, answer in operation.answers.items()
    }
    return {
        "get": {
            "operationId": _name("get", operation.path),
            **about,
            **secured,
            "responses": _with({code: answers[code] | contents[code] for code in answers}, shared),
        },
        "head": {
            "operationId": _name("head", operation.path),
            **about,
            **secured,
            "responses": _with(answers, shared),
        },
        "options": {
            "operationId": _name("options", operation.path),
            **about,
            "summary": "The methods that are served",
            "parameters": parameters[: len(segments)],
            "responses": {
                "204": _ref("responses", OPTIONS),
                **_named(*refused, *(missing if segments else ())),
            },
        },
    }


def _of_documents(operation: Operation, *, is_probe: bool) -> Iterator[int]:
    """Yield the status codes that GET and HEAD can come to beside those of any request."""
    if not is_probe:
        yield 401
    if "CacheControl" in operation.parameters:  # there may be too many that wait for probes
        yield 503


def _unchanged(operation: Operation) -> dict[str, Any]:
    """Return the answer to whoever has the document already, which has the header fields of the document."""
    if "IfNoneMatch" not in operation.parameters:
        return {}
    found = operation.answers.get("200")
    if found is None or found.fields == QUALITY:
        return _named(304)
    return {"304": {**common_answers()[failure_name(304)], "headers": fields(*found.fields)}}


def _named(*codes: int) -> dict[str, Any]:
    return {str(code): _ref("responses", failure_name(code)) for code in codes}


def _with(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `own` answers and the `shared` ones; where both may come, what holds for either."""
    common = common_answers()
    both = {
        code: _either(own.get(code) or own["default"], common[failure_name(int(code))])
        for code in shared
        if code in own or ("default" in own and code[0] in "45")
    }
    return {**own, **shared, **both}


def _either(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer that may be the one or the `other`, without a body where the `own` one describes none."""
    headers = {
        name: reference
        if own["headers"].get(name) == other["headers"].get(name)
        else {**FIELDS[reference["$ref"].rpartition("/")[2]], "required": False}
        for name, reference in {**other["headers"], **own["headers"]}.items()
    }
    found = {"description": f"{own['description']}. Or: {other['description']}", "headers": headers}
    if "content" not in own:
        return found
    others = other.get("content", {})
    content = {**others, **own["content"]}
    for media_type in own["content"].keys() & others.keys():
        schemas = [answer["content"][media_type]["schema"] for answer in (own, other)]
        if schemas[0] != schemas[1]:
            content[media_type] = {"schema": {"anyOf": schemas}}
    return {**found, "content": content}


def _response(answer: Answer) -> dict[str, Any]:
    return {"description": answer.about, "headers": fields(*answer.fields)}


def _ref(wing: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{wing}/{name}"}


def _name(method: str, path: str) -> str:
    """Return a name for an operation; other characters than letters and digits stand as their codes, so none clash."""
    words = re.sub(r"[^A-Za-z0-9/{}]", lambda found: f"_{ord(found[0]):x}", path)
    return method + "".join(word[:1].upper() + word[1:] for word in re.split(r"[/{}]+", words))
