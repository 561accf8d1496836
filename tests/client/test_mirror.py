"""The mirror of the tree is the tree, and never half of it."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.client import ClientError, Disconnected, NodeChange, TreeChange, TreeMirror, TreeSnapshot
from tests.client.samples import TREES, changes, node


def change(revision, *pairs):
    return TreeChange(revision, tuple(NodeChange(path, state) for path, state in pairs))


def bare(status):
    return {key: value for key, value in node(status).items() if key != "children"}


@given(st.lists(st.one_of(TREES, st.none()), min_size=1, max_size=8), st.sampled_from(["", "sources", "a/b"]))
def test_a_mirror_equals_the_servers_tree_after_every_change(trees, path):
    first = next((tree for tree in trees if tree is not None), node())
    mirror = TreeMirror()
    mirror.apply(TreeSnapshot(revision=1, path=path, node=first))
    seen = [(mirror.node, copy.deepcopy(mirror.node))]
    before = first
    for revision, tree in enumerate(trees, 2):
        mirror.apply(TreeChange(revision, tuple(NodeChange(**one) for one in changes(before, tree, path))))
        assert mirror.node == tree
        assert mirror.revision == revision
        before = tree
        seen.append((mirror.node, copy.deepcopy(mirror.node)))
    for given_out, as_it_was in seen:
        assert given_out == as_it_was


def test_a_snapshot_replaces_everything():
    mirror = TreeMirror()
    mirror.apply(TreeSnapshot(revision=1, path="", node=node("down", a=node())))
    mirror.apply(TreeSnapshot(revision=9, path="", node=node("ok", b=node())))
    assert (mirror.revision, mirror.node) == (9, node("ok", b=node()))


def test_a_disconnection_leaves_the_tree_and_says_so():
    mirror = TreeMirror()
    assert not mirror.is_connected
    mirror.apply(TreeSnapshot(revision=1, path="", node=node(a=node())))
    assert mirror.is_connected
    mirror.apply(Disconnected("gone"))
    assert not mirror.is_connected
    assert mirror.node == node(a=node())
    mirror.apply(change(2, ("a", bare("down"))))
    assert mirror.is_connected


@pytest.mark.parametrize(
    "changes_",
    [
        [("a/x/y", bare("ok"))],
        [("other", bare("ok"))],
        [("ab", None)],
        [("a" + "/b" * 100_000, None)],
        [("a/c", bare("down")), ("elsewhere/x", bare("ok"))],
    ],
)
def test_a_change_that_does_not_fit_is_refused_whole(changes_):
    mirror = TreeMirror()
    tree = node(b=node())
    mirror.apply(TreeSnapshot(revision=1, path="a", node=tree))
    with pytest.raises(ClientError) as caught:
        mirror.apply(change(2, *changes_))
    assert caught.value.reason == "bad_stream"
    assert (mirror.revision, mirror.node) == (1, tree)


def test_nodes_are_found_by_their_path_from_the_root():
    mirror = TreeMirror()
    assert mirror.find("") is None
    mirror.apply(TreeSnapshot(revision=1, path="a/b", node=node("ok", c=node("down"))))
    assert mirror.find("a/b")["status"] == "ok"
    assert mirror.find("a/b/c")["status"] == "down"
    assert [mirror.find(path) for path in ("", "a", "a/bc", "a/b/x", "a/b/c/d", "c")] == [None] * 6


def test_a_change_of_ten_thousand_children_is_no_matter_of_their_square():
    mirror = TreeMirror()
    mirror.apply(
        TreeSnapshot(revision=1, path="", node=node(**{f"n{number}": node() for number in range(10_000)}))
    )
    mirror.apply(change(2, *((f"n{number}", None) for number in range(10_000))))
    assert mirror.node["children"] == {}


def test_updates_are_values():
    assert NodeChange("a", None) == NodeChange("a", None)
    with pytest.raises(AttributeError):
        NodeChange("a", None).path = "b"
