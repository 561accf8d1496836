"""Large configurations: nothing takes time or memory with the square of their size."""

from __future__ import annotations

import difflib

import pytest

from statusd.config import findings as findings_module
from statusd.config import read_text, secrets_in
from statusd.config import wording as wording_module
from statusd.config.findings import Findings
from statusd.config.http_binds import MAX_ADDRESSES
from statusd.config.interpolate import InterpolationError, expand
from statusd.config.wording import MAX_LISTED, closest, suggestion
from statusd.redaction import Redactor


def told(text, environ=None):
    return [str(mistake) for mistake in read_text(text, "test.toml", environ or {}).mistakes]


@pytest.fixture
def redactors(monkeypatch):
    """The number of secrets of each redactor that is made; each is a compiled expression."""
    made = []

    def make(secrets):
        made.append(len(secrets))
        return Redactor(secrets)

    monkeypatch.setattr(findings_module, "Redactor", make)
    return made


def test_a_misspelt_name_is_compared_with_a_bounded_number_of_names(monkeypatch):
    compared = []
    compare = difflib.get_close_matches

    def counting(word, possibilities, **options):
        compared.append(len(possibilities))
        return compare(word, possibilities, **options)

    monkeypatch.setattr(wording_module.difflib, "get_close_matches", counting)
    names = [*(f"a{number}" for number in range(1000)), "worker", "Reader-1"]
    assert closest("wroker", names) == "worker"
    assert closest("reader_1", names) == "Reader-1"
    assert closest("a1O", names) is not None
    assert max(compared) <= 200


@pytest.mark.parametrize("number", [300, 3000])
def test_a_remedy_lists_a_bounded_number_of_names(number):
    names = [f"s{one:04}" for one in range(number)]
    remedy = suggestion("x", names)
    assert len(remedy) < 20 * MAX_LISTED
    assert f"one of {number if number > 2000 else number - MAX_LISTED}" in remedy


def test_names_that_are_listed_stand_in_order():
    assert suggestion("x", ["bbbb", "aaaa"]) == 'expected "aaaa" or "bbbb"'
    names = [f"s{one:04}" for one in range(MAX_LISTED + 1)]
    assert suggestion("x", reversed(names)).endswith(f'"{names[MAX_LISTED - 1]}" or one of 1 more')


def test_a_name_among_thousands_that_is_not_there_has_a_short_message():
    sources = "".join(f'[sources.s{number}]\nplugin = "x"\n' for number in range(3000))
    [mistake] = told(f'{sources}[models]\nm = "t1"')
    assert mistake == 'models.m: "t1" names no source; expected one of 3000'


def test_more_addresses_than_anybody_listens_on_are_a_mistake():
    addresses = [f'"127.0.{number // 250}.{number % 250 + 1}:80"' for number in range(MAX_ADDRESSES + 1)]
    assert told(f"[http]\nbind = [{', '.join(addresses[1:])}]") == []
    assert told(f"[http]\nbind = [{', '.join(addresses)}]") == [
        f"http.bind: lists {MAX_ADDRESSES + 1} addresses; list at most {MAX_ADDRESSES}"
    ]


def test_a_long_variable_may_stand_anywhere_many_times():
    # Looked at character by character each time, it would take minutes.
    with pytest.raises(InterpolationError, match="shorten it"):
        expand("${LONG}" * 20_000, {"LONG": "x" * 60_000})


def test_a_message_does_not_grow_with_each_value_that_holds_its_own_text():
    entries = ", ".join(['"${N:-namename}"'] * 20)
    [mistake] = told(f'[plugins]\nenabled = [{entries}, ""]', {"N": "name"})
    assert mistake == "plugins.enabled: holds an empty ${N:-namename}; remove it"


def test_looking_for_secrets_alone_masks_nothing(redactors):
    headers = "".join(f'"x-key-{number}" = "${{S{number}}}"\n' for number in range(100))
    environ = {f"S{number}": f"hunter-{number:04}" for number in range(100)}
    text = f'[sources.a]\nplugin = "x"\n[sources.a.headers]\n{headers}'
    found = secrets_in(read_text(text, "test.toml", environ))
    assert set(environ.values()) <= set(found)
    assert redactors == []


def test_mistakes_are_masked_with_what_was_made_for_those_before(redactors):
    findings = Findings(environ={})
    findings.secret("hunter2-1")
    for _ in range(10):
        findings.mistake("a", "It is hunter2-1.")
    findings.secret("hunter2-1")
    findings.mistake("a", "It is hunter2-1.")
    assert len(redactors) == 1
    findings.secret("hunter2-2")
    findings.mistake("a", "It is hunter2-2.")
    assert len(redactors) == 2
    assert {mistake.message for mistake in findings.mistakes} == {"It is ***."}
