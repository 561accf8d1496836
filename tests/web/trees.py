"""Trees to show: built by hand, at random, and with what means harm."""

from hypothesis import strategies as st

from statusd import Node, Status, segment
from tests.model.strategies import json_values, statuses

NOW = 1_800_000_000.0
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style></template></title><img src=x onerror=alert(1)>",
    "<!--",
    "]]>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;amp;",
    "javascript:alert(1)",
]


def tree(**wings):
    """Return a root with the nodes of each wing."""
    children = {
        name: Node(status=Status.OK, children=below, rule="worst", revision=7)
        for name, below in wings.items()
    }
    return Node(status=Status.OK, children=children, rule="worst", since=NOW - 60, revision=7)


def served(status=Status.OK, candidates=(), **rest):
    first = candidates[0] if candidates else {}
    facts = {"backend": first.get("backend"), "source": first.get("source"), "candidates": list(candidates)}
    return Node(status=status, facts=facts, rule="best", **rest)


def candidate(source, status="ok", **rest):
    return {
        "source": source,
        "plugin": "omnirt",
        "backend": source,
        "status": status,
        "reason": "ok",
        "label": "",
    } | rest


json_facts = st.dictionaries(st.text(max_size=6), json_values, max_size=3)
instants = st.none() | st.floats(1e9, 2e9)
segments = st.text(min_size=1, max_size=4).map(segment) | st.sampled_from(
    ["0", "10", "9", "__proto__", "%FF"]
)


def nodes(depth):
    """Nodes with up to `depth` levels below them; bounded, since a failing example is to be read."""
    below = st.dictionaries(segments, nodes(depth - 1), max_size=2) if depth else st.just({})
    return st.builds(
        Node,
        status=statuses,
        reason=st.sampled_from(["ok", "refused", "not_configured"]),
        message=st.text(max_size=12),
        facts=json_facts,
        counts=st.booleans(),
        observed_at=instants,
        expires_at=instants,
        since=st.floats(1e9, 2e9),
        rule=st.sampled_from(["", "worst", "at_least(2)"]),
        decided_by=st.lists(segments, max_size=7).map(tuple),
        children=below,
    )


roots = st.builds(
    lambda status, models, sources, daemon: Node(
        status=status,
        since=NOW,
        children={
            "sources": Node(status=status, children=sources),
            "models": Node(status=status, children=models),
            "daemon": Node(status=status, children=daemon),
        },
    ),
    statuses,
    *[st.dictionaries(segments, nodes(2), max_size=3)] * 3,
)
