"""hosts and cors_origins of [http]: as a request's Host and Origin have them, or a mistake that says how."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.config.findings import Findings
from statusd.config.http_names import read_hosts, read_origins


def hosts(*entries):
    findings = Findings(environ={})
    return read_hosts(list(entries), findings), [str(mistake) for mistake in findings.mistakes]


def origins(*entries):
    findings = Findings(environ={})
    return read_origins(list(entries), findings), [str(mistake) for mistake in findings.mistakes]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("status.example.org", "status.example.org"),
        ("Status.Example.ORG.", "status.example.org"),
        ("gpu_host-1", "gpu_host-1"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("MÜNCHEN.example.", "xn--mnchen-3ya.example"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("10.0.0.7", "10.0.0.7"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("2001:db8:0::1", "2001:db8::1"),
        ("a" * 63 + ".b", "a" * 63 + ".b"),
    ],
)
def test_a_name_is_taken_as_browsers_send_it(entry, name):
    assert hosts(entry) == ((name,), [])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a.example:8000", '"a.example:8000" has a port; write "a.example"'),
        ("a.example:", '"a.example:" has a port; write "a.example"'),
        ("[::1]:8000", '"[::1]:8000" has a port; write "[::1]"'),
        (":8000", '":8000" has a port; write it without'),
        ("https://a.example/", '"https://a.example/" is a URL; write "a.example"'),
        ("https://a.example", '"https://a.example" is a URL; write "a.example"'),
        ("*.example.org", '"*.example.org" is a pattern; list each name by itself'),
        ("*", '"*" is a pattern; list each name by itself'),
        (
            "faß.example",
            '"faß.example" cannot be encoded for certain; write it as browsers send it, in A-labels ("xn--...")',
        ),
        (
            "ü" * 64,
            f'"{"ü" * 64}" cannot be encoded for certain; write it as browsers send it, in A-labels ("xn--...")',
        ),
        *(
            (entry, f'"{entry}" is no host name; write one such as "status.example.org"')
            for entry in (
                *("", ".", "a..b", ".a", "a b", "a/b", "-a", "a-", "1.2.3", "300.1.1.1", "1", "a.1"),
                *("[1.2.3.4]", "[::1", "::1]", "[]", "::g", "fe80::1%eth0", "a" * 64),
            )
        ),
        ("me@h", '"***@h" is no host name; write one such as "status.example.org"'),
        ("a" * 1025, f'"{"a" * 80}…" is over 1024 characters; shorten it'),
        (".".join(["a" * 49] * 6), (f'"{".".join(["a" * 49] * 6)[:80]}…" is no host name; '
         'write one such as "status.example.org"')),
    ],
)  # fmt: skip
def test_what_is_no_name_is_told_with_the_remedy(entry, message):
    assert hosts(entry) == ((), [f"http.hosts[0]: {message}"])


def test_a_name_is_listed_once_however_it_is_written():
    assert hosts("a", "b", "A.")[1] == ['http.hosts[2]: "A." is listed twice; remove one']
    assert hosts("::1", "[0::1]")[1] == ['http.hosts[1]: "[0::1]" is listed twice; remove one']


@pytest.mark.parametrize(
    "origin",
    [
        "https://ui.example.org",
        "http://localhost:5173",
        "https://ui.example.org:8443",
        "http://10.0.0.7",
        "http://[2001:db8::1]:8080",
        "https://xn--mnchen-3ya.example",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "https://a:80",
    ],
)
def test_an_origin_is_taken_as_browsers_send_it(origin):
    assert origins(origin) == ((origin,), [])


@pytest.mark.parametrize(
    ("entry", "instead"),
    [
        ("https://ui.example.org/", "https://ui.example.org"),
        ("https://ui.example.org/app?x=1#y", "https://ui.example.org"),
        ("https://ui.example.org:443", "https://ui.example.org"),
        ("http://ui.example.org:80/", "http://ui.example.org"),
        ("http://ui.example.org:", "http://ui.example.org"),
        ("http://ui.example.org:08080", "http://ui.example.org:8080"),
        ("HTTPS://UI.Example.org", "https://ui.example.org"),
        ("http://[0:0::1]", "http://[::1]"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
    ],
)
def test_an_origin_that_browsers_send_otherwise_is_told_as_they_do(entry, instead):
    assert origins(entry) == (
        (),
        [
            f'http.cors_origins[0]: {quoted(entry)} is not the origin as browsers send it; write "{instead}"',
        ],
    )
    assert origins(instead) == ((instead,), [])


def quoted(text):
    return f'"{text}"'


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "",
            "ui.example.org",
            "//ui.example.org",
            "https://",
            "https:///x",
            "file:///x",
            "http:ui.example.org",
        ),
        *("http://a:0", "http://a:65536", "http://a:x", "http://::1", "http://[10.0.0.7]", "http://a b"),
        *("https://faß.example", "*.example.org", "https://*.example.org", "http://a:" + "9" * 1000),
    ],
)
def test_what_is_no_origin_is_told_with_an_example(entry):
    [mistake] = origins(entry)[1]
    assert mistake.endswith(' is no origin; write one such as "https://status.example.org:8443"')


def test_an_origin_with_userinfo_does_not_show_it():
    assert origins("https://me:pa55@h")[1] == [
        'http.cors_origins[0]: "https://***@h" is no origin; write one such as "https://status.example.org:8443"'
    ]


def test_every_origin_stands_alone_and_no_origin_is_none():
    assert origins("*") == (("*",), [])
    assert origins("*", "https://a")[1] == [
        'http.cors_origins: "*" stands for every origin; write it alone, or remove it'
    ]
    assert origins("*", "*")[1] == [
        'http.cors_origins[1]: "*" is listed twice; remove one',
        'http.cors_origins: "*" stands for every origin; write it alone, or remove it',
    ]
    assert origins("null")[1] == [
        (
            'http.cors_origins[0]: "null" is what pages without an origin send, hostile ones too; '
            "name the origins that are meant"
        )
    ]


@given(st.text(max_size=30) | st.from_regex(r"\A[a-zA-Z]+://[\[\]a-zü0-9.:%_-]+(/.*)?\Z"))
def test_whatever_is_written_is_taken_in_a_form_that_is_taken_again_or_is_told(text):
    for read in (hosts, origins):
        names, mistakes = read(text)
        assert len(names) + len(mistakes) == 1
        for name in names:
            assert name.isascii()
            assert name == name.lower()
            assert read(name) == (names, [])


@given(st.ip_addresses())
def test_every_address_is_a_host_and_part_of_an_origin(address):
    name = f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)
    assert hosts(name) == ((str(address),), [])
    assert origins(f"http://{name}:1") == ((f"http://{name}:1",), [])
