"""What `settle` says of a change, held against a comparison that knows nothing of it."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Node, Payload, Report, Status
from statusd.model.basis import Basis, Tally
from statusd.model.merge import Reading
from statusd.model.tree import find, graft, settle, walk
from tests.model.samples import node_of
from tests.model.strategies import leaves, names, paths, reports, trees


def own_state(node):
    """All that a client sees of a node but its children and times."""
    return json.dumps(
        {
            "status": node.status,
            "reason": node.reason,
            "message": node.message,
            "facts": dict(node.facts),
            "counts": node.counts,
            "source": node.source,
            "rule": node.rule,
            "decided_by": node.decided_by,
        },
        sort_keys=True,
    )


def states(root):
    return {path: own_state(node) for path, node in walk(root)}


def first(tree):
    return settle(None, tree, revision=1, now=10.0).root


def second(old, new):
    return settle(old, new, revision=2, now=20.0)


@given(trees, trees)
def test_exactly_the_nodes_whose_own_state_differs_are_named(old, new):
    before = first(old)
    settled = second(before, new)
    was, now = states(before), states(settled.root)
    assert set(settled.nodes) == {path for path in was | now if was.get(path) != now.get(path)}
    for path, node in settled.nodes.items():
        assert node is find(settled.root, path)


@given(trees, trees)
def test_parents_are_named_before_their_children(old, new):
    named = list(second(first(old), new).nodes)
    for place, path in enumerate(named):
        above = [path.split("/")[:count] for count in range(path.count("/") + 1)] if path else []
        assert not {"/".join(segments) for segments in above} & set(named[place:])


def applied(tree, nodes):
    """Do as a client does that holds the old tree as nested dicts."""
    for path, node in nodes.items():
        *above, name = ["root", *path.split("/")] if path else ["root"]
        place = tree
        for segment in above:
            place = place.get(segment, {"children": {}})["children"]
        if node is None:
            place.pop(name, None)
        else:
            kept = place[name]["children"] if name in place else {}
            place[name] = {"state": own_state(node), "children": kept}
    return tree


def nested(node):
    return {
        "state": own_state(node),
        "children": {name: nested(child) for name, child in node.children.items()},
    }


@given(trees, trees)
def test_applying_them_in_order_to_the_old_tree_gives_the_new_one(old, new):
    before = first(old)
    settled = second(before, new)
    assert applied({"root": nested(before)}, settled.nodes) == {"root": nested(settled.root)}


@given(trees)
def test_the_first_tree_is_all_new(tree):
    settled = settle(None, tree, revision=1, now=10.0)
    assert settled.is_change
    assert settled.nodes == dict(walk(settled.root))


@given(trees)
def test_without_a_difference_nothing_is_named_and_every_revision_stays(tree):
    before = first(tree)
    settled = second(before, tree)
    assert (settled.nodes, settled.transitions, settled.is_change) == ({}, (), False)
    assert [node.revision for _, node in walk(settled.root)] == [1 for _ in walk(before)]


@given(trees, trees)
def test_a_revision_is_stamped_on_exactly_what_is_named_and_all_above_it(old, new):
    settled = second(first(old), new)
    above = {""} if settled.nodes else set()
    for path in settled.nodes:
        segments = path.split("/")
        above |= {"/".join(segments[:count]) for count in range(len(segments) + 1)}
    assert {path for path, node in walk(settled.root) if node.revision == 2} == above & states(
        settled.root
    ).keys()


def shuffled(node, random):
    names = random.sample(list(node.children), len(node.children))
    return attrs.evolve(node, children={name: shuffled(node.children[name], random) for name in names})


@given(trees, st.randoms(use_true_random=False))
def test_the_order_of_children_is_no_state(tree, random):
    mixed = shuffled(tree, random)
    settled = second(first(tree), mixed)
    assert not settled.is_change
    assert [path for path, _ in walk(settled.root)] == [path for path, _ in walk(mixed)]


@given(
    st.lists(reports(paths), min_size=1, max_size=6, unique_by=lambda report: report.path),
    st.lists(reports(), max_size=1),
    st.randoms(use_true_random=False),
)
def test_the_order_in_which_a_source_lists_its_parts_is_no_state(parts, own, random):
    before = first(node_of(Reading(reports=(*own, *parts))))
    mixed = random.sample(parts, len(parts))
    assert second(before, node_of(Reading(reports=(*own, *mixed)))).nodes == {}


@pytest.mark.parametrize(
    "noise",
    [
        {"measurements": {"latency": 2.0}},
        {"payload": Payload(b"{}")},
        {"observed_at": 3.0},
        {"expires_at": 4.0},
        {"basis": Basis(newest=Report.ok(), tally=Tally(status=Status.OK, reason="ok", seen=1, needed=2))},
        {"since": 99.0},
        {"revision": 99},
    ],
)
def test_what_is_no_state_is_taken_over_or_stamped_and_never_a_change(noise):
    before = first(Node(status=Status.OK))
    settled = second(before, Node(status=Status.OK, **noise))
    assert not settled.is_change
    (name,) = noise
    expected = {"since": 10.0, "revision": 1} | noise if name not in {"since", "revision"} else {}
    for key, value in expected.items():
        assert getattr(settled.root, key) == value
    assert (settled.root.since, settled.root.revision) == (10.0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "loading"},
        {"message": "It is so."},
        {"facts": {"x": 1}},
        {"counts": False},
        {"source": "s"},
        {"rule": "best"},
        {"decided_by": ("a",)},
    ],
)
def test_all_else_is_state_and_no_transition(change):
    before = first(Node(status=Status.OK))
    settled = second(before, Node(status=Status.OK, **change))
    assert settled.nodes == {"": settled.root}
    assert settled.transitions == ()
    assert (settled.root.since, settled.root.revision) == (10.0, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        ([1], [True]),
        ([1], [1, 2]),
        ([], [1]),
        ({}, {"a": 1}),
        ({"a": 0}, {"a": 0.0}),
    ],
)
def test_facts_that_clients_can_tell_apart_are_different_although_python_calls_them_equal(one, other):
    before = first(Node(status=Status.OK, facts={"x": one}))
    assert second(before, Node(status=Status.OK, facts={"x": other})).is_change


@given(st.permutations(["a", "b", "c"]), st.permutations(["a", "b", "c"]))
def test_the_order_of_keys_in_facts_is_no_state(one, other):
    before = first(Node(status=Status.OK, facts={"x": dict.fromkeys(one)}))
    assert not second(before, Node(status=Status.OK, facts={"x": dict.fromkeys(other)})).is_change


@given(trees, names, leaves)
def test_what_nobody_touched_is_the_same_object_afterwards(tree, name, leaf):
    before = first(tree)
    after = second(before, graft(before, name, leaf)).root
    for other, child in before.children.items():
        assert other == name or after.children[other] is child


def test_a_branch_that_goes_brings_one_none_for_itself_and_each_node_below():
    leaf = Node(status=Status.OK)
    old = Node(
        status=Status.OK, children={"a": Node(status=Status.OK, children={"b": leaf, "c": leaf}), "d": leaf}
    )
    settled = second(first(old), Node(status=Status.OK, children={"d": leaf}))
    assert next(iter(settled.nodes.items())) == ("a", None)
    assert settled.nodes == {"a": None, "a/b": None, "a/c": None}
