import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Secret, Url
from statusd.redaction import Redactor
from statusd.values import Bind

words = st.text(alphabet="abcXYZ019", min_size=1, max_size=12)


@given(words.filter(lambda text: text not in "Secret"))
def test_a_secret_shows_nowhere_but_on_request(text):
    secret = Secret(text)
    assert text not in f"{secret} {secret!r} {[secret]} {secret!s:>10}"
    assert secret.reveal() == text


def test_an_empty_secret_is_false():
    assert not Secret()
    assert Secret("x")
    assert str(Secret()) == ""


@given(words, words, words, st.integers(1, 65535) | st.none())
def test_a_url_shows_everything_but_its_userinfo(user, password, path, port):
    where = f":{port}" if port else ""
    url = Url.parse(f"http://{user}:{password}@host.example{where}/{path}?q=1")
    assert str(url) == f"http://***@host.example{where}/{path}?q=1"
    assert (url.username.reveal(), url.password.reveal(), url.port) == (user, password, port)
    assert repr(url) == f"Url('{url}')"


def test_userinfo_is_percent_decoded_and_every_form_is_known_to_the_redactor():
    url = Url.parse("redis://user:p%40ss%2Fword@host")
    assert url.password.reveal() == "p@ss/word"
    basic = base64.b64encode(b"user:p@ss/word").decode()
    assert set(url.secrets()) == {"p@ss/word", "p%40ss%2Fword", basic}
    assert url.basic_authorization.reveal() == f"Basic {basic}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host:80", "begin with a scheme"),
        ("http://[::1", "IPv6"),
        ("http://host:0", "port"),
        ("http://host:99999", "port"),
        ("http://host:x", "port"),
        ("http://ho st", "spaces"),
        ("http://host/\r\nX: y", "control"),
    ],
)
def test_what_is_no_url_says_why_and_never_repeats_it(text, words):
    with pytest.raises(ValueError, match=words) as caught:
        Url.parse(text)
    assert text not in str(caught.value)


def test_a_bad_url_with_a_password_leaks_it_in_no_traceback():
    with pytest.raises(ValueError) as caught:
        Url.parse("http://user:hunter2@[::1")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_empty_url_is_false():
    assert not Url.parse("")
    assert not Url.parse("  ")
    assert str(Url()) == ""


@pytest.mark.parametrize(
    ("text", "authority", "target"),
    [
        ("http://host", "host", "/"),
        ("http://[::1]:8000/a?b=c", "[::1]:8000", "/a?b=c"),
        ("HTTP://HOST:80/A", "host:80", "/A"),
    ],
)
def test_the_parts_a_request_needs(text, authority, target):
    url = Url.parse(text)
    assert (url.authority, url.target) == (authority, target)


@pytest.mark.parametrize(
    ("base", "path", "joined"),
    [
        ("http://h", "/status", "http://h/status"),
        ("http://h/", "/status", "http://h/status"),
        ("http://h/prefix/", "status", "http://h/prefix/status"),
        ("http://h/prefix?x=1", "/status", "http://h/prefix/status"),
        ("http://h/prefix", "", "http://h/prefix"),
    ],
)
def test_a_path_is_appended_with_one_slash(base, path, joined):
    assert str(Url.parse(base).with_path(path)) == joined


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("[::1]:0", "[::1]:0"),
        ("localhost:80", "127.0.0.1:80"),
        (":8000", "0.0.0.0:8000"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("fd://3", "fd://3"),
    ],
)
def test_an_address_to_listen_on(text, back):
    bind, with_tls = Bind.parse(text), Bind.parse(f"tls:{text}")
    assert (str(bind), bind.is_tls) == (back, False)
    assert (str(with_tls), with_tls.is_tls) == (f"tls:{back}", True)
    assert with_tls.plain == bind.plain == bind
    assert Bind.parse(str(with_tls)) == with_tls


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8000",
        "host:80",
        "::1:80",
        "[127.0.0.1]:80",
        "127.0.0.1:70000",
        "unix:rel",
        "fd://x",
        "1.2.3.4:-1",
        "tls:",
        "tls:8000",
        "tls://127.0.0.1:8443",
        "tls:tls:127.0.0.1:8443",
        "TLS:127.0.0.1:8443",
        "unix:tls:/x",
    ],
)
def test_what_is_no_address_says_what_is_expected(text):
    with pytest.raises(ValueError, match="expected"):
        Bind.parse(text)


@pytest.mark.parametrize(
    ("scheme", "meant"), [("http", '"127.0.0.1:8000"'), ("https", '"tls:127.0.0.1:8443"')]
)
def test_a_url_to_listen_on_says_what_is_meant(scheme, meant):
    with pytest.raises(ValueError, match=f"^is a URL; expected .*, as in {meant}$"):
        Bind.parse(f"{scheme}://127.0.0.1:80")


@given(st.lists(st.text(min_size=4, max_size=20), max_size=4), st.text(), st.text())
def test_the_redactor_leaves_no_secret(secrets, before, after):
    redact = Redactor(secrets)
    for secret in secrets:
        if not set(secret) <= set("*"):
            assert secret not in redact(before + secret + after).replace("***", "\0")


def test_the_redactor_masks_inside_json_values():
    redact = Redactor(["hunter2"])
    assert redact.value({"hunter2": ["a hunter2", 1, None]}) == {"***": ["a ***", 1, None]}
    assert Redactor().value({"hunter2": 1}) == {"hunter2": 1}


def test_what_is_too_short_to_be_a_secret_blanks_out_nothing():
    assert Redactor(["a", ""])("banana") == "banana"


def test_a_bare_url_has_neither_userinfo_nor_query():
    assert str(Url.parse("http://me:pw@h:1/a?key=x").bare) == "http://h:1/a"
    assert not Url().bare
