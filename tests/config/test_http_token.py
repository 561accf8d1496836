"""[http] token: by reference, None where none is configured, empty where it is not there; known to the redactor."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from statusd import Secret
from statusd.commands.check import check
from statusd.config import read_text, secrets_in
from statusd.planning import plan
from statusd.redaction import Redactor
from tests.integration.inprocess import running

TOKEN = "t0ken-of-the-daemon"
FORMS = '{ env = "NAME" }, { credential = "name" } or { file = "/path" }'


def read(reference, environ=None):
    return read_text(f"[http]\ntoken = {reference}", "test.toml", environ or {})


def read_sound(reference, environ=None):
    found = read(reference, environ)
    assert (found.mistakes, found.faults) == ((), ())
    return found.http.token


def the_fault(reference, environ=None):
    """Return the message of the only fault; nobody gets in."""
    found = read(reference, environ)
    assert found.mistakes == ()
    assert found.http.token == Secret()
    assert found.http.token is not None
    [fault] = found.faults
    assert (fault.path, fault.reason) == ("http.token", "secret_unreadable")
    return fault.message


def test_without_the_key_there_is_none():
    assert read_text("[http]", "test.toml", {}).http.token is None


def test_it_comes_by_variable_credential_or_file(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_sound('{ env = "T" }', {"T": TOKEN}) == Secret(TOKEN)
    assert read_sound(f'{{ file = "{tmp_path}/token" }}') == Secret(TOKEN)
    assert read_sound('{ credential = "token" }', {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == Secret(TOKEN)


def test_a_token_in_the_place_of_a_variables_name_is_not_shown():
    assert "t0kenInTheFile" not in the_fault('{ env = "t0kenInTheFile" }')


@pytest.mark.parametrize("environ", [{}, {"T": ""}])
def test_an_unset_or_empty_variable_is_a_fault_and_the_empty_token(environ):
    assert the_fault('{ env = "T" }', environ) == (
        "The variable that env names is not set or empty; set it to the token, or remove the key to want none."
    )


def test_what_cannot_be_read_is_a_fault_and_the_empty_token(tmp_path):
    (tmp_path / "empty").write_text("\n")
    os.mkfifo(tmp_path / "fifo")
    assert the_fault(f'{{ file = "{tmp_path}/absent" }}').endswith("create it, or correct the path.")
    assert the_fault(f'{{ file = "{tmp_path}/fifo" }}').endswith("name the file that holds the secret.")
    assert the_fault(f'{{ file = "{tmp_path}/empty" }}').endswith(
        "write the secret into it, or remove the key."
    )
    assert the_fault('{ credential = "c" }').endswith("add LoadCredential=c:/path to the systemd unit.")


@pytest.mark.parametrize(
    "text", [f"{TOKEN} {TOKEN}", f"{TOKEN}\n", f"\ufeff{TOKEN}", f"{TOKEN}ü", f"\x7f{TOKEN}", " "]
)
def test_a_token_that_no_header_can_carry_is_not_there_and_is_not_shown(text):
    found = read('{ env = "T" }', {"T": text})
    assert the_fault('{ env = "T" }', {"T": text}) == (
        "The token holds characters other than visible ASCII, which no request can carry; "
        "write one such as `openssl rand -hex 32` prints."
    )
    assert text.strip() == "" or TOKEN not in repr(found)
    assert len(text) < 4 or text in found.secrets


def test_a_token_that_is_too_long_to_be_sent_is_not_there():
    assert read_sound('{ env = "T" }', {"T": "x" * 1024}) == Secret("x" * 1024)
    assert the_fault('{ env = "T" }', {"T": "x" * 1025}).startswith("The token is over 1024 characters")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (f'"{TOKEN}"', f"http.token: a secret is given by reference, found a string; write {FORMS}"),
        ('"${T}"', 'http.token: a secret is given by reference; write { env = "T" }'),
        ("{}", f"http.token: a secret wants exactly one of {FORMS}; found none"),
        (
            f'{{ env = "{TOKEN}" }}',
            'http.token.env: not the name of a variable; write one such as "OMNIRT_API_KEY"',
        ),
        (f'{{ value = "{TOKEN}" }}', 'http.token.value: unknown key; expected "credential", "env" or "file"'),
        (
            '{ env = "${UNSET}" }',
            'http.token.env: the variable UNSET is not set; set it, or give a default as in "${UNSET:-default}"',
        ),
    ],
)
def test_anything_but_a_sound_reference_is_a_mistake_that_lets_nobody_in(reference, message):
    found = read(reference, {"T": TOKEN})
    assert [str(mistake) for mistake in found.mistakes] == [message]
    assert found.http.token == Secret()


def test_it_shows_nowhere_and_is_masked_in_the_mistakes_of_others(resolved, mistakes):
    text = '[http]\ntoken = { env = "T" }\n'
    found = resolved(text, {"T": TOKEN})
    assert found.http.token.reveal() == TOKEN
    assert TOKEN in found.secrets
    assert TOKEN not in repr(found)
    settings = read_text(text, "test.toml", {"T": TOKEN})
    assert TOKEN in secrets_in(settings)
    assert TOKEN not in repr(settings)
    [mistake] = mistakes(f'{text}[models]\nm = "{TOKEN}"', {"T": TOKEN})
    assert mistake.startswith('models.m: "***" names no source')


def test_the_redactor_knows_it_before_any_plugin_is_loaded():
    redactor = Redactor()

    def points():
        assert redactor(f"Bearer {TOKEN}") == "Bearer ***"
        yield from ()

    plan(read('{ env = "T" }', {"T": TOKEN}), points=points(), redactor=redactor)
    assert redactor(TOKEN) == "***"


def test_check_names_the_fault(tmp_path):
    file = tmp_path / "statusd.toml"
    file.write_text('[http]\ntoken = { env = "T" }')
    findings = check(str(file), {})
    assert findings.mistakes == []
    assert [fault.path for fault in findings.faults] == ["http.token"]
    assert check(str(file), {"T": TOKEN}).faults == []


async def test_a_token_that_is_not_there_shows_where_no_token_is_wanted_and_in_the_log(caplog):
    async with running('[http]\ntoken = { env = "T" }', {}) as client:
        node = await client.get("/readyz/daemon/config?verbose")
    assert b"config_fault" in node.body
    assert "http.token: The variable that env names is not set or empty;" in caplog.text


# A file's text reaches the token as it is, whatever is in it.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
@example("x\r")
def test_every_text_is_a_token_that_can_be_sent_or_a_fault(tmp_path, text):
    (tmp_path / "token").write_bytes(text.encode(errors="replace"))
    found = read(f'{{ file = "{tmp_path}/token" }}')
    token = found.http.token.reveal()
    assert bool(token) is not bool(found.faults)
    assert all("!" <= char <= "~" for char in token)
