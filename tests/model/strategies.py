"""Hypothesis strategies for the pure parts."""

from hypothesis import strategies as st

from statusd import Node, Report, Status
from statusd.model.nodes import branch
from statusd.model.rollup import Rule

statuses = st.sampled_from(Status)
names = st.sampled_from(["a", "b", "c", "d%2Fe"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
facts = st.dictionaries(
    st.sampled_from(["x", "y", "z"]), st.integers(0, 1) | st.booleans() | st.just(1.0), max_size=2
)

rules = st.builds(Rule, st.integers(0, 3))
leaves = st.builds(
    Node,
    status=statuses,
    reason=st.sampled_from(["ok", "refused"]),
    message=st.sampled_from(["", "It is so."]),
    facts=facts,
    counts=st.booleans(),
    source=st.sampled_from(["", "s"]),
)
branches = st.builds(branch, st.dictionaries(names, leaves, max_size=3), rules)
trees = st.builds(branch, st.dictionaries(names, leaves | branches, max_size=3), rules)


NOWHERE = st.just("")


def reports(path=NOWHERE):
    return st.builds(
        Report,
        status=statuses,
        reason=st.sampled_from(["ok", "refused", "timeout"]),
        message=st.sampled_from(["", "It is so."]),
        path=path,
        facts=facts,
        measurements=st.dictionaries(st.just("latency"), st.floats(0, 1), max_size=1),
    )
