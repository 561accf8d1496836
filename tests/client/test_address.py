"""Addresses as people write them."""

import pytest

from statusd.client import ClientError
from statusd.client.address import Address, node_path


@pytest.mark.parametrize(
    ("text", "where", "host_header", "shown"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000), "127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/", ("::1", 8000), "[::1]:8000", "http://[::1]:8000"),
        ("http://[fe80::1%eth0]:80", ("fe80::1%eth0", 80), "[fe80::1]:80", "http://[fe80::1%eth0]:80"),
        ("https://status.example/x/", ("status.example", 443), "status.example", "https://status.example/x"),
        ("HTTP://Status.Example", ("status.example", 80), "status.example", "http://status.example"),
        ("127.0.0.1:8000", ("127.0.0.1", 8000), "127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost:1", ("127.0.0.1", 1), "127.0.0.1:1", "http://127.0.0.1:1"),
        ("0.0.0.0:8000", ("127.0.0.1", 8000), "127.0.0.1:8000", "http://127.0.0.1:8000"),
        (":8000", ("127.0.0.1", 8000), "127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", ("::1", 8000), "[::1]:8000", "http://[::1]:8000"),
        ("tls:127.0.0.1:8443", ("127.0.0.1", 8443), "127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("tls:0.0.0.0:443", ("127.0.0.1", 443), "127.0.0.1:443", "https://127.0.0.1:443"),
        ("tls:[::]:8443", ("::1", 8443), "[::1]:8443", "https://[::1]:8443"),
        ("http://bücher.example", ("bücher.example", 80), "xn--bcher-kva.example", "http://bücher.example"),
    ],
)
def test_tcp_addresses(text, where, host_header, shown):
    address = Address.parse(text)
    assert (address.host, address.port) == where
    assert dict(address.headers())["Host"] == host_header
    assert str(address) == shown


@pytest.mark.parametrize("text", ["unix:/run/statusd/http.sock", "tls:unix:/run/statusd/http.sock"])
def test_a_unix_socket(text):
    address = Address.parse(text)
    assert (address.socket, str(address)) == ("/run/statusd/http.sock", text)
    assert address.is_tls is text.startswith("tls:")
    assert address.target("/state") == "/state"
    assert dict(address.headers())["Host"] == "localhost"


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "ftp://x", "http://", "fd://3", "127.0.0.1:0", "127.0.0.1", "unix:relative", "http://h/?x=1",
     "http://a b/", "http://[::1", "http://h:99999", f"http://{'x' * 300}/", "http://.../",
     "tls:", "tls:fd://3", "tls:tls:127.0.0.1:1", "tls:http://x", "tls:unix:relative", "tls:127.0.0.1:0"],
)  # fmt: skip
def test_what_is_no_address_says_what_is_expected(text):
    with pytest.raises(ClientError) as caught:
        Address.parse(text)
    assert caught.value.reason == "bad_address"
    assert 'expected such as "http://127.0.0.1:8000"' in caught.value.message


def test_credentials_go_into_the_header_and_nowhere_else():
    address = Address.parse("https://me:hunter2@status.example/")
    assert dict(address.headers())["Authorization"] == "Basic bWU6aHVudGVyMg=="
    assert "hunter2" not in f"{address} {address!r}"
    with pytest.raises(ClientError) as caught:
        Address.parse("ftp://me:hunter2@status.example/")
    assert "hunter2" not in caught.value.message


def test_a_prefix_stands_before_every_path():
    address = Address.parse("http://h/stat us/é/".replace(" ", "%20"))
    assert (
        address.target("/state/a%2Fb", since="1", wait="2") == "/stat%20us/%C3%A9/state/a%2Fb?since=1&wait=2"
    )


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("", ""), ("/models/a%2Fb/", "models/a%2Fb"), ("models/qwen2.5:7b", "models/qwen2.5:7b"),
        ("a b/%/100%zz", "a%20b/%25/100%25zz"), ("a/../b/.", "a/%2E%2E/b/%2E"), ("x?y#z", "x%3Fy%23z"),
        ("模", "%E6%A8%A1"), ("\r\nHost: x", "%0D%0AHost:%20x"), ("\ud800", "%3F"),
    ],
)  # fmt: skip
def test_a_node_path_can_always_stand_in_a_request(path, sent):
    assert node_path(path) == sent
