"""What drains mean for `/readyz`, `/explain`, `/metrics` and the page."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import REASONS, Report, Status
from statusd.model.drains import Drain
from statusd.web.explain import explain
from statusd.web.page import words
from statusd.web.page.rendering import render_page
from statusd.web.readiness import render_ready
from tests.web.explaining import START, World, origin
from tests.web.scraping import Scraped

NOW = START + 0.4


def drain(path, until=None):
    return Drain(path=path, reason="new disks", since=START, until=until)


@pytest.fixture
def world():
    """Two sources that serve a model, one of them another one too, and one that serves none."""
    world = World(
        (origin("a", models=("one",)), origin("b", models=("one", "org/two")), origin("queue")),
        {"one": ["a", "b"], "org/two": ["b"]},
    )
    world.probe("queue", Report.ok())
    world.probe("a", Report.ok(), Report.ok(model="one"), Report.ok(path="readers/r"))
    return world.probe("b", Report.ok(), Report.ok(model="one"), Report.ok(model="org/two"))


def drained(world, *paths, until=None):
    world.assembly.drain([drain(path, until) for path in paths])
    world.root = world.assembly.tree({})
    return world


def ready(world, path="", require=(), **query):
    document = render_ready(
        world.snapshot(), path, {name: [value] for name, value in query.items()}, require, NOW
    )
    return document.status, document.body.decode().splitlines()


def about(world, path):
    return explain(world.snapshot(), path, world.infos(), NOW)


@pytest.mark.parametrize(
    "path", ["sources/a", "sources/a/readers/r", "models/one", "models/org%2Ftwo", "sources", "models"]
)
def test_a_drained_node_is_not_ready_and_says_why_and_the_whole_stays_ready(world, path):
    assert ready(world, path)[0] == 200
    drained(world, path)
    assert ready(world, path) == (
        503,
        [f"not ready: {path} is off (drained): Drained by an operator: new disks"],
    )
    assert ready(world) == (200, ["ready"])


@pytest.mark.parametrize("path", ["sources/b", "models/one", "models/org%2Ftwo", "models"])
def test_nothing_is_ready_while_the_whole_is_drained(world, path):
    drained(world, "")
    because = "not ready: the whole tree is off (drained): Drained by an operator: new disks"
    assert ready(world) == (503, [because])
    assert ready(world, path) == (503, [because])
    assert ready(world, exclude="sources")[0] == 503


@pytest.mark.parametrize(
    ("place", "path"),
    [("models", "models/one"), ("sources", "sources/a"), ("sources/a", "sources/a/readers/r")],
)
def test_what_stands_below_a_drained_node_is_not_ready_and_names_it(world, place, path):
    status, lines = ready(drained(world, place), path, verbose="")
    assert status == 503
    assert lines[-1] == f"not ready: {place} is off (drained): Drained by an operator: new disks"
    assert lines[0].startswith(f"[-]{place} off (drained)")


def test_a_required_node_that_is_drained_or_stands_below_one_makes_the_whole_not_ready(world):
    assert ready(drained(world, "models/one"), require=["models/one"])[0] == 503
    assert ready(drained(world, "models"), require=["models/one"])[0] == 503
    assert ready(drained(world, "models"), require=["sources/a"])[0] == 200


def test_leaving_out_what_is_below_does_not_undrain(world):
    assert ready(drained(world, "sources"), "sources", exclude="sources/a")[0] == 503


def test_a_model_whose_sources_are_drained_is_not_ready_and_one_with_another_is(world):
    drained(world, "sources/b")
    assert ready(world, "models/org%2Ftwo")[0] == 503
    assert ready(world, "models/one") == (200, ["ready"])


def test_of_a_drained_source_it_is_said_why_what_its_probes_find_and_what_ends_it(world):
    found = about(drained(world, "sources/a", until=START + 7200), "sources/a")
    assert (found.status, found.reason) == (Status.OFF, "drained")
    assert list(found.because) == [
        (
            "It is out of service, whatever its probes say: off (drained): Drained by an operator: new disks; until "
            "2027-01-15 10:00 UTC."
        ),
        'The newest probe of "a", which finished 0.4 s ago, said: ok.',
    ]
    assert list(found.would_change) == [
        "It is in service again after `statusd undrain sources/a`, or at 2027-01-15 10:00 UTC."
    ]


def test_of_a_drained_branch_and_the_whole_it_is_said(world):
    drained(world, "", "models")
    for path, command in (("", "/"), ("models", "models")):
        found = about(world, path)
        assert "It is out of service, whatever is below it: off (drained)" in " ".join(found.because)
        assert f"It is in service again after `statusd undrain {command}`." in found.would_change
    assert '"models" is in service' not in " ".join(about(world, "models").would_change)


def test_of_a_drained_model_it_is_said_also_where_its_sources_are_well(world):
    found = about(drained(world, "models/org%2Ftwo"), "models/org%2Ftwo")
    assert found.because[0].startswith("It is out of service")
    assert list(found.would_change) == ["It is in service again after `statusd undrain models/org%2Ftwo`."]


def test_a_model_without_a_source_left_names_the_drained_ones_and_what_ends_that(world):
    found = about(drained(world, "sources/b"), "models/org%2Ftwo")
    assert (found.status, found.reason) == (Status.OFF, "drained")
    assert found.because[0] == '"b" is out of service, since an operator has drained it.'
    assert found.would_change[0] == '"sources/b" is in service again after `statusd undrain sources/b`.'


def test_what_stands_below_a_drained_node_is_explained_with_it(world):
    found = about(drained(world, "sources"), "sources/a")
    assert found.status is Status.OK
    assert found.because[0] == (
        '"sources" is drained, so /readyz answers 503 for all that is in it, and for this too.'
    )
    assert found.would_change[0] == '"sources" is in service again after `statusd undrain sources`.'


def test_a_source_that_calls_itself_drained_is_not_taken_for_an_operators(world):
    world.probe("a", Report.off("drained", "It says so itself."), Report.ok(path="readers/r"))
    assert ready(world, "sources/a/readers/r")[0] == 200
    assert "operator" not in " ".join(about(world, "sources/a").because)


paths = st.sampled_from(
    [
        "",
        "sources",
        "models",
        "sources/a",
        "sources/b",
        "sources/a/readers",
        "sources/a/readers/r",
        "models/one",
        "models/org%2Ftwo",
    ]
)


@given(st.lists(paths, unique=True), paths)
def test_nothing_drained_is_ready_and_everything_is_explained(held, asked):
    world = World(
        (origin("a", models=("one",)), origin("b", models=("one", "org/two"))),
        {"one": ["a", "b"], "org/two": ["b"]},
    )
    world.probe("a", Report.ok(), Report.ok(model="one"), Report.ok(path="readers/r"))
    world.probe("b", Report.ok(), Report.ok(model="one"), Report.ok(model="org/two"))
    drained(world, *held)
    is_out = any(not place or asked == place or asked.startswith(f"{place}/") for place in held)
    needs = {"models/one": {"sources/a", "sources/b"}, "models/org%2Ftwo": {"sources/b"}}.get(asked, {"-"})
    status, lines = ready(world, asked)
    assert status == 503 or not (is_out or needs <= set(held))
    found = about(world, asked)
    assert all(sentence.endswith((".", "!", "?")) for sentence in (*found.because, *found.would_change))
    if is_out:
        assert any("statusd undrain" in sentence for sentence in found.would_change)
        assert "drained" in lines[-1]


def test_the_metrics_name_what_is_drained_and_until_when():
    scraped = Scraped()
    assert scraped.metrics.vitals.drains() == ()
    scraped.drains = (drain("sources/a", until=START + 60), drain(""))
    (family,) = [
        one for one in scraped.metrics.collect() if one.name == "statusd_drain_end_timestamp_seconds"
    ]
    assert {sample.labels["path"]: sample.value for sample in family.samples} == {
        "sources/a": START + 60,
        "": math.inf,
    }
    text = scraped.metrics.render().body.decode()
    assert 'statusd_drain_end_timestamp_seconds{path=""} +Inf' in text


def test_the_page_says_that_the_whole_is_drained(world):
    drained(world, "")
    page = render_page(world.snapshot()).body.decode()
    assert "Drained by an operator: new disks." in page
    assert words.verdict({"status": "off", "reason": "drained", "message": "M."}) == "M."


def test_its_reason_is_a_documented_one():
    assert drain("").report().reason in REASONS
