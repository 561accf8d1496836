"""What stands behind a source's status: the newest probe, and what thresholds and dependencies made of it."""

from __future__ import annotations

import attrs

from statusd.model.report import Report
from statusd.model.status import Status


@attrs.frozen(kw_only=True)
class Tally:
    """A change of status that is not decided yet.

    Attributes:
        status: what the newest probes say.
        reason: theirs.
        seen: how many of them in a row.
        needed: how many it takes.
    """

    status: Status
    reason: str
    seen: int
    needed: int


@attrs.frozen(kw_only=True)
class Basis:
    """What a node's status was made of; no part of the state.

    Attributes:
        newest: what the newest probe said.
        tally: what `rise` or `fall` still waits for, or None.
        parent: the failed source because of which the node is unknown, or ``""``.
    """

    newest: Report
    tally: Tally | None = None
    parent: str = ""
