"""``/readyz`` and ``/readyz/<path>``: ready or not, in a status code for load balancers and in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import attrs

from statusd.model.drains import drained_above, is_drained
from statusd.model.rollup import Rule, decide
from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node, join, segment
from statusd.plugin.contracts import Document
from statusd.web.phrases import counting, one_line, said
from statusd.web.target import canonical
from statusd.wording import span, standing

VERBOSE: Final = "verbose"
EXCLUDE: Final = "exclude"
WHOLE: Final = "the whole tree"
CONTENT_TYPE: Final = "text/plain; charset=utf-8"

_WELL: Final = "[+]"
_IN_THE_WAY: Final = "[-]"
_ASIDE: Final = "[ ]"  # not well, or not looked at, and no hindrance
_MODELS: Final = "models/"


def render_ready(
    snapshot: Snapshot, path: str, query: Mapping[str, Sequence[str]], require: Sequence[str], now: float
) -> Document | None:
    """Return the answer to ``/readyz`` or ``/readyz/<path>``; None when there is no such node.

    Args:
        snapshot: the tree.
        path: the node that is asked for, raw as in the request or encoded as in the tree; ``""`` asks for the whole.
        query: name -> values, percent-decoded; `VERBOSE` and `EXCLUDE` count, others are ignored.
        require: the paths of ``[ready] require``.
        now: seconds since 1970.
    """
    path = canonical(path) if path else ""
    excluding = _Excluding.of(snapshot, query.get(EXCLUDE, ()), path, require)
    if path:
        node = snapshot.find(path)
        if node is None:
            return None
        findings = list(_about(path, node, excluding))
    else:
        findings = [*_sources(snapshot, excluding), *_required(snapshot, require, excluding)]
        findings = list(_each_once([*findings, *_models(snapshot, excluding)]))
    findings = [*_drained(snapshot, path), *findings]
    hindrance = next((one.hindrance for one in _first_things_first(findings) if one.hindrance), "")
    verdict = f"not ready: {hindrance}" if hindrance else "ready"
    lines = [*(one.line(now) for one in findings), *excluding.remarks] if VERBOSE in query else []
    return Document(
        body="".join(f"{line}\n" for line in [*lines, verdict]).encode("utf-8", "replace"),
        status=503 if hindrance else 200,
        content_type=CONTENT_TYPE,
    )


@attrs.frozen(kw_only=True)
class _Finding:
    """One line.

    Attributes:
        path: of the node.
        node: what is there; None where there is none.
        status: its status, without what was excluded.
        hindrance: why this makes the whole not ready, or ``""``.
        is_pending: whether that is only because nothing is known yet.
        is_excluded: whether it is not looked at.
    """

    path: str
    node: Node | None
    status: Status
    hindrance: str = ""
    is_pending: bool = False
    is_excluded: bool = False

    def line(self, now: float) -> str:
        where = self.path or WHOLE
        if self.is_excluded:
            return f"{_ASIDE}{where} excluded"
        if self.node is None:
            return f"{_IN_THE_WAY}{where} does not exist"
        mark = _IN_THE_WAY if self.hindrance else _WELL if self.status.is_connected else _ASIDE
        parts = [_standing(self.node, self.status)]
        if self.node.observed_at is not None:
            parts.append(f"{span(now - self.node.observed_at)} old")
        elif self.node.basis is not None:
            parts.append("never observed")
        message = one_line(self.node.message) if self.status is self.node.status else ""
        return f"{mark}{where} {', '.join(parts)}" + (f": {message}" if message else "")


def _first_things_first(findings: list[_Finding]) -> list[_Finding]:
    """Return `findings` with the sources first that have not reported: while there are any, all else is a guess."""
    return sorted(findings, key=lambda one: not one.is_pending)


def _each_once(findings: Sequence[_Finding]) -> Iterator[_Finding]:
    """Yield one finding a path, one that hinders rather than one that does not."""
    each: dict[str, _Finding] = {}
    for one in findings:
        if one.hindrance or one.path not in each:
            each[one.path] = one
    yield from each.values()


def _sources(snapshot: Snapshot, excluding: _Excluding) -> Iterator[_Finding]:
    """Yield every source: each must have reported once."""
    for path, node in _wing(snapshot, "sources"):
        is_pending = _is_pending(node) and not excluding.takes(path)
        yield _Finding(
            path=path,
            node=node,
            status=excluding.status(path, node),
            hindrance=f"{path} has not reported yet" if is_pending else "",
            is_pending=is_pending,
            is_excluded=excluding.takes(path),
        )


def _required(snapshot: Snapshot, require: Sequence[str], excluding: _Excluding) -> Iterator[_Finding]:
    """Yield every node of ``[ready] require``: each must be well."""
    for text in require:
        path = _resolved(snapshot, text)
        node = snapshot.find(path)
        if excluding.takes(path):
            yield _Finding(path=path, node=node, status=Status.OFF, is_excluded=True)
        elif node is None:
            hindrance = f"{path} is required and does not exist"
            yield _Finding(path=path, node=None, status=Status.UNKNOWN, hindrance=hindrance)
        else:
            yield from _drained(snapshot, path)
            yield _judged(path, node, excluding.status(path, node))


def _drained(snapshot: Snapshot, path: str) -> Iterator[_Finding]:
    """Yield what an operator has drained above `path`: all that is below is out of service with it."""
    place = drained_above(snapshot.root, path)
    node = None if place is None or place == path != "" else snapshot.find(place)
    if place is not None and node is not None:
        yield _judged(place, node, node.status)


def _models(snapshot: Snapshot, excluding: _Excluding) -> Iterator[_Finding]:
    """Yield every model, for information."""
    for path, node in _wing(snapshot, "models"):
        yield _Finding(path=path, node=node, status=node.status, is_excluded=excluding.takes(path))


def _about(path: str, node: Node, excluding: _Excluding) -> Iterator[_Finding]:
    """Yield a node that must be well, and its children that count."""
    status = excluding.status(path, node)
    yield _judged(path, node, status)
    for name, child in counting(node).items():
        where = join(path, name)
        theirs = excluding.status(where, child)
        # The status is that of the children that decided it; `off` decides nothing.
        decides = not status.is_connected and theirs is status and theirs is not Status.OFF
        hindrance = _is_not_well(where, child, theirs) if decides else ""
        is_excluded = excluding.takes(where)
        yield _Finding(
            path=where,
            node=child,
            status=theirs,
            hindrance="" if is_excluded else hindrance,
            is_excluded=is_excluded,
        )


def _judged(path: str, node: Node, status: Status) -> _Finding:
    hindrance = "" if status.is_connected else _is_not_well(path, node, status)
    return _Finding(path=path, node=node, status=status, hindrance=hindrance)


def _is_not_well(path: str, node: Node, status: Status) -> str:
    if status is not node.status:
        return f"{path or WHOLE} is {status} without what is excluded"
    return f"{path or WHOLE} is {said(status, node.reason, node.message)}".removesuffix(".")


def _standing(node: Node, status: Status) -> str:
    return standing(status, node.reason if status is node.status else status.value)


def _is_pending(node: Node) -> bool:
    """Whether a source has neither reported nor run out of time; what an earlier run left is no report of this one."""
    if node.is_restored:
        return True
    # Its own probe counts here, which a failed dependency hides from the node.
    reason = node.basis.newest.reason if node.basis is not None else node.reason
    return node.observed_at is None and reason == "pending"


def _wing(snapshot: Snapshot, name: str) -> Iterator[tuple[str, Node]]:
    wing = snapshot.root.children.get(name)
    for child in wing.children if wing is not None else ():
        assert wing is not None
        yield join(name, child), wing.children[child]


def _resolved(snapshot: Snapshot, text: str) -> str:
    """Return the path that `text` means: encoded as in the tree, or raw."""
    # What cannot be encoded names no node anyway.
    path = canonical(text.encode("utf-8", "replace").decode().strip("/"))
    if snapshot.find(path) is None and path.startswith(_MODELS):
        # Nothing stands below a model, so a slash after the first belongs to its id.
        return join("models", segment(unquote(path.removeprefix(_MODELS))))
    return path


@attrs.frozen(kw_only=True)
class _Excluding:
    """What the request leaves out.

    Attributes:
        paths: of the branches.
        remarks: a line for each path that leaves out nothing.
    """

    paths: frozenset[str]
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, snapshot: Snapshot, texts: Sequence[str], asked: str, require: Sequence[str]) -> _Excluding:
        known = {_resolved(snapshot, text) for text in require}
        paths: list[str] = []
        remarks: list[str] = []
        for path in dict.fromkeys(_resolved(snapshot, text) for text in texts):
            if asked == path or asked.startswith(f"{path}/") or not path:
                remarks.append(f"{_ASIDE}{path or WHOLE} not excluded, since it is what is asked for")
            elif snapshot.find(path) is None and path not in known:
                remarks.append(f"{_ASIDE}{path} not excluded, since it does not exist")
            else:
                paths.append(path)
        return cls(paths=frozenset(paths), remarks=tuple(remarks))

    def takes(self, path: str) -> bool:
        """Whether the node at `path`, or one above it, is left out."""
        parts = path.split("/")
        return any("/".join(parts[:length]) in self.paths for length in range(1, len(parts) + 1))

    def status(self, path: str, node: Node) -> Status:
        """Return the status of `node` as its rule has it without what is left out below it."""
        below = f"{path}/" if path else ""
        if is_drained(node) or not node.rule or not any(other.startswith(below) for other in self.paths):
            return node.status
        children = counting(node)
        if not children:
            return node.status  # a model's rule is about sources, which are no children of it
        left = {join(path, name): child for name, child in children.items()}
        statuses = [self.status(where, child) for where, child in left.items() if not self.takes(where)]
        return decide(Rule.parse(node.rule), statuses).status
