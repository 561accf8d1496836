"""Nodes as the daemon builds them, out of a few words."""

from statusd import Report, Status
from statusd.model.basis import Basis
from statusd.model.judging import Thresholds, judge_reading
from statusd.model.merge import Reading
from statusd.model.nodes import Candidate, source_node


def node_of(reading, *, name="s", counts=True, judgement=None, **rest):
    """The node of a source; by default of one that had a single probe."""
    judgement = judgement or judge_reading(None, reading, (), Thresholds())
    return source_node(name, reading, judgement, **{"counts": counts, "rules": {}, **rest})


def candidate(source, status, *, reason="ok", label="", **rest):
    """A source that can serve a model, and that has been asked about it."""
    report = Report(status=Status(status), reason=reason, label=label)
    fields = {"plugin": source, "backend": source, "basis": Basis(newest=report)}
    return Candidate(
        source=source, report=report, reading=Reading(reports=(), observed_at=1.0), **(fields | rest)
    )
