import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Node, Status
from statusd.model.nodes import branch, model_node
from statusd.model.rollup import BEST, MAX_LEAST, WORST, Rule, decide
from statusd.model.status import best, worst
from tests.model.samples import candidate
from tests.model.strategies import names, statuses

rules = st.builds(Rule, st.integers(0, 5))
some = st.lists(statuses, max_size=6)
counting = st.lists(statuses.filter(lambda status: status is not Status.OFF), min_size=1, max_size=6)


@given(some)
def test_worst_and_best_are_what_their_names_say(given_statuses):
    assert decide(WORST, given_statuses).status is worst(given_statuses)
    assert decide(BEST, given_statuses).status is best(given_statuses)


@given(counting)
def test_worst_is_at_least_all_and_best_at_least_one(given_statuses):
    assert decide(WORST, given_statuses) == decide(Rule(len(given_statuses)), given_statuses)
    assert decide(BEST, given_statuses) == decide(Rule(1), given_statuses)


@given(counting, st.integers(1, 6))
def test_a_whole_is_as_well_as_n_of_its_children_and_no_better(given_statuses, least):
    verdict = decide(Rule(least), given_statuses)
    as_well = [status for status in given_statuses if status.severity <= verdict.status.severity]
    better = [status for status in given_statuses if status.severity < verdict.status.severity]
    assert len(as_well) >= least or verdict.lacking == least - len(given_statuses) > 0
    assert len(better) < least


@given(rules, some, st.randoms())
def test_the_order_of_children_does_not_matter(rule, given_statuses, random):
    shuffled = random.sample(given_statuses, len(given_statuses))
    one, other = decide(rule, given_statuses), decide(rule, shuffled)
    assert (one.status, one.lacking, len(one.decided_by)) == (
        other.status,
        other.lacking,
        len(other.decided_by),
    )


@given(rules, counting, st.data())
def test_a_child_that_gets_worse_never_makes_the_whole_better(rule, given_statuses, data):
    place = data.draw(st.integers(0, len(given_statuses) - 1))
    before = given_statuses[place]
    worse = data.draw(
        st.sampled_from([one for one in Status if one.severity >= max(before.severity, 0)]), label="worse"
    )
    after = [*given_statuses[:place], worse, *given_statuses[place + 1 :]]
    assert decide(rule, after).status.severity >= decide(rule, given_statuses).status.severity


@given(rules, some, st.data())
def test_off_takes_no_part(rule, given_statuses, data):
    place = data.draw(st.integers(0, len(given_statuses)))
    more = [*given_statuses[:place], Status.OFF, *given_statuses[place:]]
    one, other = decide(rule, given_statuses), decide(rule, more)
    assert (one.status, one.lacking) == (other.status, other.lacking)
    assert [given_statuses[which] for which in one.decided_by] == [more[which] for which in other.decided_by]


@given(rules, st.integers(0, 4))
def test_with_nothing_but_off_the_whole_is_off_whatever_the_rule(rule, number):
    verdict = decide(rule, [Status.OFF] * number)
    assert (verdict.status, verdict.decided_by, verdict.lacking) == (Status.OFF, (), 0)


@given(rules, some)
def test_those_who_decided_are_exactly_those_whose_status_it_is(rule, given_statuses):
    verdict = decide(rule, given_statuses)
    if verdict.lacking or verdict.status is Status.OFF:
        assert verdict.decided_by == ()
    else:
        assert verdict.decided_by == tuple(
            place for place, status in enumerate(given_statuses) if status is verdict.status
        )
        assert verdict.decided_by


@given(counting, st.integers(1, 5))
def test_too_few_are_down_and_it_is_said_how_many_there_lack(given_statuses, more):
    verdict = decide(Rule(len(given_statuses) + more), given_statuses)
    assert (verdict.status, verdict.lacking, verdict.decided_by) == (Status.DOWN, more, ())


@given(st.builds(Rule, st.integers(0, MAX_LEAST)))
def test_a_rule_reads_what_it_writes(rule):
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "rule", "shown"),
    [
        ("worst", WORST, "worst"),
        (" best ", BEST, "best"),
        ("at_least(1)", BEST, "best"),
        ("at_least(2)", Rule(2), "at_least(2)"),
        ("at_least( 007 )", Rule(7), "at_least(7)"),
        ("at_least(10000)", Rule(10_000), "at_least(10000)"),
    ],
)
def test_rules_are_read(text, rule, shown):
    assert Rule.parse(text) == rule
    assert str(rule) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "2", "Worst", "at_least", "at_least()", "at_least(-1)", "at_least(two)", "at_least(2.0)"),
        *("at_least(2", "at_least(٢)", "at_least(2) or worst", "at_least(2)\nbest"),
        f"at_least({'9' * 5000})",
    ],
)
def test_what_is_no_rule_is_refused_with_what_may_stand_there(text):
    with pytest.raises(ValueError, match=r'^is no rule; expected "worst", "best" or "at_least\(2\)"$'):
        Rule.parse(text)


@pytest.mark.parametrize("number", ["0", "00000", "10001", "99999"])
def test_a_number_out_of_range_is_refused_with_the_range(number):
    with pytest.raises(ValueError, match=r"^is out of range; expected at_least\(1\) to at_least\(10000\)$"):
        Rule.parse(f"at_least({number})")


leaves = st.builds(
    Node, status=statuses, reason=st.sampled_from(["refused", "timeout"]), counts=st.booleans()
)


@given(st.dictionaries(names, leaves, max_size=4), rules)
def test_a_branch_follows_the_rule_among_the_children_that_count(children, rule):
    node = branch(children, rule)
    counted = {name: child for name, child in children.items() if child.counts}
    verdict = decide(rule, [child.status for child in counted.values()])
    assert (node.status, node.rule) == (verdict.status, str(rule))
    assert node.decided_by == tuple(list(counted)[place] for place in verdict.decided_by)
    if verdict.lacking:
        assert node.reason == "too_few"
    elif node.status is Status.OFF:
        assert node.reason == "nothing_counts"
    elif node.status is Status.OK:
        assert node.reason == "ok"
    else:
        assert node.reason == children[node.decided_by[0]].reason


def test_a_branch_with_too_few_children_says_so_although_all_of_them_are_well():
    children = {
        "a": Node(status=Status.OK),
        "b": Node(status=Status.OFF),
        "c": Node(status=Status.DOWN, counts=False),
    }
    node = branch(children, Rule(2))
    assert (node.status, node.reason) == (Status.DOWN, "too_few")
    assert node.message == "The rule is at_least(2), and 1 of the 3 below count."


def test_a_branch_with_too_few_children_names_those_that_are_not_well_too():
    node = branch({"a": Node(status=Status.DOWN, reason="refused")}, Rule(2))
    assert node.message == (
        "The rule is at_least(2), and 1 of the 1 below count. 1 of 1 not ok: a (down, refused)."
    )


def test_a_branch_is_as_old_as_its_oldest_child_and_expires_with_the_first():
    children = {
        "a": Node(status=Status.OK, observed_at=5.0, expires_at=9.0),
        "b": Node(status=Status.OK, observed_at=4.0, expires_at=12.0, counts=False),
        "c": Node(status=Status.OK),
    }
    node = branch(children)
    assert (node.observed_at, node.expires_at) == (4.0, 9.0)


@given(st.lists(statuses, min_size=1, max_size=4), rules)
def test_a_model_follows_the_rule_among_its_sources(given_statuses, rule):
    candidates = [
        candidate(f"s{place}", status, reason=f"r{place}") for place, status in enumerate(given_statuses)
    ]
    node, verdict = model_node(candidates, rule), decide(rule, given_statuses)
    assert (node.status, node.rule) == (verdict.status, str(rule))
    assert node.decided_by == tuple(f"s{place}" for place in verdict.decided_by)
    if verdict.decided_by:
        assert node.reason == f"r{verdict.decided_by[0]}"


def test_a_model_with_too_few_sources_says_so():
    node = model_node([candidate("a", Status.OK), candidate("b", Status.OFF)], Rule(2))
    assert (node.status, node.reason, node.decided_by) == (Status.DOWN, "too_few", ())
    assert node.message == "The rule is at_least(2), and 1 of its sources are configured."
