"""The tree out of its sources: which nodes a source's new reading touches, and what they become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter

import attrs

from statusd.model.basis import Basis
from statusd.model.drains import Drain
from statusd.model.judging import Judgement, Thresholds, judge_reading, with_models
from statusd.model.merge import Reading, expired
from statusd.model.nodes import (
    Candidate,
    Rules,
    branch,
    model_node,
    source_node,
    standing_report,
    statement_node,
)
from statusd.model.report import Report
from statusd.model.rollup import BEST, WORST
from statusd.model.status import Status
from statusd.model.tree import Node, find, graft, join, segment

WINGS = ("sources", "models", "plugins", "daemon")
"""The branches right below the root."""


@attrs.frozen(kw_only=True)
class Origin:
    """A configured source, as far as its place in the tree goes.

    Attributes:
        name: the source's.
        plugin: its plugin's name.
        backend: what ``/models`` calls it.
        models: ids of the models it can serve.
        required: whether it takes part in rollups.
        thresholds: how steady it must be.
        depends_on: names of the sources without which it cannot work.
        made_of: the fingerprint of its configuration; ``""`` for one of which nothing is kept over restarts.
    """

    name: str
    plugin: str
    backend: str
    models: tuple[str, ...] = ()
    required: bool = True
    thresholds: Thresholds = attrs.field(factory=Thresholds)
    depends_on: tuple[str, ...] = ()
    made_of: str = ""


@attrs.frozen
class State:
    """A source with its newest reading, and what all of them came to."""

    origin: Origin
    reading: Reading
    judgement: Judgement

    @classmethod
    def first(cls, origin: Origin, reports: Sequence[Report]) -> State:
        """Return the state before any probe."""
        return cls._at_once(origin, Reading(reports=tuple(reports)))

    @classmethod
    def restored(cls, origin: Origin, reading: Reading) -> State:
        """Return the state that an earlier process left; thresholds hold over it as over one of our own."""
        return cls._at_once(origin, attrs.evolve(reading, is_restored=True))

    def moved(self, origin: Origin) -> State:
        """Return the same state under another configuration of the same source."""
        judgement = with_models(self.judgement, self.reading, origin.models)
        return State(origin, self.reading, judgement)

    def after(self, reading: Reading) -> State:
        """Return the state with one more reading."""
        before = None if self.reading.observed_at is None else self.judgement
        judgement = judge_reading(before, reading, self.origin.models, self.origin.thresholds)
        return State(self.origin, reading, judgement)

    def expired(self) -> State:
        """Return the state past the lifetime of its reading: stale at once, since silence is no probe that `fall` counts."""
        stale = expired(self.reading, "The last report is past its lifetime.")
        # Its time in this process is up, too: who waits for the source's first word waits no longer.
        return self._at_once(self.origin, attrs.evolve(stale, is_restored=False))

    @classmethod
    def _at_once(cls, origin: Origin, reading: Reading) -> State:
        return cls(origin, reading, judge_reading(None, reading, origin.models, origin.thresholds))

    @property
    def status(self) -> Status:
        """What its own probes say, thresholds included and dependencies left aside."""
        return self.judgement.own.report.status


class Assembly:
    """Keeps the state of every source, and builds the nodes that depend on it.

    Args:
        states: of every configured source.
        models: model id -> names of the sources that can serve it, best first.
        rules: of branches that have another than the usual one.
        drains: what an operator has taken out of service.

    Raises:
        ValueError: when sources depend on each other in a circle.
    """

    def __init__(
        self,
        states: Iterable[State],
        models: Mapping[str, Sequence[str]],
        rules: Rules | None = None,
        drains: Iterable[Drain] = (),
    ) -> None:
        self._states = {state.origin.name: state for state in states}
        self._models = models
        self._rules = rules or {}
        self._drains = {drain.path: drain for drain in drains}
        dependencies = {name: state.origin.depends_on for name, state in self._states.items()}
        self._order = tuple(TopologicalSorter(dependencies).static_order())  # each after those it depends on
        self._has_dependencies = any(dependencies.values())
        self._failed_parents = self._find_failed_parents()

    def state(self, name: str) -> State:
        """Return what the source `name` has come to."""
        return self._states[name]

    def states(self) -> dict[str, State]:
        """Return what each source has come to, by its name."""
        return dict(self._states)

    def drain(self, drains: Iterable[Drain]) -> None:
        """Have `drains`, and no others, hold from the next tree on."""
        self._drains = {drain.path: drain for drain in drains}
        self._failed_parents = self._find_failed_parents()

    def tree(self, statements: Mapping[str, Report]) -> Node:
        """Return the whole tree.

        Args:
            statements: path below ``plugins`` or ``daemon`` -> what stands there.
        """
        wings: dict[str, dict[str, Node]] = {wing: {} for wing in WINGS}
        wings["sources"] = {name: self._source_node(name) for name in self._states}
        wings["models"] = {segment(model): self._model_node(model) for model in self._models}
        for path, report in statements.items():
            wing, _, name = path.partition("/")
            wings[wing][name] = statement_node(report)
        return self._root({wing: self._branch(wing, children) for wing, children in wings.items()})

    def put(self, root: Node, state: State) -> Node:
        """Take the new state of a source, and return the tree with all that follows from it."""
        name = state.origin.name
        before, self._states[name] = self._states[name], state
        touched = [name]
        if self._has_dependencies and before.status is not state.status:
            known, self._failed_parents = self._failed_parents, self._find_failed_parents()
            touched += [one for one in self._order if known[one] != self._failed_parents[one]]
        models = dict.fromkeys(model for one in touched for model in self._states[one].origin.models)
        for one in touched:
            root = graft(root, join("sources", one), self._source_node(one))
        for model in models:
            root = graft(root, join("models", segment(model)), self._model_node(model))
        return self._rolled_up(root, "sources", *(("models",) if models else ()))

    def state_at(self, root: Node, path: str, report: Report) -> Node:
        """Return the tree with what a part of the daemon says about itself at `path`."""
        return self._rolled_up(graft(root, path, statement_node(report)), path.partition("/")[0])

    def _find_failed_parents(self) -> dict[str, str]:
        """Return for each source the failed one without which it cannot work, however far off, or ``""``.

        Failed is what is down and depends on nothing that is: where everything behind it fails too, it is the one to
        name. What is `off` fails nobody.
        """
        parents: dict[str, str] = {}
        blamed: dict[str, str] = {}  # by those that depend on it
        for name in self._order:
            state = self._states[name]
            parent = next((blamed[one] for one in state.origin.depends_on if blamed[one]), "")
            parents[name] = parent
            blamed[name] = ""
            if state.status is not Status.OFF and join("sources", name) not in self._drains:
                blamed[name] = parent or (name if state.status is Status.DOWN else "")
        return parents

    def _source_node(self, name: str) -> Node:
        state, path = self._states[name], join("sources", name)
        node = source_node(
            name,
            state.reading,
            state.judgement,
            # A source that serves models counts through models/ only, where another source may stand in for it.
            counts=state.origin.required and not state.origin.models,
            parent=self._failed_parents[name],
            rules=self._rules,
        )
        for drained in self._drains:
            part = drained.removeprefix(f"{path}/")
            if part != drained and (found := find(node, part)) is not None:
                node = graft(node, part, self._in_service(drained, found))
        return self._in_service(path, node)

    def _model_node(self, model: str) -> Node:
        path = join("models", segment(model))
        candidates = [self._candidate(name, model) for name in self._models[model]]
        return self._in_service(path, model_node(candidates, self._rules.get(path, BEST)))

    def _in_service(self, path: str, node: Node) -> Node:
        """Return `node`, or what it is while the place where it stands is drained."""
        drain = self._drains.get(path)
        if drain is None:
            return node
        report = drain.report()
        return attrs.evolve(
            node, status=report.status, reason=report.reason, message=report.message, decided_by=()
        )

    def _candidate(self, name: str, model: str) -> Candidate:
        state, drain = self._states[name], self._drains.get(join("sources", name))
        judged, parent = state.judgement.models[model], self._failed_parents[name]
        return Candidate(
            source=name,
            plugin=state.origin.plugin,
            backend=state.origin.backend,
            report=standing_report(judged, parent) if drain is None else drain.report(),
            basis=Basis(newest=judged.newest, tally=judged.tally, parent=parent),
            reading=state.reading,
            counts=state.origin.required,
        )

    def _branch(self, path: str, children: Mapping[str, Node]) -> Node:
        return self._in_service(path, branch(children, self._rules.get(path, WORST)))

    def _root(self, wings: Mapping[str, Node]) -> Node:
        return self._branch("", wings)

    def _rolled_up(self, root: Node, *wings: str) -> Node:
        for wing in wings:
            root = graft(root, wing, self._branch(wing, root.children[wing].children))
        return self._root(root.children)
