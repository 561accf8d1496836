"""What a source starts from after a restart."""

import attrs
import pytest

from statusd import Report, Status
from statusd.model.kept import Kept, KeptNode, KeptReport, KeptSource
from statusd.model.tree import Since
from statusd.runtime.restoring import AHEAD, OLDEST, TOO_OLD, Past

NOW = 1_800_000_000.0
OK = KeptReport(status=Status.OK, reason="ok", facts={"n": 1})


def kept(*reports, observed_at=NOW - 5, expires_at=NOW + 3, nodes=None):
    source = KeptSource(
        plugin="p", made_of="f", observed_at=observed_at, expires_at=expires_at, reports=reports or (OK,)
    )
    return Kept(saved_at=NOW - 4, revision=7, sources={"a": source}, nodes=nodes or {})


def reading(found, made_of="f", **rest):
    return Past(found, NOW).reading("a", made_of, **{"patience": 11.0, **rest})


def test_a_source_starts_from_its_last_report_with_its_true_age():
    found = reading(kept())
    assert found.is_restored
    assert found.reports == (Report.ok(facts={"n": 1}),)
    assert (found.observed_at, found.expires_at) == (NOW - 5, NOW + 11)


def test_another_configuration_starts_anew():
    assert reading(kept(), "g") is None
    assert reading(kept(), "") is None
    assert Past(kept(), NOW).reading("b", "f", patience=1.0) is None
    assert Past(None, NOW).reading("a", "f", patience=1.0) is None


@pytest.mark.parametrize(
    ("observed_at", "expires_at", "is_stale"),
    [
        (NOW - OLDEST + 1, NOW - OLDEST + 9, False),
        (NOW - OLDEST - 1, NOW - OLDEST + 9, True),
        (NOW - OLDEST - 1, None, True),
        (NOW - OLDEST - 1, NOW + 1, False),  # of a source that is probed once in an hour
        (NOW + AHEAD - 1, NOW + AHEAD, False),
        (NOW + AHEAD + 1, NOW + AHEAD + 9, True),  # the clock was set back by who knows how much
    ],
)
def test_what_is_too_old_to_go_by_is_stale(observed_at, expires_at, is_stale):
    found = reading(kept(observed_at=observed_at, expires_at=expires_at))
    (report,) = found.reports
    assert found.is_restored
    assert report.facts == {"n": 1}
    if is_stale:
        assert (report.status, report.reason, report.message) == (Status.UNKNOWN, "stale", TOO_OLD)
        assert found.expires_at <= NOW
    else:
        assert report.status is Status.OK
        assert found.expires_at == NOW + 11


def test_what_was_stale_stays_so():
    stale = KeptReport(status=Status.UNKNOWN, reason="stale", message="The last report is past its lifetime.")
    found = reading(kept(stale, observed_at=NOW - 50, expires_at=NOW - 42))
    assert found.reports == (stale.report(),)
    assert found.expires_at == NOW - 42


@pytest.mark.parametrize(
    "reports",
    [
        (OK, OK),
        (KeptReport(status=Status.OK, reason="No word"),),
        (KeptReport(status=Status.OK, reason="ok", model="another"),),
        (KeptReport(status=Status.OK, reason="ok", path="../.."),),
        tuple(KeptReport(status=Status.OK, reason="ok", path=f"p{place}") for place in range(2001)),
    ],
)
def test_reports_that_no_probe_may_return_are_not_restored(reports):
    assert reading(kept(*reports)) is None


def test_models_are_restored_where_they_are_the_sources():
    report = attrs.evolve(Report.ok(), model="m")
    found = reading(kept(KeptReport.of(report, "m")), models=("m",))
    assert found.reports == (report,)


def test_since_when_nodes_stand_is_known_unless_it_is_of_the_future():
    nodes = {
        "": KeptNode(Status.OK, NOW - 9),
        "sources": KeptNode(Status.DOWN, NOW + 9),
        "models": KeptNode(Status.OK, 0.0),
    }
    assert Past(kept(nodes=nodes), NOW).since() == {"": Since(Status.OK, NOW - 9)}
    assert Past(None, NOW).since() == {}


def test_revisions_go_on_above_the_last_one():
    assert Past(kept(), NOW).revision == 7
    assert Past(None, NOW).revision == -1
