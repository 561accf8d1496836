"""`depends_on`: names of other sources, and never round in a circle."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.config import read_text
from statusd.config.dependencies import MAX_CIRCLES

NAMES = "abcdef"


def configuration(graph):
    return "\n".join(
        f'[sources.{name}]\nplugin = "p"\ndepends_on = {json.dumps(list(parents))}'
        for name, parents in graph.items()
    )


def told(graph):
    return [str(one) for one in read_text(configuration(graph), "test.toml", {}).mistakes]


def is_cyclic(graph):
    """Whether some name reaches itself, by the transitive closure (Warshall)."""
    reached = {(name, parent) for name, parents in graph.items() for parent in parents}
    for middle, start, end in itertools.product(NAMES, repeat=3):
        if (start, middle) in reached and (middle, end) in reached:
            reached.add((start, end))
    return any((name, name) in reached for name in NAMES)


@st.composite
def graphs(draw):
    """Every name, each with other names that it depends on."""
    return {
        name: draw(st.lists(st.sampled_from(NAMES.replace(name, "")), unique=True, max_size=3))
        for name in NAMES
    }


@given(graphs())
def test_a_graph_is_told_if_and_only_if_it_has_a_circle(graph):
    assert bool(told(graph)) is is_cyclic(graph)


@given(graphs())
def test_without_the_entries_that_are_told_no_circle_is_left(graph):
    for mistake in read_text(configuration(graph), "test.toml", {}).mistakes:
        _, name, rest = mistake.path.split(".")
        index = int(rest.removeprefix("depends_on[").removesuffix("]"))
        graph[name][index] = None
    mended = {name: [one for one in parents if one is not None] for name, parents in graph.items()}
    assert not is_cyclic(mended)


@given(graphs())
def test_each_circle_that_is_shown_is_one_and_none_is_shown_twice(graph):
    shown = []
    for mistake in read_text(configuration(graph), "test.toml", {}).mistakes:
        steps = mistake.message.partition("itself: ")[2].partition(";")[0].replace('"', "").split(" -> ")
        assert steps[0] == steps[-1] == mistake.path.split(".")[1]
        assert all(parent in graph[name] for name, parent in itertools.pairwise(steps))
        shown.append(frozenset(itertools.pairwise(steps)))
    assert len(shown) == len(set(shown))


@pytest.mark.parametrize(
    ("graph", "mistakes"),
    [
        ({"a": ["a"]}, ['sources.a.depends_on[0]: "a" is the source itself; remove it']),
        (
            {"a": ["b", "b"], "b": []},
            ['sources.a.depends_on[1]: "b" is listed twice; remove one'],
        ),
        (
            {"omnirt": [], "a": ["omnrit"]},
            ['sources.a.depends_on[0]: "omnrit" names no source; did you mean "omnirt"?'],
        ),
        (
            {"worker": ["workers"], "b": []},
            ['sources.worker.depends_on[0]: "workers" names no source; expected "b"'],
        ),
        (
            {"a": ["b"]},
            ['sources.a.depends_on[0]: "b" names no source; there is no other source; remove it'],
        ),
        (
            {"z": [], "c": ["z", "a"], "b": ["c"], "a": ["b"]},
            [
                (
                    'sources.c.depends_on[1]: "a" leads back to the source itself: '
                    '"c" -> "a" -> "b" -> "c"; remove one of these steps'
                )
            ],
        ),
        (
            {"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]},
            [
                f'sources.{one}.depends_on[0]: "{other}" leads back to the source itself: '
                f'"{one}" -> "{other}" -> "{one}"; remove one of these steps'
                for one, other in ("ab", "cd")
            ],
        ),
    ],
)
def test_each_mistake_is_told_with_its_path_and_remedy(graph, mistakes):
    assert told(graph) == mistakes


def test_a_long_circle_is_not_shown_whole():
    names = [f"s{number}" for number in range(3000)]
    graph = {name: [parent] for name, parent in zip(names, [*names[1:], names[0]], strict=True)}
    [mistake] = told(graph)
    assert mistake.startswith(
        'sources.s0.depends_on[0]: "s1" leads back to the source itself: "s0" -> "s1" -> '
    )
    assert mistake.endswith('"s8" -> … -> "s0"; remove one of these steps')


def test_of_many_circles_some_are_told_first():
    names = [f"s{number}" for number in range(2 * MAX_CIRCLES + 2)]
    pairs = zip(names[::2], names[1::2], strict=True)
    graph = {name: [other] for pair in pairs for name, other in (pair, pair[::-1])}
    assert len(told(graph)) == MAX_CIRCLES


def test_sources_with_other_mistakes_are_part_of_a_circle_all_the_same():
    text = """
    sources.c = 1
    [sources.a]
    depends_on = ["b", 1]
    [sources.b]
    plugin = "p"
    interval = 0
    depends_on = ["${A:-a}", "none", "c"]

    """
    assert [str(one) for one in read_text(text, "test.toml", {}).mistakes] == [
        "sources.c: expected a table, found the integer 1; write [sources.c]",
        "sources.a.depends_on[1]: expected a string, found the integer 1; write it in quotes",
        'sources.a.plugin: missing; name the kind of source, as in plugin = "http"',
        "sources.b.interval: 0 is out of range; expected 0.01 to 86400 seconds",
        'sources.b.depends_on[1]: "none" names no source; expected "a" or "c"',
        (
            'sources.a.depends_on[0]: "b" leads back to the source itself: "a" -> "b" -> "a"; '
            "remove one of these steps"
        ),
    ]
