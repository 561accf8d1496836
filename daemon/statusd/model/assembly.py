"""The tree out of its sources: which nodes a source's new reading touches, and what they become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from statusd.model.basis import Basis
from statusd.model.judging import Judgement, Thresholds, judge_reading
from statusd.model.merge import Reading
from statusd.model.nodes import Candidate, Rules, branch, model_node, source_node, standing, statement_node
from statusd.model.report import Report
from statusd.model.rollup import BEST, WORST
from statusd.model.status import Status
from statusd.model.tree import Node, graft, join, segment

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
    """

    name: str
    plugin: str
    backend: str
    models: tuple[str, ...] = ()
    required: bool = True
    thresholds: Thresholds = attrs.field(factory=Thresholds)
    depends_on: tuple[str, ...] = ()


@attrs.frozen
class State:
    """A source with its newest reading, and what all of them came to."""

    origin: Origin
    reading: Reading
    judgement: Judgement

    @classmethod
    def first(cls, origin: Origin, reports: Sequence[Report]) -> State:
        """Return the state before any probe."""
        reading = Reading(reports=tuple(reports))
        return cls(origin, reading, judge_reading(None, reading, origin.models, origin.thresholds))

    def after(self, reading: Reading) -> State:
        """Return the state with one more reading."""
        before = None if self.reading.observed_at is None else self.judgement
        judgement = judge_reading(before, reading, self.origin.models, self.origin.thresholds)
        return State(self.origin, reading, judgement)

    @property
    def is_down(self) -> bool:
        """Whether its own probes say so, thresholds included."""
        return self.judgement.own.report.status is Status.DOWN


class Assembly:
    """Keeps the state of every source, and builds the nodes that depend on it.

    Args:
        states: of every configured source.
        models: model id -> names of the sources that can serve it, best first.
        rules: of branches that have another than the usual one.
    """

    def __init__(
        self, states: Iterable[State], models: Mapping[str, Sequence[str]], rules: Rules | None = None
    ) -> None:
        self._states = {state.origin.name: state for state in states}
        self._models = models
        self._rules = rules or {}
        self._dependents: dict[str, list[str]] = {name: [] for name in self._states}
        for state in self._states.values():
            for parent in state.origin.depends_on:
                self._dependents[parent].append(state.origin.name)

    def state(self, name: str) -> State:
        """Return what the source `name` has come to."""
        return self._states[name]

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
        touched = list(self._with_dependents(name)) if before.is_down is not state.is_down else [name]
        models = dict.fromkeys(model for one in touched for model in self._states[one].origin.models)
        for one in touched:
            root = graft(root, join("sources", one), self._source_node(one))
        for model in models:
            root = graft(root, join("models", segment(model)), self._model_node(model))
        return self._rolled_up(root, "sources", *(("models",) if models else ()))

    def state_at(self, root: Node, path: str, report: Report) -> Node:
        """Return the tree with what a part of the daemon says about itself at `path`."""
        return self._rolled_up(graft(root, path, statement_node(report)), path.partition("/")[0])

    def _with_dependents(self, name: str) -> Iterator[str]:
        """Yield `name` and all that depends on it, however far off."""
        seen = {name: None}
        queue = [name]
        while queue:
            one = queue.pop()
            yield one
            new = [dependent for dependent in self._dependents[one] if dependent not in seen]
            seen.update(dict.fromkeys(new))
            queue += new

    def _failed_parent(self, name: str, seen: frozenset[str] = frozenset()) -> str:
        """Return the first source on which `name` depends, and which is down or depends on one that is."""
        for parent in self._states[name].origin.depends_on:
            if parent in seen:
                continue
            if self._states[parent].is_down or self._failed_parent(parent, seen | {name}):
                return parent
        return ""

    def _source_node(self, name: str) -> Node:
        state = self._states[name]
        return source_node(
            name,
            state.reading,
            state.judgement,
            # A source that serves models counts through models/ only, where another source may stand in for it.
            counts=state.origin.required and not state.origin.models,
            parent=self._failed_parent(name),
            rules=self._rules,
        )

    def _model_node(self, model: str) -> Node:
        candidates = [self._candidate(name, model) for name in self._models[model]]
        return model_node(candidates, self._rules.get(join("models", segment(model)), BEST))

    def _candidate(self, name: str, model: str) -> Candidate:
        state = self._states[name]
        judged, parent = state.judgement.models[model], self._failed_parent(name)
        return Candidate(
            source=name,
            plugin=state.origin.plugin,
            backend=state.origin.backend,
            report=standing(judged, parent),
            basis=Basis(newest=judged.newest, tally=judged.tally, parent=parent),
            reading=state.reading,
            counts=state.origin.required,
        )

    def _branch(self, path: str, children: Mapping[str, Node]) -> Node:
        return branch(children, self._rules.get(path, WORST))

    def _root(self, wings: Mapping[str, Node]) -> Node:
        return self._branch("", wings)

    def _rolled_up(self, root: Node, *wings: str) -> Node:
        for wing in wings:
            root = graft(root, wing, self._branch(wing, root.children[wing].children))
        return self._root(root.children)
