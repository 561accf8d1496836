"""Tables within tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN
from statusd.config.wording import below, described


def inner_table(table: Mapping[str, object], name: str, findings: Findings, path: str = "") -> dict[str, Any]:
    """Return the table `name` of `table`, an empty one when it is absent or, which is a mistake, is none.

    Args:
        table: what the file says.
        name: the key of the inner table.
        findings: takes the mistake.
        path: where `table` stands.
    """
    found = table.get(name, {})
    if isinstance(found, dict):
        return found
    if found is not BROKEN:
        where = below(path, name)
        findings.mistake(where, f"expected a table, found {described(found)}; write [{where}]")
    return {}
