"""What is kept over restarts, and its form in a file."""

import math

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import Report, Secret, Status, Url, segment
from statusd.model.assembly import Assembly, Origin, State
from statusd.model.judging import Thresholds
from statusd.model.kept import (
    GREATEST_REVISION,
    Kept,
    KeptError,
    KeptNode,
    KeptReport,
    KeptSource,
    decode,
    encode,
    fingerprint,
    kept_of,
)
from statusd.model.merge import Reading
from statusd.model.report import Payload
from statusd.model.snapshot import Snapshot
from statusd.model.tree import settle

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
INSTANTS = st.floats(0, 4e9)
REPORTS = st.builds(
    KeptReport,
    status=st.sampled_from(Status),
    reason=st.sampled_from(["ok", "refused", "stale"]),
    message=TEXTS,
    path=st.sampled_from(["", "a", "a/b"]),
    model=st.none() | TEXTS,
    label=st.sampled_from(["", "x"]),
    facts=st.dictionaries(TEXTS, JSON, max_size=3),
)
SOURCES = st.builds(
    KeptSource,
    plugin=TEXTS,
    made_of=TEXTS,
    observed_at=INSTANTS,
    expires_at=st.none() | INSTANTS,
    reports=st.lists(REPORTS, max_size=3).map(tuple),
)
KEPT = st.builds(
    Kept,
    saved_at=INSTANTS,
    revision=st.integers(0, GREATEST_REVISION),
    sources=st.dictionaries(TEXTS, SOURCES, max_size=3),
    nodes=st.dictionaries(TEXTS, st.builds(KeptNode, st.sampled_from(Status), INSTANTS), max_size=3),
)
SAMPLE = encode(
    Kept(
        saved_at=1.0,
        revision=7,
        sources={
            "a": KeptSource(
                plugin="p",
                made_of="f",
                observed_at=1.0,
                expires_at=None,
                reports=(KeptReport(status=Status.OK, reason="ok"),),
            )
        },
        nodes={"": KeptNode(Status.OK, 1.0)},
    )
)


@given(KEPT)
def test_what_was_written_is_what_is_read(kept):
    assert decode(encode(kept)) == kept


@given(KEPT, st.data())
def test_a_file_cut_anywhere_is_told(kept, data):
    whole = encode(kept)
    with pytest.raises(KeptError, match=r"empty|cut off"):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(max_examples=300)
@given(KEPT, st.data())
def test_a_flipped_bit_anywhere_is_told(kept, data):
    whole = bytearray(encode(kept))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(KeptError):
        decode(bytes(whole))


def test_every_flipped_bit_of_the_first_line_is_told():
    for place in range(SAMPLE.index(b"\n") + 1):
        for bit in range(8):
            changed = bytearray(SAMPLE)
            changed[place] ^= 1 << bit
            with pytest.raises(KeptError):
                decode(bytes(changed))


@given(st.binary(max_size=300))
def test_whatever_else_a_file_holds_is_told(data):
    with pytest.raises(KeptError):
        decode(data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "It is empty."),
        (b"\x7fELF", "It is no file of statusd's: its first line is another one."),
        (b"{}", "It is no file of statusd's: its first line is another one."),
        (SAMPLE[:5], "It is cut off within its first line."),
        (SAMPLE[:40], "It is cut off within its first line."),
        (SAMPLE[:-3], f"It is cut off: {len(SAMPLE) - SAMPLE.index(b'{') - 3} of"),
        (SAMPLE + b"x", "It is longer than it was written"),
        (SAMPLE.replace(b'"ok"', b'"OK"', 1), "its checksum does not match"),
        (b"statusd-state 2 whatever a newer one has\n", "It has the format 2"),
        (
            b"statusd-state 2\n",
            "It has the format 2, of another version of statusd; this one reads format 1.",
        ),
        (SAMPLE.replace(b"state 1", b"state 2", 1), "It has the format 2"),
        (b"statusd-state 1\n", "Its first line is damaged."),
    ],
)
def test_each_fault_has_its_own_sentence(data, sentence):
    with pytest.raises(KeptError) as caught:
        decode(data)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"saved_at":-1,"revision":1,"sources":{},"nodes":{}}',
        b'{"saved_at":1e999,"revision":1,"sources":{},"nodes":{}}',
        b'{"saved_at":1,"revision":99999999999999999999,"sources":{},"nodes":{}}',
        b'{"saved_at":1,"revision":1,"sources":{},"nodes":{"":["fine",1]}}',
        b'{"saved_at":1,"revision":1,"sources":{"a":' + b'{"facts":' * 100_000,
    ],
)
def test_a_whole_file_with_another_content_is_told(body):
    with pytest.raises(KeptError, match="holds something else"):
        decode(signed(body))


def signed(body):
    import hashlib  # noqa: PLC0415  # only here

    return b"statusd-state 1 %s %d\n%s" % (hashlib.sha256(body).hexdigest().encode(), len(body), body)


# What is kept


def origin(name="a", **rest):
    return Origin(name=name, plugin="p", backend="b", **{"made_of": "f", **rest})


def kept(*states, models=None, now=10.0):
    assembly = Assembly(states, models or {})
    root = settle(None, assembly.tree({}), revision=3, now=5.0).root
    return kept_of(Snapshot(root=root, revision=3, version=1, at=5.0), assembly.states(), now=now)


def observed(origin, *reports, at=4.0, **rest):
    return State.first(origin, ()).after(Reading(reports=reports, observed_at=at, expires_at=9.0, **rest))


def test_payloads_and_measurements_are_not_kept_and_facts_are():
    (source,) = kept(
        observed(
            origin(),
            Report.ok(facts={"n": 1}, measurements={"latency": 0.5}, payload=Payload(b"secret body")),
        )
    ).sources.values()
    assert [one.report() for one in source.reports] == [Report.ok(facts={"n": 1})]
    assert (source.observed_at, source.expires_at) == (4.0, 9.0)


def test_parts_and_every_model_are_kept_also_one_that_follows_the_source():
    state = observed(
        origin(models=("x", "y")),
        Report.ok(),
        Report.down("dead", path="readers/r"),
        Report.degraded("busy", model="x"),
    )
    (source,) = kept(state, models={"x": ["a"], "y": ["a"]}).sources.values()
    assert [(one.path, one.model, one.status.value) for one in source.reports] == [
        ("", None, "ok"),
        ("readers/r", None, "down"),
        ("", "x", "degraded"),
        ("", "y", "ok"),
    ]


def test_what_stands_is_kept_while_fall_has_not_decided_yet():
    state = observed(origin(thresholds=Thresholds(fall=3)), Report.ok(facts={"n": 1}))
    state = state.after(Reading(reports=(Report.down("refused"),), observed_at=6.0))
    (source,) = kept(state).sources.values()
    assert source.reports == (KeptReport(status=Status.OK, reason="ok", facts={"n": 1}),)


def test_a_failed_dependency_is_not_kept_as_the_sources_own_state():
    parent = observed(origin("parent"), Report.down("refused"))
    child = observed(origin("child", depends_on=("parent",)), Report.ok())
    found = kept(parent, child)
    assert found.nodes["sources/child"].status is Status.UNKNOWN
    assert found.sources["child"].reports[0].status is Status.OK


def test_a_stale_reading_is_kept_as_stale():
    (source,) = kept(observed(origin(), Report.ok(facts={"n": 1})).expired()).sources.values()
    assert (source.reports[0].status, source.reports[0].reason) == (Status.UNKNOWN, "stale")
    assert source.reports[0].facts == {"n": 1}


def test_only_sources_that_were_observed_and_are_made_of_something_known_are_kept():
    pending = State.first(origin("pending"), (Report.unknown("pending"),))
    strange = observed(origin("strange", made_of=""), Report.ok())
    found = kept(pending, strange, observed(origin(), Report.ok()))
    assert list(found.sources) == ["a"]
    assert set(found.nodes) >= {"", "sources/pending", "sources/strange", "sources/a"}


def test_no_number_of_restarts_lets_a_reading_live_longer():
    restored = State.restored(origin(), Reading(reports=(Report.ok(),), observed_at=4.0, expires_at=500.0))
    (source,) = kept(restored, now=100.0).sources.values()
    assert (source.observed_at, source.expires_at) == (4.0, 100.0)


# Fingerprints


def mask(value):
    return value


def test_a_fingerprint_tells_other_options_models_and_plugins():
    def made(plugin="p", models=("m",), **options):
        return fingerprint(plugin, models, options, mask)

    url = Url.parse("http://h:1/a?x=1")
    same = made(url=url, n=1)
    assert same == made(n=1, url=Url.parse("http://h:1/a?x=1"))
    assert made(models=("a", "b")) == made(models=("b", "a"))
    others = {
        made("q", url=url, n=1),
        made(models=(), url=url, n=1),
        made(url=url, n=2),
        made(url=attrs.evolve(url, query="x=2"), n=1),
        made(url=url, n=1, more=True),
        made(url=url, n=1, table={"a": [1, "b", None]}),
        made(url=url, n=1, some=frozenset({"b", "a"})),
    }
    assert len(others | {same}) == 8


def test_no_secret_takes_part_in_a_fingerprint():
    hashed = []

    def seen(value):
        hashed.append(repr(value))
        return value

    options = {
        "url": Url.parse("redis://someone:swordfish@h/0"),
        "password": Secret("swordfish"),
        "headers": {"x": Secret("swordfish")},
    }
    one = fingerprint("p", (), options, seen)
    assert "swordfish" not in hashed[0]
    other = {**options, "password": Secret("other"), "url": Url.parse("redis://someone:other@h/0")}
    assert fingerprint("p", (), other, mask) == one


def test_what_the_redactor_knows_takes_no_part_either():
    masked = fingerprint(
        "p", (), {"text": "a swordfish"}, lambda value: {**value, "options": {"text": "a ***"}}
    )
    assert masked == fingerprint("p", (), {"text": "a ***"}, mask)


@pytest.mark.parametrize("strange", [object(), b"bytes", math, Report.ok()])
def test_an_option_of_which_nothing_is_known_makes_no_fingerprint(strange):
    assert fingerprint("p", (), {"x": [strange]}, mask) == ""


def test_names_of_nodes_are_kept_as_they_stand_in_the_tree():
    state = observed(origin(models=("a/b",)), Report.ok())
    assert f"models/{segment('a/b')}" in kept(state, models={"a/b": ["a"]}).nodes
