import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Report, Status
from statusd.model.judging import Judged, Thresholds, judge
from statusd.model.rollup import Rule, decide
from statusd.model.tree import walk
from statusd.web.explain import Explanation, explain, render_explanation
from statusd.web.phrases import clock_time, listed, one_line
from statusd.web.subject import Member
from statusd.wording import span
from tests.web.explaining import LIFETIME, START, World, origin, worlds

NOW = START + 0.4


def about(world, path, now=NOW):
    return explain(world.snapshot(), path, world.infos(), now)


def sentences(world, path, now=NOW):
    found = about(world, path, now)
    return list(found.because), list(found.would_change)


def test_a_source_that_failed_says_what_its_newest_probe_found_and_when():
    world = World((origin("queue"),)).probe("queue", Report.down("refused", "The server\nrefused."))
    assert sentences(world, "sources/queue") == (
        ['The newest probe of "queue", which finished 0.4 s ago, said: down (refused): The server refused.'],
        [
            "One probe that says ok or degraded makes it so at once; the next one begins within 1.6 s.",
            "It becomes unknown (stale) at 08:00:08 UTC, in 7.6 s, unless a probe finishes before.",
        ],
    )


def test_thresholds_say_how_many_probes_agree_and_how_many_are_missing():
    world = World((origin("a", rise=2, fall=3),)).probe("a", Report.ok())
    assert sentences(world, "sources/a")[1][0] == (
        "3 probes in a row that say unknown or down make it so; the next one begins within 1.6 s."
    )
    world.probe("a", Report.down("timeout"))
    because, would_change = sentences(world, "sources/a")
    assert because[1] == "1 of 3 probes in a row that it takes (fall = 3) say bad, so it is still ok."
    assert would_change[:2] == [
        "2 more probes in a row that say unknown or down make it so; the next one begins within 1.6 s.",
        "One that says ok or degraded ends the count.",
    ]
    world.probe("a", Report.down("timeout")).probe("a", Report.down("timeout")).probe(
        "a", Report.degraded("slow")
    )
    because, would_change = sentences(world, "sources/a")
    assert (
        because[1]
        == "1 of 2 probes in a row that it takes (rise = 2) say good, so it is still down (timeout)."
    )
    assert would_change[0].startswith("1 more probe that says ok or degraded makes it so; ")
    assert about(world, "sources/a").thresholds.tally == msgspec.convert(
        {"status": "degraded", "reason": "slow", "seen": 1, "needed": 2},
        type(about(world, "sources/a").thresholds.tally),
    )


def test_silence_names_when_the_last_answer_came():
    world = World((origin("a"),)).probe("a", Report.ok()).fall_silent("a")
    now = START + LIFETIME + 100
    assert sentences(world, "sources/a", now) == (
        [
            (
                'Nothing has come from "a" since 08:00:00 UTC, 108 s ago; what came then was good until 08:00:08 UTC: '
                "unknown (stale): The last report is past its lifetime."
            ),
        ],
        ["One probe that says ok or degraded makes it so at once; the next one is due or running."],
    )
    reading = about(world, "sources/a", now).reading
    assert (reading.age, reading.expires_in) == (108.0, 0.0)


def test_before_the_first_probe_has_finished_it_says_so():
    world = World((origin("a", fall=3),))
    because, would_change = sentences(world, "sources/a")
    assert because[0].startswith(
        'No probe of "a" has finished yet; until one has, this stands: unknown (pending): '
    )
    assert would_change == ['What the first probe of "a" says when it has finished counts at once.']
    because, would_change = sentences(world.fall_silent("a"), "sources/a")
    assert because[0].startswith(
        'No probe of "a" has finished, and the time for the first one is up: unknown (stale)'
    )
    assert would_change == ['What the first probe of "a" says when it has finished counts at once.']


def test_a_source_that_is_not_configured_says_how_it_would_be():
    world = World((origin("a"),), unconfigured=frozenset({"a"}))
    assert sentences(world, "sources/a") == (
        ['"a" is not probed. What stands: off (not_configured): No address is configured.'],
        ['It changes once "a" is configured, at the next reload or restart.'],
    )


def test_a_failed_dependency_is_named_however_far_off():
    world = World(
        (origin("host"), origin("redis", depends_on=("host",)), origin("queue", depends_on=("redis",)))
    )
    for name in ("redis", "queue"):
        world.probe(name, Report.ok())
    world.probe("host", Report.down("unreachable"))
    found = about(world, "sources/queue")
    assert (found.status, found.reason) == (Status.UNKNOWN, "parent_down")
    assert found.because[-1] == (
        '"queue" depends on "host", which is down (unreachable), so whatever its own probes say counts as unknown '
        "(parent_down)."
    )
    assert found.would_change == (
        (
            'When "host" is no longer down, and nothing else is that "queue" depends on, its own probes count again; '
            "the newest said ok."
        ),
    )
    assert (found.dependency.depends_on, found.dependency.parent_down) == (("redis",), "host")


def test_a_branch_names_its_rule_and_the_children_that_decide():
    world = World(
        (origin("a"), origin("b"), origin("c", required=False), origin("d")), unconfigured=frozenset({"d"})
    )
    world.probe("a", Report.ok()).probe("b", Report.down("refused")).probe("c", Report.down("timeout"))
    assert sentences(world, "sources") == (
        [
            'The rule is "worst": it is as bad as the worst of its 2 children that count.',
            'It is down (refused) because "b" is down (refused).',
            'Shown without being counted: "c" is down (timeout).',
            '"d" is off and takes no part.',
        ],
        ['It is ok as soon as "b" is ok.'],
    )
    assert about(world, "sources").rollup.decided_by == ("b",)


def test_rules_say_how_many_it_takes():
    world = World((origin("a"), origin("b"), origin("c")), rules={"sources": Rule(2)})
    for name in "abc":
        world.probe(name, Report.ok())
    assert sentences(world, "sources") == (
        [
            'The rule is "at_least(2)": it is what at least 2 of its 3 children that count are, or better.',
            "All 3 of them are ok, so it is ok.",
        ],
        ['It gets worse as soon as 2 of "a", "b" and "c" are degraded, unknown or down.'],
    )
    world.probe("a", Report.degraded("loading")).probe("b", Report.down("refused"))
    assert sentences(world, "sources") == (
        [
            'The rule is "at_least(2)": it is what at least 2 of its 3 children that count are, or better.',
            'It is degraded (loading) because "a" is degraded (loading).',
        ],
        ['It is ok as soon as one of "a" and "b" is ok.'],
    )
    few = World((origin("a"),), rules={"sources": Rule(3)}).probe("a", Report.ok())
    assert sentences(few, "sources") == (
        ['The rule is "at_least(3)", and only 1 child takes part, so it is down (too_few).'],
        ["It changes as soon as 2 more children can count."],
    )


def test_a_model_names_the_sources_that_can_serve_it_and_the_selected_one():
    world = World(
        (origin("omnirt", models=("m",)), origin("direct", models=("m",))), {"m": ["omnirt", "direct"]}
    )
    world.probe("omnirt", Report.down("refused")).probe("direct", Report.degraded("loading"))
    because, would_change = sentences(world, "models/m")
    assert because == [
        'The rule is "best": it is as good as the best of its 2 sources that count.',
        'It is degraded (loading) because "direct" is degraded (loading).',
        '/models names the backend "direct", of "direct": the first of them that is ok or degraded.',
        'The newest probe of "direct", which finished 0.4 s ago, said of this model: degraded (loading).',
    ]
    assert would_change == [
        'It is ok as soon as one of "omnirt" and "direct" is ok.',
        'One probe of "direct" that says unknown or down counts at once; the next one begins within 1.6 s.',
        'What "direct" says becomes unknown (stale) at 08:00:08 UTC, in 7.6 s, unless a probe finishes before.',
    ]


def test_a_model_with_one_source_follows_it():
    world = World((origin("omnirt", models=("a/b",)),), {"a/b": ["omnirt"]})
    world.probe("omnirt", Report.ok(), Report.down("model_missing", model="a/b"))
    assert sentences(world, "models/a%2Fb")[0] == [
        '"omnirt" is the only source that can serve it.',
        'The newest probe of "omnirt", which finished 0.4 s ago, said of this model: down (model_missing).',
    ]


def test_parts_that_a_failed_probe_says_nothing_of_are_not_said_to_come_from_it():
    world = World((origin("a", fall=2),)).probe("a", Report.ok(), Report.ok(path="readers/r%2F1"))
    assert sentences(world, "sources/a/readers/r%2F1")[0] == [
        'The newest probe of "a", which finished 0.4 s ago, said of this part: ok.'
    ]
    assert sentences(world, "sources/a/readers")[0][1] == 'It is ok because "r/1" is ok.'
    world.probe("a", Report.down("refused"))
    assert sentences(world, "sources/a/readers/r%2F1")[0] == [
        'What "a" last said of this part: ok. Its newest probe failed, which does not count yet.'
    ]


def test_the_daemons_own_nodes_stand_until_it_says_otherwise():
    world = World((origin("a"),))
    assert sentences(world, "daemon/loop") == (
        ["This is what the daemon says of itself: ok: The event loop runs freely."],
        ["It stands until the daemon says otherwise."],
    )
    assert sentences(world, "plugins/mock")[1][0].startswith("It is loaded when a source names it")


def test_there_is_no_explanation_of_what_does_not_exist():
    world = World((origin("a"),))
    assert about(world, "sources/b") is None
    assert render_explanation(world.snapshot(), "models/x", world.infos(), NOW) is None


def test_the_body_is_as_documented():
    world = World((origin("a", fall=2, depends_on=("b",)), origin("b"))).probe("a", Report.ok())
    document = render_explanation(world.snapshot(), "sources/a", world.infos(), NOW)
    assert (document.status, document.content_type) == (200, "application/json")
    body = json.loads(document.body)
    sentences = {"because": body.pop("because"), "would_change": body.pop("would_change")}
    assert all(isinstance(one, str) for texts in sentences.values() for one in texts)
    assert body == {
        "revision": 7,
        "path": "sources/a",
        "status": "ok",
        "reason": "ok",
        "message": "",
        "source": "a",
        "reading": {
            "status": "ok",
            "reason": "ok",
            "message": "",
            "observed_at": "2027-01-15T08:00:00.000Z",
            "age": 0.4,
            "expires_at": "2027-01-15T08:00:08.000Z",
            "expires_in": 7.6,
            "interval": 2.0,
            "timeout": 2.0,
            "restored": False,
        },
        "thresholds": {"rise": 1, "fall": 2, "tally": None},
        "dependency": {"depends_on": ["b"], "parent_down": None},
        "rollup": None,
    }
    branch = json.loads(render_explanation(world.snapshot(), "sources", world.infos(), NOW).body)
    assert branch["rollup"] == {
        "rule": "worst",
        "decided_by": ["b"],
        "children": [
            {"name": "a", "status": "ok", "reason": "ok", "counts": True},
            {"name": "b", "status": "unknown", "reason": "pending", "counts": True},
        ],
    }
    assert [branch[key] for key in ("source", "reading", "thresholds", "dependency")] == [None] * 4
    assert list(branch) == [
        "revision", "path", "status", "reason", "message", "because", "would_change", "source",
        "reading", "thresholds", "dependency", "rollup",
    ]  # fmt: skip


def test_the_types_give_a_schema():
    _, components = msgspec.json.schema_components([Explanation])
    schema = components["Explanation"]
    assert schema["required"] == list(Explanation.__struct_fields__)
    assert components["TallyBody"]["properties"]["seen"] == {"type": "integer", "minimum": 1}


moments = st.floats(START - 5, START + 60)


@given(worlds(), moments)
def test_every_node_has_an_explanation_that_says_nothing_else_than_the_node(world, now):
    snapshot, infos = world.snapshot(now), world.infos()
    for path, node in walk(snapshot.root):
        found = explain(snapshot, path, infos, now)
        assert found.because
        assert found.would_change
        assert (found.status, found.reason, found.message) == (node.status, node.reason, node.message)
        assert all(
            one.isprintable() and one.endswith((".", "?")) for one in found.because + found.would_change
        )
        decoded = msgspec.json.decode(render_explanation(snapshot, path, infos, now).body, type=Explanation)
        assert decoded == found
        for said in _claims(found.because):
            assert said == _said(node.status, node.reason)


def _claims(because):
    """Yield what the sentences say that the node itself is."""
    word = r"(?:ok|degraded|unknown|down|off)(?: \([a-z_]+\))?"
    for sentence in because:
        text = sentence.partition(": ")[0] if sentence.startswith(("The newest", "Nothing")) else sentence
        yield from re.findall(rf"(?:so it is|so it is still|^It is) ({word})(?=\.$| because)", text)


def _said(status, reason):
    return status.value if reason == status.value else f"{status} ({reason})"


@given(worlds())
def test_what_a_reading_alone_decided_is_what_the_node_says(world):
    snapshot, infos = world.snapshot(), world.infos()
    for path, node in walk(snapshot.root):
        found = explain(snapshot, path, infos, NOW)
        if node.basis is None or (found.rollup is not None and len(found.rollup.children) != 1):
            continue
        is_plain = node.basis.tally is None and not node.basis.parent and node.reason != "too_few"
        if is_plain:
            assert (found.reading.status, found.reading.reason) == (node.status, node.reason)
            assert any(f": {_said(node.status, node.reason)}" in one for one in found.because)
        elif found.reason == "parent_down":
            assert any("counts as unknown (parent_down)" in one for one in found.because)


@given(worlds())
def test_so_many_more_agreeing_probes_as_it_says_change_a_source(world):
    snapshot, infos = world.snapshot(), world.infos()
    for name, info in infos.items():
        node, found = snapshot.find(f"sources/{name}"), explain(snapshot, f"sources/{name}", infos, NOW)
        if node.basis.parent or node.observed_at is None or node.basis.newest.status is Status.OFF:
            continue
        match = re.match(
            r"(\w+) (?:more )?probes?\b.* (?:says?) (ok or degraded|unknown or down) ", found.would_change[0]
        )
        probes = 1 if match[1] == "One" else int(match[1])
        newest = Report.ok("new") if match[2] == "ok or degraded" else Report.down("new")
        # What the node says, since nothing but thresholds stands between it and the probes.
        held = Report(status=node.status, reason=node.reason)
        judged = Judged(held, node.basis.newest, node.basis.tally)
        for number in range(1, probes + 1):
            judged = judge(judged, newest, Thresholds(info.rise, info.fall))
            assert (judged.report == newest) is (number == probes)


@given(st.sampled_from([Rule(number) for number in range(4)]), st.lists(st.sampled_from(Status), max_size=6))
def test_so_many_children_as_it_says_change_a_branch(rule, statuses):
    origins = tuple(origin(f"s{place}") for place in range(len(statuses)))
    world = World(origins, rules={"sources": rule})
    for one, status in zip(origins, statuses, strict=True):
        world.probe(one.name, Report(status=status, reason="said"))
    (sentence,) = explain(world.snapshot(), "sources", world.infos(), NOW).would_change
    match = re.match(r"It (is ok|gets worse) as soon as (?:(all|one|\d) of )?(.*) (?:is|are) ", sentence)
    if match is None:
        assert sentence.startswith("It changes as soon as ")
        return
    counted = [status for status in statuses if status is not Status.OFF]
    places = [place for place, status in enumerate(counted) if (status is Status.OK) is (match[1] != "is ok")]
    number = {"all": len(places), "one": 1, None: 1}.get(match[2]) or int(match[2])
    becomes = Status.OK if match[1] == "is ok" else Status.DEGRADED
    for changed in range(1, number + 1):
        after = list(counted)
        for place in places[:changed]:
            after[place] = becomes
        is_ok = decide(rule, after).status is Status.OK
        assert is_ok is ((changed == number) is (match[1] == "is ok"))


def test_a_source_that_nobody_knows_any_more_is_explained_without_its_configuration():
    world = World((origin("a", fall=2),)).probe("a", Report.ok())
    found = explain(world.snapshot(), "sources/a", {}, NOW)
    assert found.thresholds is None
    assert found.reading.interval is None
    assert found.would_change


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.949, "9.9 s"),
        (9.95, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_spans_are_as_exact_as_they_need_be(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (START, "08:00:00 UTC"),
        (START - 86_400, "2027-01-14 08:00:00 UTC"),
        (None, "an unknown time"),
        (float("inf"), "an unknown time"),
    ],
)
def test_moments_have_their_date_when_it_is_not_todays(moment, text):
    assert clock_time(moment, START) == text


@pytest.mark.parametrize(
    ("items", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abcdefg"), "a, b, c, d, e and 2 more")],
)
def test_enumerations_are_cut(items, text):
    assert listed(items) == text


@given(st.text())
def test_one_line_is_one_line(text):
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line.encode().decode() == line
    assert one_line(line) == line


def test_members_that_are_off_take_no_part():
    member = Member(name="a", status=Status.OFF, reason="x", counts=True)
    assert not member.takes_part
