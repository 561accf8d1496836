"""``depends_on``: which sources cannot work without which others."""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Mapping
from typing import Final

from statusd.config.findings import Findings
from statusd.config.wording import below, item, quoted, suggestion

MAX_CIRCLES: Final = 20
"""Circles that are told at once; whoever has more sees the others when these are broken."""
MAX_STEPS: Final = 10
"""Steps of a circle that are shown."""


def expect_dependencies(
    tables: Mapping[str, Mapping[str, object]], sources: Collection[str], findings: Findings
) -> None:
    """Want every ``depends_on`` to name other sources, each once, and none to lead back to where it began.

    Args:
        tables: name -> table of each source; entries that are no strings have a mistake already.
        sources: the names of all sources.
        findings: takes mistakes.
    """
    places: dict[str, dict[str, str]] = {}
    for name, table in tables.items():
        entries = table.get("depends_on")
        if isinstance(entries, list):
            places[name] = _parents(name, entries, sources, findings)
    _expect_no_circle(places, findings)


def _parents(
    name: str, entries: list[object], sources: Collection[str], findings: Findings
) -> dict[str, str]:
    """Return name of a source that `name` depends on -> where the configuration says so."""
    path = below(below("sources", name), "depends_on")
    parents: dict[str, str] = {}
    for index, entry in enumerate(entries):
        where = item(path, index)
        if not isinstance(entry, str):
            continue
        if entry == name:
            findings.mistake(where, f"{quoted(entry)} is the source itself; remove it")
        elif entry not in sources:
            others = [one for one in sources if one != name]
            remedy = suggestion(entry, others, none="there is no other source; remove it")
            findings.mistake(where, f"{quoted(entry)} names no source; {remedy}")
        elif entry in parents:
            findings.mistake(where, f"{quoted(entry)} is listed twice; remove one")
        else:
            parents[str(entry)] = where
    return parents


def _expect_no_circle(places: Mapping[str, Mapping[str, str]], findings: Findings) -> None:
    graph = {name: set(parents) for name, parents in places.items()}
    for _ in range(MAX_CIRCLES):
        circle = _circle(graph, list(places))
        if not circle:
            return
        name, parent = circle[0], circle[1]
        findings.mistake(
            places[name][parent],
            f"{quoted(parent)} leads back to the source itself: {_shown(circle)}; remove one of these steps",
        )
        graph[name].discard(parent)


def _circle(graph: Mapping[str, set[str]], order: list[str]) -> list[str]:
    """Return a circle in `graph`, each name followed by one it depends on, from the first in `order`; none: ``[]``."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        # The first comes again as the last, and each is followed by one that depends on it.
        found: list[str] = error.args[1][:0:-1]
        places = {name: place for place, name in enumerate(order)}
        first = found.index(min(found, key=places.__getitem__))
        return [*found[first:], *found[: first + 1]]
    return []


def _shown(circle: list[str]) -> str:
    steps = [quoted(name) for name in circle]
    if len(steps) > MAX_STEPS:
        steps[MAX_STEPS - 1 : -1] = ["…"]
    return " -> ".join(steps)
