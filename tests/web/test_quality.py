"""ETag, Age and Cache-Status, and the requests that go by them."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Document, Node, Report, Snapshot, SourceInfo, Status
from statusd.model.assembly import Assembly, Origin, State
from statusd.model.basis import Basis
from statusd.model.judging import Thresholds
from statusd.model.merge import Reading
from statusd.web.freshness import TOO_MANY, Freshness, wanted_age
from statusd.web.quality import Quality, entity_tag, is_match, revision_tag

NOW = 1_800_000_000.0


def source(observed_at=None, expires_at=None, reason="ok"):
    status = Status.OK if reason == "ok" else Status.UNKNOWN
    newest = Report(status=status, reason=reason)
    return Node(
        status=status,
        reason=reason,
        observed_at=observed_at,
        expires_at=expires_at,
        basis=Basis(newest=newest),
    )


def snapshot(**sources):
    wing = Node(status=Status.OK, children=sources)
    return Snapshot(root=Node(status=Status.OK, children={"sources": wing}), revision=1, version=1, at=NOW)


def quality(found, *names, detail=""):
    fields = Quality.of(found, names).fields(detail, NOW)
    assert fields.pop("cache-control") == "no-cache"
    return fields["age"], fields["cache-status"]


def test_the_age_is_that_of_the_oldest_reading_and_the_ttl_of_the_first_to_expire():
    found = snapshot(
        a=source(NOW - 1.9, NOW + 5.9), b=source(NOW - 3.2, NOW + 9), c=source(NOW - 50, NOW + 1)
    )
    assert quality(found, "a", "b") == ("3", "statusd; hit; ttl=5")


def test_before_any_reading_the_age_is_0_and_says_so():
    assert quality(snapshot(a=source()), "a") == ("0", "statusd; hit; detail=not_observed")


def test_what_is_off_is_shown_as_it_is():
    assert quality(snapshot(a=Node(status=Status.OFF, reason="not_configured")), "a") == ("0", "statusd; hit")


def test_a_reading_past_its_lifetime_has_a_negative_ttl_and_is_marked():
    found = snapshot(a=source(NOW - 20, NOW - 4.5, reason="stale"), b=source(NOW, NOW + 8))
    assert quality(found, "a", "b") == ("20", "statusd; hit; ttl=-5; detail=stale")


def test_what_the_document_says_of_itself_comes_first():
    found = snapshot(a=source(NOW - 20, NOW - 4.5, reason="stale"))
    assert quality(found, "a", detail="no_key")[1].endswith("; detail=no_key")


def test_a_document_without_sources_is_as_it_is():
    assert quality(snapshot()) == ("0", "statusd; hit")


def test_a_part_that_a_failed_probe_leaves_standing_is_as_old_as_it_is_where_it_is_shown():
    reports = (Report.ok(), Report.ok(path="readers/r1"))
    good = Reading(reports=reports, observed_at=NOW - 60, expires_at=NOW - 50)
    failed = Reading(reports=(Report.down("refused"),), observed_at=NOW - 2, expires_at=NOW + 8)
    origin = Origin(name="a", plugin="takeoff", backend="takeoff", thresholds=Thresholds(fall=9))
    for readings, age in (((good, failed), 60), ((good, attrs.evolve(good, observed_at=NOW - 2)), 2)):
        state = State.first(origin, [Report.unknown("pending")])
        for reading in readings:
            state = state.after(reading)
        found = Snapshot(root=Assembly([state], {}).tree({}), revision=1, version=1, at=NOW)
        for shown in ("", "sources", "sources/a", "sources/a/readers", "sources/a/readers/r1"):
            assert Quality.of(found, ["a"], shows=shown).fields("", NOW)["age"] == str(age)
        assert Quality.of(found, ["a"]).fields("", NOW)["age"] == "2"
        assert Quality.of(found, ["a"], shows="plugins").fields("", NOW)["age"] == "2"


def test_an_age_is_never_negative_although_the_clock_was_set_back():
    assert quality(snapshot(a=source(NOW + 60, NOW + 68)), "a") == ("0", "statusd; hit; ttl=68")


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_tags_differ_exactly_where_bodies_differ(one, other):
    assert (entity_tag(Document(body=one)) == entity_tag(Document(body=other))) is (one == other)


def test_a_tag_covers_status_and_type_and_leaves_out_the_detail():
    document = Document(body=b"x")
    assert entity_tag(attrs.evolve(document, status=503)) != entity_tag(document)
    assert entity_tag(attrs.evolve(document, content_type="text/plain")) != entity_tag(document)
    assert entity_tag(attrs.evolve(document, detail="stale")) == entity_tag(document)


@pytest.mark.parametrize(
    "field",
    ["*", " * ", '"a"', 'W/"a"', '"b", "a"', '"b" ,W/"a"', ', ,"a",', '"x,y", "a"', '"a"\t'],
)
@pytest.mark.parametrize("tag", ['"a"', 'W/"a"'])
def test_if_none_match_is_compared_weakly(field, tag):
    assert is_match(field, tag)


@pytest.mark.parametrize(
    "field", [None, "", "a", '"b"', '"A"', '"a', 'w/"a"', '"b" "a"', '"a";', '*, "a"', '"b,"a"', "'a'"]
)
def test_anything_else_matches_nothing(field):
    assert not is_match(field, '"a"')


def test_a_branch_has_a_weak_tag_since_times_may_differ_under_it():
    assert revision_tag(7) == 'W/"7"'


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, math.inf),
        ("", math.inf),
        ("no-store", math.inf),
        ("no-cache", 0),
        ("No-Cache", 0),
        ("max-age=5", 5),
        ('max-age="5"', 5),
        ("max-age=5, no-cache", 0),
        ("max-age=9 , MAX-AGE=3", 3),
        ('private="no-cache", max-age=4', 4),
        ("no-cache=Set-Cookie", 0),
        ("max-age", math.inf),
        ("max-age=-1", math.inf),
        ("max-age=1.5", math.inf),
        ("max-age=٣", math.inf),
        ("min-fresh=5", math.inf),
        ("max-age=" + "9" * 5000, 999_999_999_999),
        ('a="b, no-cache', 0),
        (',, a b, "no-cache", max-age=4', 4),
    ],
)
def test_the_age_that_a_request_accepts(field, seconds):
    assert wanted_age(field) == seconds


@given(st.text())
def test_any_field_is_understood_or_ignored(field):
    assert wanted_age(field) >= 0


@pytest.mark.parametrize("piece", ["a", " ", "a=", 'a="', 'a="b,', "a ", "a,", ",", 'a="\\"', "\\", '"'])
@pytest.mark.parametrize("end", ['"', "\x00", ","])
def test_no_field_takes_long_to_understand(piece, end):
    field = piece * (1_000_000 // len(piece)) + end  # in quadratic time, hours: the test would not end
    assert wanted_age(field) >= 0
    assert not is_match(field, '"never"')


def freshness(found, asked=None, **max_ages):
    async def refresh(names):
        asked.extend(names)

    infos = {
        name: SourceInfo(name=name, plugin="p", backend="b", max_age=max_ages.get(name))
        for name in found.find("sources").children
    }
    return Freshness(sources=infos, snapshot=lambda: found, refresh=refresh)


FOUND = snapshot(young=source(NOW - 1.5), old=source(NOW - 10), never=source())


@pytest.mark.parametrize(
    ("control", "probed"),
    [
        ("", []),
        ("max-age=60", ["never"]),
        ("max-age=10", ["never"]),
        ("max-age=9", ["old", "never"]),
        ("max-age=1", ["young", "old", "never"]),
        ("no-cache", ["young", "old", "never"]),
    ],
)
async def test_exactly_what_is_older_than_wanted_is_probed(control, probed):
    asked = []
    assert await freshness(FOUND, asked).serve(["young", "old", "never"], control, NOW) == ""
    assert asked == probed


async def test_a_source_can_want_it_of_every_request():
    asked = []
    served = freshness(FOUND, asked, young=0, old=10.5)
    await served.serve(["young", "old"], None, NOW)
    assert asked == ["young"]
    await served.serve(["young", "old"], None, NOW + 1)
    assert asked == ["young", "young", "old"]


async def test_only_what_is_behind_the_document_is_probed():
    asked = []
    await freshness(FOUND, asked).serve(["old"], "no-cache", NOW)
    await freshness(FOUND, asked).serve(["gone"], "no-cache", NOW)
    assert asked == ["old"]


async def test_a_reading_from_the_future_has_no_known_age():
    asked = []
    await freshness(snapshot(a=source(NOW + 3600)), asked).serve(["a"], "max-age=60", NOW)
    assert asked == ["a"]


async def test_many_sources_are_not_probed_and_it_says_so():
    found = snapshot(**{f"s{number}": source(NOW) for number in range(33)})
    names, asked = list(found.find("sources").children), []
    assert await freshness(found, asked).serve(names, "no-cache", NOW) == TOO_MANY
    assert asked == []
    assert await freshness(found, asked).serve(names, "max-age=5", NOW) == ""
    assert await freshness(found, asked).serve(names[:32], "no-cache", NOW) == ""
    assert len(asked) == 32
