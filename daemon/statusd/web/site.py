"""The site: which endpoint answers a path, and what each of them needs to do so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import attrs

from statusd.model.snapshot import Snapshot
from statusd.plugin.context import SourceInfo
from statusd.plugin.contracts import Document, problem
from statusd.web.bodies import HealthBody, encode, state_body
from statusd.web.documents import Documents, Rendered
from statusd.web.quality import revision_tag
from statusd.web.query import Query
from statusd.web.target import canonical

STATE: Final = "/state"
EXPLAIN: Final = "/explain"
READY: Final = "/readyz"
EVENTS: Final = "/events"
RESERVED: Final = (
    *("/", "/health", "/healthz", "/livez", EVENTS, "/metrics", "/openapi.json"),
    *(READY, f"{READY}/*", STATE, f"{STATE}/*", EXPLAIN, f"{EXPLAIN}/*"),
)
"""The paths that the daemon itself serves, with ``/*`` at the end for all below."""

_HEALTH: Final = Rendered(Document(body=encode(HealthBody(status="ok"))))


@attrs.frozen(kw_only=True)
class Ask:
    """What a request says beside its path.

    Attributes:
        query: name -> values, for an endpoint that takes any.
        accept: the ``Accept`` field; ``""`` when there is none.
        now: seconds since 1970.
    """

    query: Query
    accept: str
    now: float


@attrs.frozen(kw_only=True)
class Endpoint:
    """What answers one path.

    Attributes:
        render: returns the answer; None: there is none (404).
        sources: names of the sources behind it; None: the answer says nothing about its quality.
        is_on_demand: whether a request can have its sources probed.
        shows: the branch of the tree that the answer shows with the age of each node, or None.
        branch: the branch whose change a request can wait for, or None.
        takes_query: whether it knows any query parameter; if not, whatever stands there is ignored.
        is_stream: whether it sends events instead of a document.
        route: its name in metrics: the path, with ``/*`` for all below.
        is_steady: whether it renders the same for everybody while the snapshot is the same.
        is_quick: whether it costs so little, without a query, that it is answered at once: what is rendered once a
            snapshot, and what probes ask.
    """

    render: Callable[[Ask], Rendered | None] = lambda _ask: None
    sources: tuple[str, ...] | None = None
    is_on_demand: bool = False
    shows: str | None = None
    branch: str | None = None
    takes_query: bool = False
    is_stream: bool = False
    route: str = ""
    is_steady: bool = False
    is_quick: bool = False


Renderer: TypeAlias = Callable[[Ask], Document | Rendered | None]
BranchRenderer: TypeAlias = Callable[[str, Ask], Document | None]


@attrs.frozen(kw_only=True)
class Core:
    """What renders the daemon's own documents.

    Attributes:
        page: ``/``.
        live: ``/livez``.
        ready: ``/readyz``, for the whole or a path below.
        explain: ``/explain``, for a path.
        metrics: ``/metrics``.
        openapi: ``/openapi.json``.
    """

    page: Renderer
    live: Renderer
    ready: BranchRenderer
    explain: BranchRenderer
    metrics: Renderer
    openapi: Renderer


class Site:
    """Finds the endpoint for a path.

    Args:
        documents: those of views.
        core: the daemon's own.
        sources: every configured source, in order.
        models: model id, percent-encoded -> names of the sources that can serve it.
        snapshot: returns the newest snapshot.
    """

    def __init__(
        self,
        documents: Documents,
        core: Core,
        *,
        sources: Sequence[SourceInfo],
        models: Mapping[str, Sequence[str]],
        snapshot: Callable[[], Snapshot],
    ) -> None:
        self._documents = documents
        self._core = core
        self._names = tuple(source.name for source in sources)
        self._models = models
        self._snapshot = snapshot
        self._branches = Branches(snapshot)
        health = Endpoint(render=lambda _ask: _HEALTH, route="/health", is_steady=True, is_quick=True)
        self._fixed = {
            "/health": health,
            "/healthz": attrs.evolve(health, route="/healthz"),
            "/livez": Endpoint(render=lambda ask: _untagged(core.live(ask)), route="/livez", is_quick=True),
            "/": Endpoint(
                render=partial(_tagged, core.page),
                sources=self._names,
                is_on_demand=True,
                shows="",
                route="/",
                is_steady=True,
                is_quick=True,
            ),
            "/metrics": Endpoint(
                render=partial(_tagged, core.metrics), sources=self._names, route="/metrics"
            ),
            "/openapi.json": Endpoint(
                render=partial(_tagged, core.openapi),
                sources=(),
                route="/openapi.json",
                is_steady=True,
                is_quick=True,
            ),
            EVENTS: Endpoint(is_stream=True, route=EVENTS),
        }
        self._branches_of = {STATE: self._state, EXPLAIN: self._explanation, READY: self._readiness}
        for path, page in documents.pages.items():
            self._fixed[path] = Endpoint(
                render=partial(self._view, path),
                sources=page.sources,
                is_on_demand=True,
                route=path,
                is_steady=True,
                is_quick=True,
            )

    def find(self, path: str) -> Endpoint | None:
        """Return the endpoint at `path`, or None when there is none.

        Args:
            path: the raw path of a request, percent-encoded, without the query.
        """
        found = self._fixed.get(path)
        if found is not None:
            return found
        path = canonical(path)
        found = self._fixed.get(path)
        if found is not None:
            return found
        head, slash, branch = path[1:].partition("/")
        endpoint = self._branches_of.get(f"/{head}")
        if endpoint is None or bool(slash) is not bool(branch) or self._snapshot().find(branch) is None:
            return None
        return endpoint(branch)

    def missing(self, path: str) -> Document | None:
        """Return the answer for a path of `/state`, `/explain` or `/readyz` whose node is not in the tree.

        Args:
            path: as for `find`, which found nothing.
        """
        head, _, branch = canonical(path)[1:].partition("/")
        return no_such_node(branch) if branch and f"/{head}" in self._branches_of else None

    def _state(self, branch: str) -> Endpoint:
        return Endpoint(
            render=lambda _ask: self._branches.get(branch),
            sources=self.behind(branch),
            is_on_demand=True,
            shows=branch,
            branch=branch,
            takes_query=True,
            route=_route(STATE, branch),
            is_steady=True,
            is_quick=True,
        )

    def _explanation(self, branch: str) -> Endpoint:
        return Endpoint(
            render=partial(_tagged, partial(self._core.explain, branch)),
            sources=self.behind(branch),
            is_on_demand=True,
            shows=_part(branch),
            route=_route(EXPLAIN, branch),
        )

    def _readiness(self, branch: str) -> Endpoint:
        return Endpoint(
            render=partial(_tagged, partial(self._core.ready, branch)),
            sources=self.behind(branch),
            shows=_part(branch),
            takes_query=True,
            route=_route(READY, branch),
            is_quick=True,
        )

    def behind(self, branch: str) -> tuple[str, ...]:
        """Return the names of the sources behind a branch of the tree."""
        wing, _, rest = branch.partition("/")
        name = rest.partition("/")[0]
        if wing == "sources":
            return ((name,) if name in self._names else ()) if name else self._names
        if wing == "models":
            serving = (
                self._models.get(name, ())
                if name
                else [one for names in self._models.values() for one in names]
            )
            return tuple(dict.fromkeys(serving))
        return () if wing else self._names

    def _view(self, path: str, _ask: Ask) -> Rendered:
        return self._documents.render(self._documents.pages[path])


@attrs.define(eq=False)
class Branches:
    """The documents of ``/state``, each rendered once a snapshot.

    Attributes:
        snapshot: returns the newest one.
    """

    snapshot: Callable[[], Snapshot]
    _version: int | None = attrs.field(default=None, init=False)
    _rendered: dict[str, Rendered] = attrs.field(factory=dict, init=False)

    def get(self, branch: str) -> Rendered | None:
        """Return the document of a branch; None when there is no such node."""
        snapshot = self.snapshot()
        if self._version != snapshot.version:
            self._version, self._rendered = snapshot.version, {}
        rendered = self._rendered.get(branch)
        if rendered is None:
            body = state_body(snapshot, branch)
            if body is None:
                return None  # not kept, so strangers cannot make this grow
            rendered = Rendered(Document(body=encode(body)), revision_tag(body.revision))
            self._rendered[branch] = rendered
        return rendered


def _tagged(render: Renderer, ask: Ask) -> Rendered | None:
    """Return what `render` gives, with an entity tag."""
    answer = render(ask)
    if answer is None or isinstance(answer, Rendered):
        return answer
    return Rendered.of(answer)


def _untagged(answer: Document | Rendered | None) -> Rendered | None:
    return Rendered(answer) if isinstance(answer, Document) else answer


def _part(branch: str) -> str | None:
    """Return `branch` where it lies below a source or a model, whose readings may be older than the newest probe."""
    return branch if branch.count("/") > 1 else None


def _route(head: str, branch: str) -> str:
    return f"{head}/*" if branch else head


def no_such_node(branch: str) -> Document:
    """Return the answer for a branch that is not in the tree."""
    return problem(
        404, "Not Found", "not_found", f"There is no node {branch[:200]!r} in the tree; /state has all."
    )
