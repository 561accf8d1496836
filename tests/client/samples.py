"""Random trees, and their random changes as the daemon would tell them."""

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "c", "a%2Fb", "%E6%A8%A1"])
STATES = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["ok", "degraded", "unknown", "down", "off"]),
        "reason": st.sampled_from(["ok", "refused", "stale"]),
        "message": st.text(max_size=5),
        "facts": st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    }
)


def branch(children):
    return st.builds(lambda state, below: {**state, "children": below}, STATES, children)


TREES = st.recursive(
    branch(st.just({})), lambda below: branch(st.dictionaries(NAMES, below, max_size=4)), max_leaves=12
)


def flat(node, path=""):
    """Return path -> state without children, parents first."""
    found = {path: {key: value for key, value in node.items() if key != "children"}}
    for name, child in node["children"].items():
        found |= flat(child, f"{path}/{name}" if path else name)
    return found


def changes(old, new, path=""):
    """Return what the daemon tells: every node whose own state differs, parents first, None for what is gone."""
    before = flat(old, path) if old is not None else {}
    after = flat(new, path) if new is not None else {}
    gone = [{"path": place, "node": None} for place in before if place not in after]
    other = [{"path": place, "node": state} for place, state in after.items() if before.get(place) != state]
    return gone + other


def node(status="ok", **children):
    return {"status": status, "reason": status, "message": "", "facts": {}, "children": children}
