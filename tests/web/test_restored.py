"""What stands as an earlier run left it is marked wherever it is shown."""

import json
import re

import pytest

from statusd import Report
from statusd.commands.rendering import tree_lines
from statusd.model.assembly import State
from statusd.model.merge import Reading, expired
from statusd.web.bodies import encode, state_body
from statusd.web.explain import render_explanation
from statusd.web.page import render_page
from statusd.web.quality import Quality
from statusd.web.readiness import render_ready
from tests.web.explaining import START, World, origin

AGO = 40.0


def world(*reports, stale=False, **rest):
    """Two sources of a model and another one, the first as an earlier run left it."""
    given = World(
        origins=(origin("a", models=("m",), **rest), origin("b", models=("m",)), origin("c")),
        models={"m": ["a", "b"]},
    )
    for name in "bc":
        given.probe(name, Report.ok())
    reading = Reading(reports=reports or (Report.ok(),), observed_at=START - AGO, expires_at=START + 11)
    given.root = given.assembly.put(
        given.root,
        State.restored(given.assembly.state("a").origin, expired(reading, "Old.") if stale else reading),
    )
    return given


def shown(given, path=""):
    return json.loads(encode(state_body(given.snapshot(), path)))["node"]


def test_the_node_its_model_and_every_branch_above_are_marked():
    root = shown(world())
    children = root["children"]
    assert root["restored"] is children["sources"]["restored"] is children["models"]["restored"] is True
    assert children["sources"]["children"]["a"]["restored"] is True
    assert children["models"]["children"]["m"]["restored"] is True
    assert children["sources"]["children"]["b"]["restored"] is False
    assert children["daemon"]["restored"] is False


def test_the_mark_goes_with_the_first_probe_whatever_it_finds():
    for report in (Report.ok(), Report.down("refused")):
        assert '"restored":true' not in json.dumps(shown(world().probe("a", report)), separators=(",", ":"))


def test_the_mark_goes_when_the_time_for_the_first_probe_is_up():
    given = world()
    given.fall_silent("a")
    node = shown(given, "sources/a")
    assert (node["restored"], node["status"], node["reason"]) == (False, "unknown", "stale")


def test_thresholds_count_from_the_status_that_stood():
    node = shown(world(fall=2).probe("a", Report.down("refused")), "sources/a")
    assert (node["status"], node["restored"]) == ("ok", False)


def test_cache_status_says_so_and_age_how_long_ago():
    snapshot = world().snapshot()
    fields = Quality.of(snapshot, ["a", "c"]).fields("", START)
    assert fields["cache-status"] == "statusd; hit; ttl=8; detail=restored"
    assert fields["age"] == "40"
    assert Quality.of(snapshot, ["b", "c"]).detail == ""


def test_stale_says_more_than_restored():
    assert Quality.of(world(stale=True).snapshot(), ["a"]).detail == "stale"


def ready(given, path=""):
    return render_ready(given.snapshot(), path, {}, (), START)


def test_what_an_earlier_run_left_is_no_report_and_its_models_are_ready_all_the_same():
    given = world()
    assert ready(given).status == 503
    assert ready(given).body == b"not ready: sources/a has not reported yet\n"
    assert ready(given, "models/m").status == 200
    assert ready(world(Report.down("refused")), "sources/a").status == 503
    assert ready(world(stale=True)).status == 503
    given.probe("a", Report.down("timeout"))
    assert ready(given).status == 200


def test_once_its_time_is_up_nobody_waits_for_it():
    given = world()
    given.fall_silent("a")
    assert ready(given).status == 200


def explained(given, path):
    return json.loads(render_explanation(given.snapshot(), path, given.infos(), START).body)


def test_explain_says_of_when_it_is_and_until_when_it_stands():
    found = explained(world(), "sources/a")
    assert found["because"][0] == (
        'No probe of "a" has finished since statusd was started; until one has, what an earlier run found '
        "at 07:59:20 UTC, 40 s ago, stands: ok."
    )
    assert found["reading"]["restored"] is True
    assert found["would_change"] == [
        "One probe that says unknown or down makes it so at once; the next one is due or running.",
        "It becomes unknown (stale) at 08:00:11 UTC, in 11 s, unless a probe finishes before.",
    ]


def test_explain_says_of_what_is_too_old_that_it_is():
    found = explained(world(stale=True), "sources/a")
    assert "40 s ago, stands: unknown (stale): Old." in found["because"][0]


def test_explain_names_what_of_a_branch_is_of_an_earlier_run():
    found = explained(world(), "sources")
    assert '"a" stands as an earlier run left it, until a probe of this one has finished.' in found["because"]
    assert not any(
        "earlier run" in one for one in explained(world().probe("a", Report.ok()), "sources")["because"]
    )


@pytest.mark.parametrize("is_restored", [True, False])
def test_the_page_and_the_commands_say_so(is_restored):
    given = world() if is_restored else world().probe("a", Report.ok())
    page = render_page(given.snapshot()).body.decode().partition("<template")[0]
    apart = re.findall(r'<li class="node" id="sources/a".*?<span class="apart">(.*?)</span>', page, re.DOTALL)
    assert apart == ["does not count, from before the restart" if is_restored else "does not count"]
    lines = [line.text for line in tree_lines(shown(given), "", START, time_of="observed_at")]
    (line,) = [one for one in lines if one.startswith("    a ")]
    assert line.endswith("(from before the restart)") is is_restored


def test_a_daemon_that_knows_no_mark_is_shown_all_the_same():
    node = {"status": "ok", "reason": "ok", "message": "", "children": {}}
    assert [line.text.split() for line in tree_lines(node, "", START, time_of="since")] == [["/", "ok"]]
