from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from statusd import segment
from statusd.web.target import canonical, is_host, origin_form, refusal

PATHS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30).map(
    lambda text: "/" + text
)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"/", b"/"),
        (b"GET", b"/state?x=1", b"/state?x=1"),
        (b"GET", b"http://a.example/state?x=1", b"/state?x=1"),
        (b"GET", b"HTTPS://a.example:8000", b"/"),
        (b"GET", b"http://a.example?x", b"/?x"),
        (b"OPTIONS", b"http://a.example", b"*"),
        (b"OPTIONS", b"*", b"*"),
        (b"GET", b"*", None),
        (b"GET", b"?x=1", None),
        (b"GET", b"state", None),
        (b"GET", b"http://", None),
        (b"GET", b"http:///state", None),
        (b"GET", b"ftp://a.example/state", None),
        (b"CONNECT", b"a.example:443", None),
    ],
)
def test_targets_come_to_origin_form_or_are_refused(method, target, expected):
    assert origin_form(method, target) == expected


@pytest.mark.parametrize(
    "host", [b"", b"localhost", b"a.example:8000", b"127.0.0.1:", b"[::1]:80", b"my_host%41"]
)
def test_valid_hosts_are_taken(host):
    assert is_host(host)


@pytest.mark.parametrize(
    "host", [b"a b", b"a/b", b"\xff", b"[::1", b"a:b:c", b"a@b", b"a,b c", b"a:80x", b"a\n"]
)
def test_invalid_hosts_are_refused(host):
    assert not is_host(host)


@given(PATHS)
def test_canonical_paths_stay_as_they_are(path):
    assert canonical(canonical(path)) == canonical(path)


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=8), max_size=5))
@example([".", "..", "..."])
def test_every_spelling_of_a_path_is_the_one_of_the_tree(names):
    tree = "/".join(["", *map(segment, names)])
    everything = "/".join(["", *("".join(f"%{b:02x}" for b in name.encode()) for name in names)])
    sparing = "/".join(["", *(quote(name, safe=":@!$&'()*+,;=") for name in names)])
    assert canonical(tree) == canonical(everything) == canonical(sparing) == tree


def test_an_encoded_slash_does_not_separate():
    assert canonical("/models/a%2fb") == "/models/a%2Fb" != canonical("/models/a/b")


def test_invalid_utf8_is_kept_as_bytes():
    assert canonical("/%ff%C3") == "/%FF%C3"


@pytest.mark.parametrize(
    ("version", "headers", "expected"),
    [
        (b"1.1", {b"host": b"a"}, 0),
        (b"1.1", {b"host": b""}, 0),
        (b"1.0", {}, 0),
        (b"1.1", {}, 400),
        (b"1.3", {}, 400),
        (b"1.0", {b"host": b"a b"}, 400),
        (b"1.1", {b"host": b"a", b"content-length": b"0", b"transfer-encoding": b"chunked"}, 400),
        (b"2.0", {b"host": b"a"}, 505),
    ],
)
def test_some_requests_are_refused_whatever_they_ask_for(version, headers, expected):
    assert refusal(version, headers) == expected
