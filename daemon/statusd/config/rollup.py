"""The table ``[rollup]``: branches of the tree whose status is made in another way than usual."""

from __future__ import annotations

from collections.abc import Mapping

from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN
from statusd.config.places import Places
from statusd.config.wording import below, described, quoted
from statusd.model.rollup import MAX_LEAST, Rule


def read_rollup(table: Mapping[str, object], places: Places, findings: Findings) -> dict[str, Rule]:
    """Return canonical path of a branch -> its rule; what is wrong goes into `findings`.

    Args:
        table: the table ``[rollup]``.
        places: what there is in the tree.
        findings: takes mistakes.
    """
    rules: dict[str, Rule] = {}
    for key, value in table.items():
        where = below("rollup", key)
        rule = _rule(key, value, where, findings)
        try:
            path = places.find_branch(key)
        except ValueError as error:
            findings.mistake(where, str(error))
            continue
        if path in rules:
            findings.mistake(where, "names the same branch as a key before it; remove one")
        elif rule is not None:
            rules[path] = rule
    return rules


def _rule(key: str, value: object, where: str, findings: Findings) -> Rule | None:
    if isinstance(value, str):
        try:
            return Rule.parse(str(value))
        except ValueError as error:
            findings.mistake(where, f"{quoted(value)} {error}")
    elif value is not BROKEN:
        findings.mistake(
            where, f"expected a rule as a string, found {described(value)}; {_remedy(key, value)}"
        )
    return None


def _remedy(key: str, value: object) -> str:
    if isinstance(value, dict) and value:
        path = key
        while isinstance(value, dict) and value:  # dotted keys are tables in tables
            inner = next(iter(value))
            path, value = f"{path}/{inner}", value[inner]
        return f"a path has slashes, and quotes around it: {quoted(path)}"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_LEAST:
        return f'write "at_least({value})"'
    return 'write "worst", "best" or "at_least(2)"'
