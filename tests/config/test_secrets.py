"""Secrets: by reference only, read with care, known to the redactor, and never in a message."""

from __future__ import annotations

import base64
import html
import json
import os
import time
from functools import partial
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statusd import Secret, Url
from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN, expand
from statusd.config.load import read_text
from statusd.config.scan import secrets_in
from statusd.config.secrets import MAX_SIZE
from statusd.config.urls import read_url, secret_span
from statusd.config.wording import mask_userinfo, quoted
from statusd.redaction import RETIRED, Redactor

FORMS = '{ env = "NAME" }, { credential = "name" } or { file = "/path" }'


@pytest.fixture
def read(resolved):
    """Return (what `api_key` became, secrets, faults) of a source with that key."""

    def read(reference, environ=None):
        found = resolved(f'[sources.x]\nplugin = "everything"\napi_key = {reference}', environ)
        [source] = found.sources
        assert source.fault == (("secret_unreadable", found.faults[0][1]) if found.faults else None)
        return source.options["api_key"], found.secrets, found.faults

    return read


@pytest.mark.parametrize(
    ("value", "content"),
    [("s3cret", b"s3cret"), ("s3cret", b"s3cret\n"), ("s3cret", b"s3cret\r\n"), (" a b ", b" a b \n")],
)
def test_a_file_gives_its_text_without_the_line_break_at_its_end(read, tmp_path, value, content):
    (tmp_path / "key").write_bytes(content)
    key, secrets, faults = read(f'{{ file = "{tmp_path}/key" }}')
    assert (key, faults) == (Secret(value), ())
    assert value in secrets


def test_a_credential_is_a_file_in_the_directory_that_systemd_names(read, tmp_path):
    (tmp_path / "omnirt-key").write_text("s3cret\n")
    key, _, faults = read('{ credential = "omnirt-key" }', {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (key, faults) == (Secret("s3cret"), ())


def test_a_variable_gives_its_value_and_an_unset_or_empty_one_gives_no_key(read, resolved):
    assert read('{ env = "KEY" }', {"KEY": "s3cret"})[0] == Secret("s3cret")
    assert read('{ env = "${NAME}" }', {"KEY": "s3cret", "NAME": "KEY"})[0] == Secret("s3cret")
    assert read('{ env = "KEY" }') == (None, (), ())
    assert read('{ env = "KEY" }', {"KEY": ""}) == (None, (), ())
    text = '[sources.x]\nplugin = "everything"\ntoken = { env = "KEY" }'
    assert resolved(text).sources[0].options == {"token": Secret("")}


def test_a_secret_and_its_percent_encoded_form_are_known_unless_too_short_to_be_found(read):
    assert set(read('{ env = "KEY" }', {"KEY": "s3/cret"})[1]) == {
        "s3/cret", "s3%2Fcret", "s3%2fcret", "czMvY3JldA",
    }  # fmt: skip
    assert read('{ env = "KEY" }', {"KEY": "abc"})[1] == ()


def test_a_secret_is_known_as_tracebacks_and_json_spell_it(read):
    key = 'päss\\"word'
    known = read('{ env = "KEY" }', {"KEY": key})[1]
    assert {str(KeyError(key)).strip("'"), json.dumps({"key": key})[9:-2]} <= set(known)


SPELLINGS = {
    "as it is": str,
    "path": partial(quote, safe=""),
    "URL": quote,
    "form": quote_plus,
    "JSON in ASCII": lambda text: json.dumps(text)[1:-1],
    "JSON": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "msgspec": lambda text: msgspec.json.encode(text).decode()[1:-1],
    "repr": lambda text: repr(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "HTML": html.escape,
    "Base64": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "Base64 of URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@settings(deadline=None)
@given(secret=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4, max_size=12))
def test_however_others_spell_a_secret_it_is_masked(spell, secret):
    findings = Findings(environ={})
    findings.secret(secret)
    assert spell(secret) not in Redactor(findings.secrets)(spell(secret))


def test_the_configuration_shows_no_secret(resolved):
    text = (
        '[sources.x]\nplugin = "everything"\nurl = "${URL}"\napi_key = { env = "KEY" }\n'
        'text = "${KEY}"\n[sinks.journal]\ntoken = { env = "KEY" }'
    )
    environ = {"KEY": "s3cret", "URL": "http://u:pa55@h/"}
    assert not {"s3cret", "pa55"} & set(repr(resolved(text, environ)).replace("'", " ").split())
    assert "s3cret" not in repr(resolved(text, environ))
    assert "pa55" not in repr(resolved(text, environ))


def test_what_cannot_be_read_is_a_fault_of_the_surroundings_with_the_remedy(read, tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "big").write_bytes(b"x" * (MAX_SIZE + 1))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, expected in (
        ("absent", "does not exist; create it, or correct the path."),
        ("empty/x", "does not exist; create it, or correct the path."),
        ("", "is no regular file; name the file that holds the secret."),
        ("fifo", "is no regular file; name the file that holds the secret."),
        ("loop", "cannot be read; correct the path."),
        ("empty", "is empty; write the secret into it, or remove the key."),
        ("binary", "is not UTF-8; write the secret as text."),
        ("big", "is over 65536 bytes; name the file that holds only the secret."),
    ):
        key, secrets, faults = read(f'{{ file = "{tmp_path}/{name}" }}')
        assert faults == (("sources.x.api_key", f"The file {quoted(f'{tmp_path}/{name}')} {expected}"),)
        assert (key, secrets) == (None, ())


def test_a_file_without_permission_is_a_fault(read, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(13, "refused")

    monkeypatch.setattr(os, "open", refuse)
    assert read('{ file = "/key" }')[2] == (
        (
            "sources.x.api_key",
            (
                'The file "/key" may not be read by statusd; '
                "give the user it runs as the right to, or use a credential."
            ),
        ),
    )


def test_a_credential_without_its_directory_is_a_fault(read, tmp_path):
    assert read('{ credential = "k" }')[2] == (
        (
            "sources.x.api_key",
            (
                'The credential "k" is not there, since $CREDENTIALS_DIRECTORY is not set; '
                "add LoadCredential=k:/path to the systemd unit."
            ),
        ),
    )
    absent = read('{ credential = "k" }', {"CREDENTIALS_DIRECTORY": str(tmp_path)})[2]
    assert absent == (
        ("sources.x.api_key", 'The credential "k" does not exist; create it, or correct the path.'),
    )


def test_a_variable_that_is_not_utf8_is_a_fault(read):
    assert read('{ env = "KEY" }', {"KEY": "\udcff"})[2] == (
        ("sources.x.api_key", "The value of the variable KEY is not UTF-8; correct it."),
    )


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ('"s3cret"', f"api_key: a secret is given by reference, found a string; write {FORMS}"),
        ("12345", f"api_key: a secret is given by reference, found an integer; write {FORMS}"),
        ('["s3cret"]', f"api_key: a secret is given by reference, found an array; write {FORMS}"),
        ('"${KEY}"', 'api_key: a secret is given by reference; write { env = "KEY" }'),
        ('"${KEY:-}"', 'api_key: a secret is given by reference; write { env = "KEY" }'),
        ('"${KEY:-s3cret}"', f"api_key: a secret is given by reference, found a string; write {FORMS}"),
        ("{}", f"api_key: a secret wants exactly one of {FORMS}; found none"),
        (
            '{ env = "A", file = "/s3cret" }',
            f'api_key: a secret wants exactly one of {FORMS}; found "env" and "file"',
        ),
        ('{ value = "s3cret" }', 'api_key.value: unknown key; expected "credential", "env" or "file"'),
        ('{ fiel = "/s3cret" }', 'api_key.fiel: unknown key; did you mean "file"?'),
        ("{ env = 1 }", "api_key.env: expected a string, found the integer 1"),
        (
            '{ env = "s3cret-key" }',
            'api_key.env: not the name of a variable; write one such as "OMNIRT_API_KEY"',
        ),
        (
            '{ credential = "../s3cret" }',
            'api_key.credential: not the name of a credential; write one without "/", as in LoadCredential= of the unit',
        ),
        ('{ file = "s3cret" }', 'api_key.file: not an absolute path; write it from "/" on'),
    ],
)
def test_anything_but_a_sound_reference_is_a_mistake_that_shows_nothing_of_it(
    one_mistake, reference, message
):
    assert one_mistake(f"api_key = {reference}", {"KEY": "s3cret"}) == message


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\u0000b", "x" * 256])
def test_no_credential_name_leads_out_of_the_directory(one_mistake, name):
    assert one_mistake(f'api_key = {{ credential = "{name}" }}').startswith(
        "api_key.credential: not the name"
    )


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("${URL}", {"URL": "http://u:pa55@h/"}),
        ("http://u:${PW}@h/", {"PW": "pa55"}),
        ("http://${U}@h/", {"U": "pa55"}),
        ("http://u:p${PW}@h/", {"PW": "a55"}),
        ("http://${U:-}:${P:-}@h/", {}),
    ],
)
def test_userinfo_may_come_from_the_environment(options, text, environ):
    assert options(f'url = "{text}"', environ)["url"].host == "h"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("http://u:pa55@h/", {}),
        ("http://pa55@h/", {}),
        ("http://:pa55@h/", {}),
        ("http://u:pa55@${H}/", {"H": "h"}),
        ("http://${U}:pa55@h/", {"U": "u"}),
        ("${URL:-http://u:pa55@h/}", {}),
        ("http://u:pa55@x@h/", {}),
    ],
)
def test_userinfo_in_the_file_is_a_mistake_that_does_not_show_it(one_mistake, text, environ):
    message = one_mistake(f'url = "{text}"', environ)
    assert "pa55" not in message
    assert message.endswith(
        "holds a user name or password, which must not stand in the file; write ${VARIABLE} in its place"
    )


def test_the_password_key_is_the_remedy_where_there_is_one(mistakes):
    [mistake] = mistakes('[sources.q]\nplugin = "wanting"\nurl = "redis://:pa55@h:1/0"')
    assert mistake == (
        'sources.q.url: "redis://***@h:1/0" holds a user name or password, which must not stand in the file; '
        'write ${VARIABLE} in its place or use the key "password"'
    )


def test_every_form_of_a_urls_secret_is_known(resolved):
    text = '[sources.x]\nplugin = "everything"\nurl = "${URL}"\nmirrors = ["${TOKEN}"]'
    environ = {"URL": "http://user:pa%2F55@h", "TOKEN": "http://t0ken@h"}
    assert {"pa/55", "pa%2F55", "dXNlcjpwYS81NQ==", "t0ken"} <= set(resolved(text, environ).secrets)


def test_a_query_is_not_shown(one_mistake):
    assert one_mistake('url = "ftp://h/?key=pa55"') == (
        'url: "ftp://h/?***" has the scheme "ftp://"; expected "http://", "https://"'
    )


word = st.text(alphabet="abcXYZ019._~-", min_size=1, max_size=8)


@settings(deadline=None)
@given(word, word, word, st.sampled_from(["", "/", "/a@b", "?q=@", "#@"]))
def test_the_secret_of_a_url_is_found_where_the_parser_finds_it(user, password, host, rest):
    text = f"http://{user}:{password}@{host}{rest}"
    start, end = secret_span(text)
    assert text[start:end] == password == Url.parse(text).password.reveal()
    assert secret_span(f"http://{host}{rest}") is None


@settings(deadline=None)
@given(word, word, word, st.booleans())
def test_a_url_is_taken_exactly_when_its_secret_is_the_environments(user, password, host, is_expanded):
    password = f"pa55{password}"
    written = f"http://{user}:{'${PW}' if is_expanded else password}@{host}"
    findings = Findings(environ={})
    url = read_url(expand(written, {"PW": password}), "x", findings)
    assert (url is BROKEN) is not is_expanded
    assert bool(findings.mistakes) is not is_expanded
    assert not any("pa55" in str(mistake) for mistake in findings.mistakes)


@settings(deadline=None)
@given(st.text(), st.text())
def test_what_stands_before_an_at_sign_is_never_shown(before, after):
    assert mask_userinfo(f"{before}@{after}").rpartition("@")[0].rpartition("://")[2] == "***"


@pytest.mark.parametrize("text", ["k" * (1 << 20), "://" * (1 << 18), "a@" * (1 << 19)])
def test_a_text_of_any_length_is_masked_at_once(text):
    began = time.process_time()
    mask_userinfo(text)
    assert time.process_time() - began < 1.0  # an expression that begins anew at each character takes hours


def test_secrets_are_known_before_any_plugin_is(tmp_path):
    (tmp_path / "key").write_text("by-file\n")
    text = f"""
[sources.x]
plugin = "not-installed"
anything = {{ env = "KEY" }}
deeper = [{{ inner = {{ file = "{tmp_path}/key" }} }}, "http://${{TOKEN}}@h"]
unreadable = {{ credential = "none" }}
written = "http://h/?${{TOKEN}}"
[views.page]
token = {{ env = "PAGE" }}
"""
    environ = {"KEY": "by-variable", "TOKEN": "by%2Furl", "PAGE": "by-view"}
    found = secrets_in(read_text(text, "test.toml", environ))
    assert {"by-variable", "by-file", "by/url", "by%2Furl", "by-view", "YnkvdXJsOg=="} <= set(found)


def test_values_of_header_fields_that_look_secret_are_known_where_the_environment_gave_them(tmp_path):
    text = (
        '[sources.x]\nplugin = "http"\nurl = "http://h"\nheaders = { X-Auth-Token = "${A}", Cookie = "id=${B}", '
        'X-Tenant = "${C}", x-api-key = "in-the-file" }\nkey = "${C}"'
    )
    environ = {"A": "s3cret-a", "B": "s3cret-b", "C": "tenant"}
    known = secrets_in(read_text(text, "x.toml", environ))
    assert {"s3cret-a", "s3cret-b"} <= set(known)
    assert "tenant" not in known
    assert "in-the-file" not in known


def test_the_secrets_of_a_source_whose_plugin_is_missing_are_masked_too(resolved):
    text = '[sources.x]\nplugin = "not-installed"\nkey = { env = "KEY" }'
    assert resolved(text, {"KEY": "s3cret"}).secrets == ("czNjcmV0", "s3cret")


def test_secrets_known_before_stay_masked_and_the_oldest_are_forgotten():
    redact = Redactor(["first-key"])
    redact.learn(["second-key"])
    assert redact("first-key second-key") == "*** ***"
    keys = [f"key-number-{number:05}" for number in range(RETIRED + 5)]
    redact.learn(keys)
    assert redact(f"first-key {keys[0]} {keys[-1]}") == "*** *** ***"  # those of now are no retired ones
    redact.learn(["key-of-today"])
    assert redact(f"first-key {keys[4]}") == f"first-key {keys[4]}"
    assert redact(f"{keys[5]} {keys[-1]} key-of-today") == "*** *** ***"
    redact.learn([])
    redact.learn([])
    assert redact(f"{keys[6]} {keys[-1]} key-of-today {keys[5]}") == f"*** *** *** {keys[5]}"


def test_a_secret_that_is_used_again_outlives_those_that_were_retired_since():
    redact = Redactor(["old-key"])
    redact.learn([f"key-number-{number:05}" for number in range(RETIRED)])
    redact.learn(["old-key"])
    redact.learn(["key-of-today"])
    assert redact(f"old-key key-number-{0:05} key-number-{1:05}") == f"*** key-number-{0:05} ***"


def test_a_long_key_is_looked_at_once():
    key = "-" + "key" * 300_000  # an expression that goes back would take hours
    text = f'[sources.a]\nplugin = "x"\nheaders = {{ "{key}\\nx" = "${{TOKEN}}" }}'
    assert "hunter2" in secrets_in(read_text(text, "x.toml", {"TOKEN": "hunter2"}))


@pytest.mark.parametrize(
    ("key", "is_known"),
    [
        ("Cookie", True),
        ("set-cookie", True),
        ("X-API-Key", True),
        ("x-secrets-of", True),
        ("key", False),
        ("api_key", False),
        ("cookies", False),
        ("x-name", False),
    ],
)
def test_which_header_fields_have_secrets(key, is_known):
    text = f'[sources.a]\nplugin = "x"\nheaders = {{ "{key}" = "${{TOKEN}}" }}'
    assert ("hunter2" in secrets_in(read_text(text, "x.toml", {"TOKEN": "hunter2"}))) is is_known
