"""What each endpoint answers, for ``/openapi.json``: the daemon's own, and those of views."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import attrs
from msgspec import Meta, Struct

from statusd.plugin.contracts import PROBLEM_TYPE, Problem, View
from statusd.web.bodies import ChangeBody, HealthBody, StateBody
from statusd.web.documents import Page
from statusd.web.explain import Explanation
from statusd.web.openapi_schemas import first_sentence, schemas_of
from statusd.web.openapi_terms import PAGE_POLICY, QUALITY, VARY_ACCEPT
from statusd.web.problems import phrase

log = logging.getLogger("statusd.web")

ANY: Final = "*/*"
JSON: Final = "application/json"
TEXT: Final = "text/plain"
CONDITIONAL: Final = ("IfNoneMatch",)
ON_DEMAND: Final = ("IfNoneMatch", "CacheControl")
LIFE: Final = "life"
TREE: Final = "tree"
FURTHER: Final = "further"
DEPTHS: Final = ("", "/{wing}", "/{wing}/{name}", "/{wing}/{name}/{kind}", "/{wing}/{name}/{kind}/{part}")
"""The paths of nodes of the built-in plugins; OpenAPI has no parameter for any number of segments."""


@attrs.frozen(kw_only=True)
class Answer:
    """What one status code comes with.

    Attributes:
        about: when it is given, or what it is.
        content: media type -> type of the body.
        fields: header fields that it always has, beside those of each answer.
    """

    about: str
    content: Mapping[str, Any]
    fields: tuple[str, ...] = QUALITY


@attrs.frozen(kw_only=True)
class Operation:
    """What a path answers.

    Attributes:
        path: with its parameters in braces.
        summary: what it is.
        tag: the group it belongs to.
        parameters: names among `PARAMETERS`, without those in the path.
        answers: status code, or ``default`` -> what comes with it, 304 and the failures of HTTP itself aside; where both
            have a code, either may come.
        has_nodes: whether the node that is asked for may not be there (404).
    """

    path: str
    summary: str
    tag: str
    parameters: tuple[str, ...] = ()
    answers: Mapping[str, Answer]
    has_nodes: bool = False


def _data(kind: type) -> Meta:
    return Meta(extra_json_schema={"contentMediaType": JSON, "contentSchema": _ref(kind)})


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


EventId: TypeAlias = Annotated[str, Meta(pattern="^[0-9]+$")]


class SnapshotEvent(Struct, frozen=True, kw_only=True):
    """The branch as it is; replaces all that the client knows.

    Attributes:
        event: its kind.
        id: the revision.
        data: a `StateBody`.
    """

    event: Literal["snapshot"]
    id: EventId
    data: Annotated[str, _data(StateBody)]


class ChangeEvent(Struct, frozen=True, kw_only=True):
    """What one revision changed.

    Attributes:
        event: its kind.
        id: the revision.
        data: a `ChangeBody`.
    """

    event: Literal["change"]
    id: EventId
    data: Annotated[str, _data(ChangeBody)]


def own_operations() -> Iterator[Operation]:
    """Yield the daemon's own endpoints."""
    yield from _live()
    yield from _ready()
    yield from _tree()
    yield from _further()


def view_operation(page: Page) -> Operation:
    """Return what a path of a view answers, as far as the view says."""
    said = _said(page.view, page.path)
    answers = {
        str(code): Answer(about=phrase(code) or "An answer", content=_body(kind))
        for code, kind in (said or {200: Any}).items()
    }
    answers.setdefault("500", Answer(about="The plugin failed", content=_body(Problem)))
    if not said:
        answers["default"] = Answer(about="Whatever the plugin answers", content=_body(Any))
    return Operation(
        path=page.path,
        summary=first_sentence(type(page.view).__doc__),
        tag=str(page.view.name),
        parameters=ON_DEMAND,
        answers=answers,
    )


def _said(view: View, path: str) -> dict[int, Any]:
    """Return what `view` says about its answers; nothing where it says nothing, or nothing that can be described."""
    try:
        said = {code: kind for code, kind in dict(view.responses(path)).items() if kind is not Any}
        schemas_of(list(said.values()))
        if any(type(code) is not int or not 200 <= code <= 599 for code in said):
            raise ValueError("a status code is none")  # noqa: TRY301  # one place contains it all
    except BaseException as error:  # a view is a plugin's; its fault must not become the daemon's
        log.error("What the view at %s answers is not known: its responses() failed.", path, exc_info=error)  # noqa: TRY400  # exc_info is given
        return {}
    return said


def _body(kind: Any) -> dict[str, Any]:
    return {ANY if kind is Any else PROBLEM_TYPE if kind is Problem else JSON: kind}


def _live() -> Iterator[Operation]:
    alive = Answer(about="The process answers", content={JSON: HealthBody}, fields=())
    yield Operation(path="/health", summary="Whether the process answers", tag=LIFE, answers={"200": alive})
    yield Operation(path="/healthz", summary="The same as `/health`", tag=LIFE, answers={"200": alive})
    yield Operation(
        path="/livez",
        summary="Whether the daemon makes progress",
        tag=LIFE,
        answers={
            "200": Answer(about="It does", content={TEXT: _text("alive\n")}, fields=()),
            "503": Answer(about="It does not", content={TEXT: _text(r"not alive: [^\n]*\n")}, fields=()),
        },
    )


def _ready() -> Iterator[Operation]:
    lines = r"(\[[-+ ]\][^\n]*\n)*"
    for depth in DEPTHS:
        yield Operation(
            path=f"/readyz{depth}",
            summary="Whether a node is `ok` or `degraded`" if depth else "Whether the daemon is ready",
            tag=LIFE,
            parameters=(*CONDITIONAL, "Verbose", "Exclude"),
            answers={
                "200": Answer(about="Ready", content={TEXT: _text(rf"{lines}ready\n")}),
                "503": Answer(about="Not ready", content={TEXT: _text(rf"{lines}not ready: [^\n]*\n")}),
            },
            has_nodes=bool(depth),
        )


def _tree() -> Iterator[Operation]:
    for depth in DEPTHS:
        what = "A branch of the tree" if depth else "The whole tree"
        yield Operation(
            path=f"/state{depth}",
            summary=what,
            tag=TREE,
            parameters=(*ON_DEMAND, "Since", "Wait"),
            answers={"200": Answer(about=what, content={JSON: StateBody})},
            has_nodes=bool(depth),
        )
    for depth in DEPTHS:
        yield Operation(
            path=f"/explain{depth}",
            summary="Why a node has its status, and what would change it",
            tag=TREE,
            parameters=ON_DEMAND,
            answers={"200": Answer(about="The explanation", content={JSON: Explanation})},
            has_nodes=bool(depth),
        )
    yield Operation(
        path="/events",
        summary="The tree, and then each change of it, as Server-Sent Events",
        tag=TREE,
        parameters=("LastEventId", "Path"),
        answers={
            "200": Answer(
                about="First `event: snapshot`, or where `Last-Event-ID` says so what has changed since; then one "
                "`event: change` a revision. A snapshot may also come later, and replaces everything. "
                "The schema is that of one event: its fields by name.",
                content={"text/event-stream": SnapshotEvent | ChangeEvent},
                fields=("Cache-Control", "X-Accel-Buffering"),
            ),
        },
        has_nodes=True,
    )


def _further() -> Iterator[Operation]:
    metrics = {TEXT: str, "application/openmetrics-text": str}
    yield Operation(
        path="/metrics",
        summary="Metrics for Prometheus, or in OpenMetrics where `Accept` prefers it",
        tag=FURTHER,
        parameters=CONDITIONAL,
        answers={"200": Answer(about="The metrics", content=metrics, fields=(*QUALITY, VARY_ACCEPT))},
    )
    yield Operation(
        path="/openapi.json",
        summary="This document",
        tag=FURTHER,
        parameters=CONDITIONAL,
        answers={"200": Answer(about="The document", content={JSON: dict[str, Any]})},
    )
    yield Operation(
        path="/",
        summary="The page for people",
        tag=FURTHER,
        parameters=ON_DEMAND,
        answers={"200": Answer(about="The page", content={"text/html": str}, fields=(*QUALITY, PAGE_POLICY))},
    )


def _text(pattern: str) -> Any:
    return Annotated[str, Meta(pattern=f"^{pattern}$")]
