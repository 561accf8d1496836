import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Node, Report, Status, segment
from statusd.model.nodes import branch
from statusd.model.tree import find, graft, settle, walk
from statusd.plugin.validation import checked_reports
from tests.model.strategies import leaves, names, trees


def content(node):
    """A tree without what settle stamps."""
    return (
        node.status,
        node.reason,
        node.message,
        json.dumps(dict(node.facts), sort_keys=True),  # to Python, 1 and 1.0 and True are equal
        (node.counts, node.source, node.rule, node.decided_by),
        {name: content(child) for name, child in node.children.items()},
    )


@given(trees)
def test_settling_the_same_content_again_changes_nothing(tree):
    first = settle(None, tree, revision=1, now=10.0)
    again = settle(first.root, tree, revision=2, now=20.0)
    assert not again.is_change
    assert again.transitions == ()
    assert {node.revision for _, node in walk(again.root)} == {1}
    assert {node.since for _, node in walk(again.root)} == {10.0}


@given(trees, trees)
def test_replaying_transitions_over_the_old_statuses_gives_the_new_ones(old, new):
    before = settle(None, old, revision=1, now=10.0).root
    settled = settle(before, new, revision=2, now=20.0)
    statuses_now = {path: node.status for path, node in walk(before)}
    for transition in settled.transitions:
        assert statuses_now.get(transition.path) is transition.before
        if transition.after is None:
            del statuses_now[transition.path]
        else:
            statuses_now[transition.path] = transition.after
    assert statuses_now == {path: node.status for path, node in walk(settled.root)}


@given(trees, trees)
def test_a_node_keeps_its_since_exactly_while_its_status_stays(old, new):
    before = settle(None, old, revision=1, now=10.0).root
    after = settle(before, new, revision=2, now=20.0).root
    was = dict(walk(before))
    for path, node in walk(after):
        stayed = path in was and was[path].status is node.status
        assert node.since == (10.0 if stayed else 20.0)


@given(trees, trees)
def test_a_change_is_stamped_on_the_whole_path_above_it(old, new):
    before = settle(None, old, revision=1, now=10.0).root
    settled = settle(before, new, revision=2, now=20.0)
    assert settled.is_change == (content(before) != content(settled.root))
    for path, node in walk(settled.root):
        if node.revision == 2:
            parent = find(settled.root, path.rpartition("/")[0])
            assert parent.revision == 2


@given(trees)
def test_measurements_times_and_payloads_are_no_change_of_state(tree):
    first = settle(None, tree, revision=1, now=10.0).root
    noisy = attrs.evolve(tree, measurements={"latency": 1.0}, observed_at=99.0, expires_at=100.0)
    settled = settle(first, noisy, revision=2, now=20.0)
    assert not settled.is_change
    assert settled.root.measurements == {"latency": 1.0}
    assert settled.root.observed_at == 99.0


@given(trees, names, leaves)
def test_grafting_puts_a_node_there_and_copies_only_the_path(tree, name, leaf):
    grown = graft(tree, name, leaf)
    assert find(grown, name) is leaf
    for other, child in tree.children.items():
        if other != name:
            assert grown.children[other] is child


def test_a_deep_graft_wants_its_parent():
    with pytest.raises(KeyError):
        graft(Node(status=Status.OK), "a/b", Node(status=Status.OK))


def test_model_ids_with_a_slash_are_one_segment():
    assert segment("TitanML/dummy model") == "TitanML%2Fdummy%20model"


@given(st.text(min_size=1))
def test_every_name_is_one_segment_that_a_report_may_use(name):
    path = segment(name.encode("utf-8", "replace").decode()[:40])
    assert checked_reports(Report.ok(path=path))[0].path == path


def test_a_rollup_names_the_worst_children_first_and_counts_the_rest():
    children = {f"n{number}": Node(status=Status.DEGRADED, reason="loading") for number in range(6)}
    children["x"] = Node(status=Status.DOWN, reason="refused")
    verdict = branch(children)
    assert verdict.status is Status.DOWN
    assert verdict.reason == "refused"
    assert verdict.message.startswith("7 of 7 not ok: x (down, refused), n0 (degraded, loading)")
    assert verdict.message.endswith("and 2 more.")


def test_children_that_do_not_count_are_left_out_of_the_rollup():
    children = {"a": Node(status=Status.OK), "b": Node(status=Status.DOWN, counts=False)}
    assert branch(children).status is Status.OK
    assert branch({"b": children["b"]}).status is Status.OFF
