"""The table ``[ready]``: what ``/readyz`` wants."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from statusd.config.findings import Findings
from statusd.config.places import Places
from statusd.config.schema import structure
from statusd.config.wording import item, quoted
from statusd.plugin.options import option


@attrs.frozen(kw_only=True)
class ReadySettings:
    """The table ``[ready]``.

    Attributes:
        require: canonical paths of nodes that must be `ok` or `degraded`; ``""`` is the whole tree.
    """

    require: tuple[str, ...] = option(
        (),
        help='Paths in the tree, such as "models/flashtalk"; `/readyz` wants each to be `ok` or `degraded`.',
    )


def read_ready(table: Mapping[str, object], places: Places, findings: Findings) -> ReadySettings:
    """Return what the table ``[ready]`` says; what is wrong goes into `findings`.

    Args:
        table: what the file says.
        places: what there is in the tree.
        findings: takes mistakes.
    """
    structure(ReadySettings, table, "ready", findings)  # takes unknown keys and wrong types
    entries = table.get("require")
    require: dict[str, None] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, str):
            continue
        where = item("ready.require", index)
        try:
            path = places.find(entry)
        except ValueError as error:
            findings.mistake(where, f"{quoted(entry)} {error}")
            continue
        if path in require:
            findings.mistake(where, f"{quoted(entry)} is listed twice; remove one")
        require[path] = None
    return ReadySettings(require=tuple(require))
