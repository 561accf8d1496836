"""Dependencies, rules of branches, and the tree that grows with each probe."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Payload, Report, Status, segment
from statusd.model.assembly import Assembly, Origin, State
from statusd.model.judging import Thresholds
from statusd.model.merge import Reading
from statusd.model.rollup import BEST, Rule
from statusd.model.tree import settle, walk
from tests.model.strategies import paths, reports, rules

PENDING = Report.unknown("pending")
OFF = Report.off()
OFF_PART = Report.off(path="disks")


@attrs.define
class Kept:
    """An assembly and its settled tree, as the hub keeps them."""

    assembly: Assembly
    root: object = None
    revision: int = 1
    settled: object = None

    def __attrs_post_init__(self):
        self._take(self.assembly.tree({"daemon/loop": Report.ok()}))

    def _take(self, tree):
        self.settled = settle(self.root, tree, revision=self.revision, now=float(self.revision))
        self.root = self.settled.root
        self.revision += 1

    def observe(self, name, *given_reports):
        reading = Reading(reports=given_reports, observed_at=1.0, expires_at=9.0)
        self._take(self.assembly.put(self.root, self.assembly.state(name).after(reading)))

    def expire(self, name):
        self._take(self.assembly.put(self.root, self.assembly.state(name).expired()))

    def __getitem__(self, path):
        node = self.root
        for name in path.split("/") if path else ():
            node = node.children[name]
        return node

    def shows(self, path):
        return f"{self[path].status} {self[path].reason}"


def origin(name, *depends_on, rise=1, fall=1, **rest):
    return Origin(
        name=name,
        plugin="p",
        backend=name,
        thresholds=Thresholds(rise, fall),
        depends_on=depends_on,
        **rest,
    )


def keep(*origins, models=None, given_rules=None, **firsts):
    states = [State.first(each, [firsts.get(each.name, PENDING)]) for each in origins]
    return Kept(Assembly(states, models or {}, given_rules))


# dependencies


def family():
    """A host, a proxy on it, a worker behind that with a model; and a stranger."""
    return keep(
        origin("worker", "proxy", models=("m",)),
        origin("proxy", "host"),
        origin("host"),
        origin("stranger"),
        models={"m": ("worker",)},
    )


def all_well(kept):
    for name in ("stranger", "proxy", "host"):
        kept.observe(name, Report.ok())
    kept.observe("worker", Report.ok(facts={"n": 1}), Report.ok(model="m", label="special"))
    return kept


def test_what_depends_on_a_source_that_is_down_is_unknown_however_far_off_and_all_in_one_change():
    kept = all_well(family())
    kept.observe("host", Report.down("refused", "Nothing listens there."))
    assert kept.shows("sources/host") == "down refused"
    for path in ("sources/proxy", "sources/worker", "models/m"):
        assert kept.shows(path) == "unknown parent_down"
        assert kept[path].message == 'It depends on the source "host", which is down.'
        assert kept[path].basis.parent == "host"
    assert kept.shows("sources/stranger") == "ok ok"
    assert set(kept.settled.nodes) == {
        "", "sources", "sources/host", "sources/proxy", "sources/worker", "models", "models/m",
    }  # fmt: skip


def test_the_probes_behind_it_stay_to_be_read():
    kept = all_well(family())
    kept.observe("host", Report.down("refused"))
    kept.observe("worker", Report.down("timeout", "No answer.", facts={"n": 2}, payload=Payload(b"x")))
    node = kept["sources/worker"]
    assert (node.basis.newest.reason, node.basis.newest.message) == ("timeout", "No answer.")
    assert (node.facts, node.payload, node.observed_at) == ({"n": 2}, Payload(b"x"), 1.0)
    assert kept["models/m"].basis.newest.reason == "timeout"


def test_a_model_behind_it_loses_its_label():
    kept = all_well(family())
    assert kept["models/m"].facts["candidates"][0]["label"] == "special"
    kept.observe("host", Report.down("refused"))
    (claim,) = kept["models/m"].facts["candidates"]
    assert (claim["status"], claim["reason"], claim["label"]) == ("unknown", "parent_down", "")


def test_it_heals_in_one_change_too():
    kept = all_well(family())
    whole = {path: (node.status, node.reason, node.message, node.facts) for path, node in walk(kept.root)}
    kept.observe("host", Report.down("refused"))
    kept.observe("host", Report.ok())
    assert {
        path: (node.status, node.reason, node.message, node.facts) for path, node in walk(kept.root)
    } == whole
    assert set(kept.settled.nodes) == {
        "", "sources", "sources/host", "sources/proxy", "sources/worker", "models", "models/m",
    }  # fmt: skip
    assert kept["sources/worker"].basis.parent == ""


def test_what_is_named_is_the_source_that_is_shown_as_down_not_one_between():
    kept = all_well(family())
    kept.observe("proxy", Report.down("refused"))
    assert kept["sources/worker"].basis.parent == "proxy"
    kept.observe("host", Report.down("timeout"))
    assert kept.shows("sources/proxy") == "unknown parent_down"
    assert kept["sources/worker"].basis.parent == "host"
    kept.observe("host", Report.ok())
    assert kept.shows("sources/proxy") == "down refused"
    assert kept["sources/worker"].basis.parent == "proxy"


def test_of_several_failed_parents_the_first_listed_is_named():
    kept = keep(origin("a"), origin("b"), origin("c", "b", "a"))
    for name in ("a", "b"):
        kept.observe(name, Report.down("refused"))
    assert kept["sources/c"].basis.parent == "b"
    kept.observe("b", Report.ok())
    assert kept["sources/c"].basis.parent == "a"


def test_parts_of_what_depends_on_it_are_unknown_too():
    kept = keep(origin("host"), origin("tk", "host"))
    kept.observe("tk", Report.ok(), Report.ok(path="readers/r1", facts={"n": 1}), OFF_PART)
    kept.observe("host", Report.down("refused"))
    for path in ("sources/tk/readers/r1", "sources/tk/readers"):
        assert kept.shows(path) == "unknown parent_down"
    assert kept["sources/tk/readers/r1"].basis.newest.status is Status.OK
    assert kept.shows("sources/tk/disks") == "off not_configured"


def test_off_stays_off():
    kept = keep(origin("host"), origin("unset", "host", models=("m",)), models={"m": ("unset",)}, unset=OFF)
    kept.observe("host", Report.down("refused"))
    assert kept.shows("sources/unset") == "off not_configured"
    assert kept.shows("models/m") == "off not_configured"


def test_what_is_off_fails_nobody():
    kept = keep(origin("host"), origin("unset", "host"), origin("c", "unset"), unset=OFF)
    kept.observe("c", Report.ok())
    kept.observe("host", Report.down("refused"))
    assert kept.shows("sources/c") == "ok ok"


@pytest.mark.parametrize("report", [Report.unknown("null_status"), Report.degraded("loading"), Report.ok()])
def test_a_parent_that_is_not_down_takes_nobody_along(report):
    kept = all_well(family())
    kept.observe("host", report)
    assert kept.shows("sources/worker") == "ok ok"


def test_a_parent_that_fall_holds_up_takes_nobody_along_until_it_is_decided():
    kept = keep(origin("host", fall=2, rise=2), origin("c", "host"))
    for name in ("host", "c"):
        kept.observe(name, Report.ok())
    kept.observe("host", Report.down("refused"))
    assert kept.shows("sources/c") == "ok ok"
    kept.observe("host", Report.down("refused"))
    assert kept.shows("sources/c") == "unknown parent_down"
    kept.observe("host", Report.ok())
    assert kept.shows("sources/c") == "unknown parent_down"
    kept.observe("host", Report.ok())
    assert kept.shows("sources/c") == "ok ok"


def test_a_parent_of_which_nothing_is_known_any_more_takes_nobody_along():
    kept = keep(origin("host"), origin("c", "host"))
    kept.observe("c", Report.ok())
    kept.observe("host", Report.down("refused"))
    kept.expire("host")
    assert (kept.shows("sources/host"), kept.shows("sources/c")) == ("unknown stale", "ok ok")


def test_a_parent_counts_by_what_it_says_of_itself_even_where_it_is_not_required():
    kept = keep(origin("host", required=False), origin("c", "host"))
    kept.observe("c", Report.ok())
    kept.observe("host", Report.down("refused"))
    assert kept.shows("sources/c") == "unknown parent_down"
    assert kept["sources"].decided_by == ("c",)


def test_one_candidate_with_a_failed_parent_leaves_the_model_to_the_other():
    kept = keep(
        origin("host"),
        origin("a", "host", models=("m",)),
        origin("b", models=("m",)),
        models={"m": ("a", "b")},
    )
    for name in ("a", "b"):
        kept.observe(name, Report.ok())
    kept.observe("host", Report.down("refused"))
    assert (kept["models/m"].status, kept["models/m"].facts["source"]) == (Status.OK, "b")
    assert kept["models/m"].decided_by == ("b",)


def test_a_thousand_sources_in_a_row_fail_with_the_first():
    chain = [origin("s0"), *(origin(f"s{n}", f"s{n - 1}") for n in range(1, 1000))]
    kept = keep(*reversed(chain))
    kept.observe("s0", Report.down("refused"))
    assert kept["sources/s999"].basis.parent == "s0"


def test_a_circle_is_refused():
    with pytest.raises(ValueError, match="cycle"):
        keep(origin("a", "b"), origin("b", "a"))


# rules


def test_what_is_not_required_shows_and_does_not_count():
    kept = keep(
        origin("a", required=False), origin("b"), origin("c", required=False, models=("m",)),
        models={"m": ("c",)},
    )  # fmt: skip
    kept.observe("b", Report.ok())
    for name in ("a", "c"):
        kept.observe(name, Report.down("refused"))
    for path in ("sources/a", "models/m"):
        assert (kept[path].status, kept[path].counts) == (Status.DOWN, False)
    assert (kept["sources"].status, kept["sources"].decided_by) == (Status.OK, ("b",))
    assert kept.shows("models") == "off nothing_counts"
    assert kept[""].status is Status.OK


def test_every_branch_says_its_usual_rule_and_who_decided():
    kept = keep(origin("a"), origin("b", models=("m",)), models={"m": ("b",)})
    kept.observe("a", Report.ok(), Report.ok(path="x/y"))
    kept.observe("b", Report.down("refused"))
    said = {path: (node.rule, node.decided_by) for path, node in walk(kept.root)}
    assert said == {
        "": ("worst", ("models",)),
        "sources": ("worst", ("a",)),
        "sources/a": ("", ()),
        "sources/a/x": ("worst", ("y",)),
        "sources/a/x/y": ("", ()),
        "sources/b": ("", ()),
        "models": ("worst", ("m",)),
        "models/m": ("best", ("b",)),
        "plugins": ("worst", ()),
        "daemon": ("worst", ("loop",)),
        "daemon/loop": ("", ()),
    }


MODEL = "org/m"


@pytest.mark.parametrize(
    ("path", "usual", "rule", "other"),
    [
        ("", "down", BEST, "ok"),
        ("sources", "down", BEST, "ok"),
        ("sources", "down", Rule(2), "ok"),
        ("sources", "down", Rule(4), "down"),
        ("models", "down", BEST, "degraded"),
        (f"models/{segment(MODEL)}", "degraded", Rule(2), "down"),
        (f"models/{segment(MODEL)}", "degraded", Rule(0), "down"),
        ("sources/a/readers", "down", Rule(2), "ok"),
        ("daemon", "ok", Rule(2), "down"),
    ],
)
def test_a_rule_takes_effect_on_its_branch_and_is_state(path, usual, rule, other):
    def build(given_rules):
        kept = keep(
            *(origin("a"), origin("b"), origin("c"), origin("d", models=(MODEL,))),
            origin("e", models=(MODEL, "n")),
            models={MODEL: ("d", "e"), "n": ("e",)},
            given_rules=given_rules,
        )
        parts = {"r1": "ok", "r2": "down", "r3": "ok"}
        kept.observe(
            "a",
            Report.ok(),
            *(Report(status=Status(how), path=f"readers/{part}") for part, how in parts.items()),
        )
        for name, status in {"b": "ok", "c": "down", "d": "degraded", "e": "down"}.items():
            kept.observe(name, Report(status=Status(status), reason="r"))
        return kept

    plain, ruled = build({}), build({path: rule})
    assert (plain[path].status, ruled[path].status) == (usual, other)
    assert (ruled[path].rule, plain[path].rule) == (str(rule), "best" if "models/" in path else "worst")
    settled = settle(plain.root, ruled.root, revision=99, now=99.0)
    assert path in settled.nodes
    where = [one for one in settled.nodes if not (path == one or path.startswith(f"{one}/") or one == "")]
    assert where == []


def test_a_rule_for_a_place_that_is_no_rollup_changes_nothing():
    given_rules = {"sources/a": BEST, "sources/a/x/y": BEST, "sources/nobody": BEST}
    kept = keep(origin("a"), given_rules=given_rules)
    kept.observe("a", Report.down("refused"), Report.ok(path="x/y"))
    assert (kept["sources/a"].status, kept["sources/a"].rule) == (Status.DOWN, "")


# a tree that grows is the tree one would build


NAMES = ("a", "b", "c", "d")
MODELS = ("m", "n/1")


@st.composite
def setups(draw):
    """Origins in any order, which depend on others without a circle, with models and rules."""
    models = {
        model: draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True), label=model)
        for model in MODELS
    }
    origins = [
        origin(
            name,
            *draw(st.lists(st.sampled_from(NAMES[:place]), unique=True) if place else st.just([])),
            rise=draw(st.integers(1, 3)),
            fall=draw(st.integers(1, 3)),
            required=draw(st.booleans()),
            models=tuple(model for model in MODELS if name in models[model]),
        )
        for place, name in enumerate(NAMES)
    ]
    places = ("", "sources", "models", "models/m", "models/n%2F1", "sources/a/a", "daemon")
    given_rules = draw(st.dictionaries(st.sampled_from(places), rules, max_size=3))
    return draw(st.permutations(origins)), models, given_rules


steps = st.tuples(
    st.sampled_from(NAMES),
    st.none() | st.tuples(reports(), st.lists(reports(paths), max_size=2, unique_by=lambda one: one.path)),
)


def content(node):
    """A tree but for what `settle` stamps."""
    bare = attrs.evolve(node, since=0.0, revision=0, children={})
    return bare, {name: content(child) for name, child in node.children.items()}


@given(setups(), st.lists(steps, max_size=20))
def test_a_tree_that_grew_with_each_probe_is_the_one_built_from_where_its_sources_got_to(setup, taken):
    origins, models, given_rules = setup
    kept = keep(*origins, models=models, given_rules=given_rules)
    for name, probe in taken:
        if probe is None:
            kept.expire(name)
        else:
            kept.observe(name, probe[0], *probe[1])
        states = [kept.assembly.state(each.name) for each in origins]
        whole = Assembly(states, models, given_rules).tree({"daemon/loop": Report.ok()})
        assert content(kept.root) == content(whole)


@given(setups(), st.lists(steps, max_size=20))
def test_exactly_what_can_reach_a_source_that_is_down_has_a_failed_parent(setup, taken):
    origins, models, given_rules = setup
    kept = keep(*origins, models=models, given_rules=given_rules)
    for name, probe in taken:
        if probe is not None:
            kept.observe(name, probe[0], *probe[1])
    own = {each.name: kept.assembly.state(each.name).judgement.own.report.status for each in origins}
    parents = {each.name: [one for one in each.depends_on if own[one] is not Status.OFF] for each in origins}

    def reach(name):
        return set(parents[name]).union(*(reach(parent) for parent in parents[name]))

    for name in NAMES:
        node = kept[f"sources/{name}"]
        failed = {one for one in reach(name) if own[one] is Status.DOWN}
        assert bool(node.basis.parent) is bool(failed)
        if failed:
            assert node.basis.parent in failed
            assert kept[f"sources/{node.basis.parent}"].status is Status.DOWN
            assert (node.reason == "parent_down") is (own[name] is not Status.OFF)
