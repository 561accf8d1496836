from hypothesis import given
from hypothesis import strategies as st

from statusd import Report, Status
from statusd.model.merge import Reading, expired, model_reports, own_report
from statusd.model.nodes import model_node, select
from statusd.model.status import best
from tests.model.samples import candidate, node_of
from tests.model.strategies import paths, reports, statuses

candidates = st.lists(statuses, min_size=1, max_size=4).map(
    lambda given_statuses: [candidate(f"s{place}", status) for place, status in enumerate(given_statuses)]
)


@given(candidates)
def test_the_first_connected_candidate_is_selected_else_the_first_configured_else_the_first(given_candidates):
    selected = select(given_candidates)
    connected = [one for one in given_candidates if one.status.is_connected]
    configured = [one for one in given_candidates if one.status is not Status.OFF]
    assert selected is (connected or configured or given_candidates)[0]


@given(candidates)
def test_a_model_has_the_best_status_of_its_candidates_and_shows_them_all(given_candidates):
    node = model_node(given_candidates)
    assert node.status is best(one.status for one in given_candidates)
    assert [one["source"] for one in node.facts["candidates"]] == [one.source for one in given_candidates]
    assert node.facts["backend"] == select(given_candidates).backend


@given(candidates)
def test_a_model_is_connected_exactly_when_its_selected_source_is(given_candidates):
    assert model_node(given_candidates).status.is_connected is select(given_candidates).status.is_connected


def test_a_model_that_no_report_names_follows_its_source():
    own = Report.down("refused", "Nothing listens there.")
    named = Report(status=Status.OK, model="a", label="special")
    claims = model_reports([own, named], ["a", "b"])
    assert claims["a"] is named
    assert (claims["b"].status, claims["b"].reason, claims["b"].label) == (Status.DOWN, "refused", "")


def test_a_model_counts_while_a_required_source_of_it_is_not_off():
    optional = candidate("optional", Status.DOWN, counts=False)
    assert not model_node([candidate("required", Status.OFF), optional]).counts
    assert model_node([candidate("required", Status.DOWN), optional]).counts


def test_without_a_report_about_itself_the_worst_of_the_others_stands_for_a_source():
    parts = [Report.ok(path="a"), Report.down("refused", path="b")]
    assert own_report(parts).status is Status.DOWN
    assert own_report([]).status is Status.UNKNOWN


@given(st.lists(reports(paths), max_size=5, unique_by=lambda report: report.path), reports())
def test_every_part_stands_where_its_path_says(parts, own):
    node = node_of(Reading(reports=(own, *parts), observed_at=1.0, expires_at=2.0))
    assert node.status is own.status
    for part in parts:
        place = node
        for name in part.path.split("/"):
            place = place.children[name]
        assert (place.status, place.facts) == (part.status, part.facts)
        assert place.observed_at == 1.0


def test_a_place_that_only_has_parts_below_it_is_their_rollup():
    reading = Reading(
        reports=(Report.ok(), Report.ok(path="disks/a"), Report.down("missing", path="disks/b"))
    )
    disks = node_of(reading).children["disks"]
    assert (disks.status, disks.reason) == (Status.DOWN, "missing")


def test_parts_take_no_part_in_a_rollup_of_the_tree():
    reading = Reading(reports=(Report.ok(), Report.down("dead", path="readers/a"), Report.ok(path="b")))
    source = node_of(reading)
    assert source.counts
    readers = source.children["readers"]
    assert not any(part.counts for part in (readers, readers.children["a"], source.children["b"]))


@given(st.lists(reports(paths), max_size=3, unique_by=lambda report: report.path), reports())
def test_an_expired_reading_is_unknown_throughout_and_has_no_payload_or_label(parts, own):
    stale = expired(Reading(reports=(own, *parts), observed_at=1.0), "Too old.")
    assert {(report.status, report.reason) for report in stale.reports} == {(Status.UNKNOWN, "stale")}
    assert all(report.payload is None and not report.label for report in stale.reports)
    assert stale.observed_at == 1.0
