"""The redactor: what it masks, whatever it is told meanwhile, and what it costs with a thousand former keys."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import redaction
from statusd.config.findings import Findings
from statusd.redaction import Redactor
from statusd.systemd.jsonlines import as_json
from statusd.systemd.lines import for_file
from statusd.systemd.records import record_of
from statusd.values import MASK

# Few characters, so that secrets begin alike, overlap and hold one another.
secret = st.text(alphabet="ab.é", min_size=4, max_size=7)


@settings(deadline=None)
@given(st.lists(secret, max_size=12), st.lists(secret | st.text(alphabet="ab.éx", max_size=6), max_size=8))
def test_at_each_place_the_longest_secret_is_masked(secrets, words):
    text = "".join(words)
    longest_first = sorted(secrets, key=len, reverse=True)
    expected = re.sub("|".join(map(re.escape, longest_first)), MASK, text) if secrets else text
    assert Redactor(secrets)(text) == expected


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab\né|", min_size=4, max_size=20), min_size=1, max_size=12), st.data())
def test_no_secret_of_any_length_is_left(secrets, data):
    words = st.sampled_from(secrets) | st.text(alphabet="ab\né|x", max_size=6)
    redacted = Redactor(secrets)("".join(data.draw(st.lists(words, max_size=8))))
    assert [one for one in secrets if one in redacted] == []


def known(text):
    findings = Findings(environ={})
    findings.secret(text)
    return Redactor(findings.secrets)


def logged(error, redact, style):
    info = (type(error), error, error.__traceback__)
    source = logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed", (), info)
    return style(record_of(source, redact)).decode()


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\v", "\x85", "\u2028"])
@pytest.mark.parametrize("style", [for_file, as_json])
def test_a_secret_of_several_lines_is_masked_where_a_traceback_indents_them(line_end, style):
    secret = f"s3cret-head{line_end}s3cret-body{line_end}{line_end}s3cret-tail"
    inner = ExceptionGroup(f"inner {secret}", [ValueError(f"<{secret}>"), KeyError(secret)])
    error = ExceptionGroup("outer", [OSError(5, secret), inner])
    error.add_note(f"a note: {secret}")
    text = logged(error, known(secret), style)
    assert "s3cret" not in text
    assert "<***>" in text


def test_a_secret_is_masked_however_it_is_quoted():
    secret = "s3cret's p@ss/wörd!(1)"
    escaped = quote(secret, safe="")
    texts = {
        "within a text with both quotes": repr(f"it's \"{secret}"),
        "in ASCII": ascii(secret),
        "in a URL": escaped,
        "in a URL, lower case": re.sub("%..", lambda found: found[0].lower(), escaped),
        "in a URL, as JavaScript encodes it": quote(secret, safe="!~*'()"),
        "in JSON": json.dumps(secret),
    }
    redact = known(secret)
    for what, text in texts.items():
        assert redact(text).replace(MASK, "").strip("it\\'s \"") == "", what


KEY = "sk-proj-" + "Ab3dE" * 30


@pytest.mark.parametrize(
    ("length", "after"),
    [
        *(
            (length, after)
            for length in (8, 30, 100, len(KEY) - 1)
            for after in ("...", "...'}", "\u2026 (401)")
        ),
        *((length, "") for length in (16, 30, 100, len(KEY) - 1)),
    ],
)
def test_what_a_cut_left_of_a_secret_is_masked(length, after):
    """As where a plugin cuts an upstream's "Incorrect API key provided: sk-..." before anybody masks it."""
    redact = known(KEY)
    assert redact(f"provided: {KEY[:length]}{after}") == f"provided: ***{after}"
    assert redact.value({"a": [f"{KEY[:length]}{after}"]}) == {"a": [f"***{after}"]}


def test_what_only_begins_as_a_secret_does_is_shown():
    redact = Redactor(["password-of-mine", "password-of-theirs", "short-1"])
    for text in (
        "password",
        "passwo...",
        "passwords...",
        "password of ... mine",
        "short-...",
        "the password-file is",
    ):
        assert redact(text) == text
    assert redact("password-of-t... password-of-m... password-of-x...") == "***... ***... password-of-x..."


def test_a_text_full_of_beginnings_is_no_work():
    redact = Redactor([f"{KEY[:60]}{number:03}" for number in range(1000)])
    text = KEY[:8] * 30_000
    began = time.process_time()
    assert redact(text) == text
    # 0.1 s; half a minute and more where each is held against all that begin so.
    assert time.process_time() - began < 20


def test_what_is_learned_at_the_same_time_is_masked_whoever_is_done_first(monkeypatch):
    """A reading that a reload gave up, since its file system hung, goes on in its thread."""
    redact = Redactor()
    began, ended = threading.Event(), threading.Event()
    alternatives = redaction._alternatives

    def slow(values, at=0):
        text = alternatives(values, at)
        if not began.is_set():
            began.set()
            ended.wait(0.2)
        return text

    monkeypatch.setattr(redaction, "_alternatives", slow)
    first = threading.Thread(target=redact.learn, args=(["first-key"],))
    first.start()
    assert began.wait(5)
    second = threading.Thread(target=lambda: (redact.learn(["second-key"]), ended.set()))
    second.start()
    first.join(5)
    second.join(5)
    assert redact("first-key second-key") == "*** ***"


def test_what_could_not_be_learned_is_learned_the_next_time(monkeypatch):
    redact = Redactor(["first-key"])
    with monkeypatch.context() as patch:
        patch.setattr(redaction, "_alternatives", lambda values: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            redact.learn(["second-key"])
    assert redact("first-key") == "***"
    redact.learn(["second-key"])
    assert redact("first-key second-key") == "*** ***"


def test_former_keys_are_told_apart_by_how_they_begin():
    """One after the other, a thousand of them would hold the event loop for 2 ms a log record and 7 s a megabyte."""
    keys = [
        f"{first}{second}{third}-key"
        for first in "abcdefghij"
        for second in "klmnopqrst"
        for third in "uvwxyz1234"
    ]
    alternatives, most = [1], 0
    for char in redaction._alternatives(keys):
        if char == "(":
            alternatives.append(1)
        elif char == ")":
            most = max(most, alternatives.pop())
        elif char == "|":
            alternatives[-1] += 1
    assert max([most, *alternatives]) == 10
    assert Redactor(keys)(" ".join(keys)) == " ".join([MASK] * 1000)
