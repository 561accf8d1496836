import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Node, Report, Snapshot, Status
from statusd.model.rollup import Rule
from statusd.model.tree import walk
from statusd.web.readiness import render_ready
from tests.web.explaining import START, World, origin, worlds

NOW = START + 0.4


def ask(world, path="", require=(), now=NOW, **query):
    """Return the status code and the lines of the answer; None when there is none."""
    values = {name: [value] if isinstance(value, str) else value for name, value in query.items()}
    document = render_ready(world.snapshot(), path, values, require, now)
    if document is None:
        return None
    assert document.content_type == "text/plain; charset=utf-8"
    text = document.body.decode("utf-8")
    assert text.endswith("\n")
    return document.status, text[:-1].split("\n")


@pytest.fixture
def world():
    """A source that is down, one that is fine and serves two models, and one that has not reported."""
    world = World(
        (
            origin("queue"),
            origin("omnirt", models=("flashtalk", "org/wav2lip")),
            origin("slow", required=False),
        ),
        {"flashtalk": ["omnirt"], "org/wav2lip": ["omnirt"]},
    )
    world.probe("queue", Report.down("refused", "The server refused\r\nthe connection."))
    gone = Report.down("model_missing", "It lists none.", model="org/wav2lip")
    return world.probe("omnirt", Report.ok(), gone)


def test_a_source_that_has_not_reported_keeps_the_whole_from_being_ready(world):
    assert ask(world) == (503, ["not ready: sources/slow has not reported yet"])


def test_any_first_report_is_enough_also_a_bad_one(world):
    world.probe("slow", Report.down("timeout"))
    assert ask(world) == (200, ["ready"])


def test_a_source_whose_first_probe_ran_out_of_time_has_had_its_turn(world):
    assert ask(world.fall_silent("slow")) == (200, ["ready"])


def test_a_source_that_is_not_configured_is_not_waited_for():
    assert ask(World((origin("a"),), unconfigured=frozenset({"a"}))) == (200, ["ready"])


def test_a_failed_dependency_does_not_hide_that_a_source_has_not_reported():
    world = World((origin("a"), origin("b", depends_on=("a",)))).probe("a", Report.down("refused"))
    assert ask(world) == (503, ["not ready: sources/b has not reported yet"])


def test_a_plugin_that_says_pending_itself_has_reported():
    world = World((origin("a"),)).probe("a", Report.unknown("pending"))
    assert ask(world) == (200, ["ready"])


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (Report.ok(), "ready"),
        (Report.degraded("loading"), "ready"),
        (
            Report.unknown("bad_json", "It sent\tno JSON."),
            "not ready: sources/a is unknown (bad_json): It sent no JSON",
        ),
        (Report.down("down"), "not ready: sources/a is down"),
        (Report.off(), "not ready: sources/a is off (not_configured)"),
    ],
)
def test_required_nodes_must_be_ok_or_degraded(report, line):
    world = World((origin("a"),)).probe("a", report)
    assert ask(world, require=["sources/a"]) == (200 if line == "ready" else 503, [line])
    assert ask(world, "sources/a") == (200 if line == "ready" else 503, [line])


@pytest.mark.parametrize("path", ["models/org/wav2lip", "models/org%2Fwav2lip", "models/%6Frg%2fwav2lip"])
def test_required_models_may_be_named_raw_or_encoded(world, path):
    world.probe("slow", Report.ok())
    assert ask(world, require=[path]) == (
        503,
        ["not ready: models/org%2Fwav2lip is down (model_missing): It lists none"],
    )


def test_a_part_that_its_upstream_no_longer_mentions_is_not_ready():
    world = World((origin("a"),)).probe("a", Report.ok(), Report.ok(path="readers/r1"))
    assert ask(world, require=["sources/a/readers/r1"]) == (200, ["ready"])
    world.probe("a", Report.ok())
    answer = ask(world, require=["sources/a/readers/r1"], verbose="")
    assert answer == (
        503,
        [
            "[+]sources/a ok, 0.4 s old",
            "[-]sources/a/readers/r1 does not exist",
            "not ready: sources/a/readers/r1 is required and does not exist",
        ],
    )
    assert ask(world, "sources/a/readers/r1") is None


def test_the_whole_tree_may_be_required(world):
    world.probe("slow", Report.ok())
    status, lines = ask(world, require=[""], verbose="")
    assert status == 503
    assert lines[-1].startswith("not ready: the whole tree is down (refused): ")
    assert any(line.startswith("[-]the whole tree down (refused), 0.4 s old: ") for line in lines)


def test_verbose_lists_sources_required_nodes_and_models_with_reason_and_age(world):
    assert ask(world, require=["models/flashtalk", "daemon/loop"], now=START + 75, verbose="") == (
        503,
        [
            "[ ]sources/queue down (refused), 75 s old: The server refused the connection.",
            "[+]sources/omnirt ok, 75 s old",
            "[-]sources/slow unknown (pending), never observed: The first probe has not finished yet.",
            "[+]models/flashtalk ok, 75 s old",
            "[+]daemon/loop ok: The event loop runs freely.",
            "[ ]models/org%2Fwav2lip down (model_missing), 75 s old: It lists none.",
            "not ready: sources/slow has not reported yet",
        ],
    )


def test_what_is_excluded_hinders_nothing_and_is_said(world):
    assert ask(
        world,
        require=["models/org%2Fwav2lip"],
        exclude=["sources/slow", "models/org/wav2lip", "/sources/queue/", "nonsense\n[+]x", "sources/%zz"],
        verbose="",
    ) == (
        200,
        [
            "[ ]sources/queue excluded",
            "[+]sources/omnirt ok, 0.4 s old",
            "[ ]sources/slow excluded",
            "[ ]models/org%2Fwav2lip excluded",
            "[+]models/flashtalk ok, 0.4 s old",
            "[ ]nonsense%0A%5B%2B%5Dx not excluded, since it does not exist",
            "[ ]sources/%25zz not excluded, since it does not exist",
            "ready",
        ],
    )


def test_excluding_a_branch_leaves_out_all_below_it(world):
    assert ask(world, exclude="sources") == (200, ["ready"])


def test_commas_belong_to_the_path(world):
    assert ask(world, exclude="sources/slow,sources/queue")[0] == 503


def test_a_branch_is_judged_by_its_rule_without_what_is_excluded(world):
    world.probe("slow", Report.ok())
    assert ask(world, "sources")[0] == 503
    # omnirt counts through its models, and slow is not required, so nothing is left that could be well.
    assert ask(world, "sources", exclude="sources/queue") == (
        503,
        ["not ready: sources is off without what is excluded"],
    )
    assert ask(world, "models", exclude="models/org%2Fwav2lip", verbose="") == (
        200,
        [
            "[+]models ok, 0.4 s old",
            "[+]models/flashtalk ok, 0.4 s old",
            "[ ]models/org%2Fwav2lip excluded",
            "ready",
        ],
    )


def test_a_rule_counts_only_what_is_left():
    world = World((origin("a"), origin("b"), origin("c")), rules={"sources": Rule(2)})
    for name, report in [("a", Report.ok()), ("b", Report.ok()), ("c", Report.down("refused"))]:
        world.probe(name, report)
    assert ask(world, "sources", verbose="")[1] == [
        "[+]sources ok, 0.4 s old: 1 of 3 not ok: c (down, refused).",
        "[+]sources/a ok, 0.4 s old",
        "[+]sources/b ok, 0.4 s old",
        "[ ]sources/c down (refused), 0.4 s old",
        "ready",
    ]
    assert ask(world, "sources", exclude="sources/a", verbose="") == (
        503,
        [
            "[-]sources down, 0.4 s old",
            "[ ]sources/a excluded",
            "[+]sources/b ok, 0.4 s old",
            "[-]sources/c down (refused), 0.4 s old",
            "not ready: sources is down without what is excluded",
        ],
    )


def test_a_node_does_not_exclude_itself(world):
    for excluded in ("sources/queue", "sources", ""):
        status, lines = ask(world, "sources/queue", exclude=excluded, verbose="")
        assert status == 503
        assert lines[1].endswith("not excluded, since it is what is asked for")


def test_there_is_no_answer_for_a_node_that_does_not_exist(world):
    for path in (
        "nothing",
        "sources/nothing",
        "models/org/wav2lip",
        "sources/",
        "%FF",
        "models/org%252Fwav2lip",
    ):
        assert ask(world, path) is None


def test_paths_are_canonical(world):
    assert ask(world, "models/%6Frg%2fwav2lip", verbose="")[1][0].startswith("[-]models/org%2Fwav2lip down")


def test_a_clock_set_back_makes_nothing_younger_than_now(world):
    assert (
        ask(world, "sources/omnirt", now=START - 3600, verbose="")[1][0] == "[+]sources/omnirt ok, 0.0 s old"
    )


LINE = re.compile(r"\[[-+ ]\][!-~]+( [^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+)?")


@given(worlds(), st.data())
def test_a_line_with_a_minus_stands_there_exactly_when_it_is_not_ready(world, data):
    snapshot = world.snapshot()
    paths = [path for path, _ in walk(snapshot.root)]
    asked = data.draw(st.sampled_from(paths))
    require = data.draw(st.lists(st.sampled_from([*paths, "sources/a/gone"]), max_size=3))
    query = {"exclude": data.draw(st.lists(st.sampled_from([*paths, "nothing"]), max_size=2))}
    short = render_ready(snapshot, asked, query, require, NOW)
    long = render_ready(snapshot, asked, {**query, "verbose": [""]}, require, NOW)
    *lines, last = long.body.decode().removesuffix("\n").split("\n")
    assert long == attrs.evolve(short, body=long.body)
    assert short.body.decode() == f"{last}\n"
    assert last == "ready" if short.status == 200 else last.startswith("not ready: ")
    shown = [line for line in lines if not line[3:].startswith("the whole tree")]
    assert all(LINE.fullmatch(line) for line in shown)
    nodes = [line[3:].split(" ")[0] for line in shown if " not excluded, " not in line]
    assert len(set(nodes)) == len(nodes)
    assert (short.status == 503) == any(line.startswith("[-]") for line in lines)


@given(worlds())
def test_without_exclusions_a_node_is_ready_exactly_when_it_is_ok_or_degraded(world):
    snapshot = world.snapshot()
    for path, node in walk(snapshot.root):
        if path:
            assert (render_ready(snapshot, path, {}, (), NOW).status == 200) is node.status.is_connected


@given(worlds(), st.text(), st.text())
def test_whatever_a_client_excludes_is_answered_in_lines_of_text(world, path, other):
    status, lines = ask(world, exclude=[path, other], verbose="", now=NOW)
    assert status in {200, 503}
    assert all(line.isprintable() for line in lines)


def test_thousands_of_sources_and_models_take_no_more_time_each():
    names = [f"source-{number}" for number in range(100_000)]
    well = Node(status=Status.OK, observed_at=NOW)
    wings = {
        wing: Node(status=Status.OK, children=dict.fromkeys(names, well)) for wing in ("sources", "models")
    }
    many = Snapshot(root=Node(status=Status.OK, children=wings), revision=1, version=1, at=NOW)
    assert (
        render_ready(many, "", {}, [], NOW).status == 200
    )  # in quadratic time, minutes: the test would not end
