"""``/openapi.json``: every endpoint in OpenAPI 3.1, with the JSON Schema of each body out of the types that are sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

import attrs
import msgspec

from statusd.plugin.contracts import Document, Problem
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
    FAILURES,
    FIELDS,
    NO_SNIFF,
    OPTIONS,
    PARAMETERS,
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
    failed = {str(code): _ref("responses", failure_name(code)) for code in FAILURES}
    shared = dict(failed)
    if "IfNoneMatch" in operation.parameters:
        shared["304"] = _ref("responses", failure_name(304))
    missing = {"404": _ref("responses", failure_name(404))}
    if operation.has_nodes:
        shared |= missing
    answers = {code: _response(answer) for code, answer in operation.answers.items()}
    contents = {
        code: {"content": kinds.content(operation.path, code, answer)}
        for code, answer in operation.answers.items()
    }
    return {
        "get": {
            "operationId": _name("get", operation.path),
            **about,
            "responses": _with({code: answers[code] | contents[code] for code in answers}, shared),
        },
        "head": {
            "operationId": _name("head", operation.path),
            **about,
            "responses": _with(answers, shared),
        },
        "options": {
            "operationId": _name("options", operation.path),
            **about,
            "summary": "The methods that are served",
            "parameters": parameters[: len(segments)],
            "responses": {"204": _ref("responses", OPTIONS), **failed, **(missing if segments else {})},
        },
    }


def _with(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `own` answers, and those of the `shared` ones that they leave open."""
    return {**own, **shared, **own}


def _response(answer: Answer) -> dict[str, Any]:
    return {"description": answer.about, "headers": fields(NO_SNIFF, *answer.fields)}


def _ref(wing: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{wing}/{name}"}


def _name(method: str, path: str) -> str:
    """Return a name for an operation; other characters than letters and digits stand as their codes, so none clash."""
    words = re.sub(r"[^A-Za-z0-9/{}]", lambda found: f"_{ord(found[0]):x}", path)
    return method + "".join(word[:1].upper() + word[1:] for word in re.split(r"[/{}]+", words))
