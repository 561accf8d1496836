"""The table [http]: addresses with TLS and for probes, the certificate, modes, shares, names and origins."""

from __future__ import annotations

import pytest

from statusd.config import read_text
from statusd.config.http import HttpSettings
from statusd.config.http_limits import LimitSettings
from statusd.config.http_tls import TlsFiles
from statusd.values import Bind

TLS = '[http.tls]\ncertificate = "/c"\nkey = "/k"\n'
CERTIFICATE = (
    "wants a certificate; add the table [http.tls] with the keys certificate and key, "
    'or write the address without "tls:"'
)
UNUSED = 'http.tls: no address uses it; put "tls:" before one in http.bind, as in "tls:0.0.0.0:8443", or remove the table'


def read(keys, environ=None, bind=None):
    return read_text(f"[http]\n{keys}", "test.toml", environ or {}, bind)


def http(keys, environ=None, bind=None):
    found = read(keys, environ, bind)
    assert (found.mistakes, found.faults) == ((), ())
    return found.http


def told(keys, environ=None, bind=None):
    return [str(mistake) for mistake in read(keys, environ, bind).mistakes]


def test_an_empty_table_gives_the_defaults():
    assert http("") == HttpSettings()
    assert http("") == HttpSettings(
        bind=(Bind(host="127.0.0.1", port=8000),),
        bind_probes=(),
        refresh_floor=1.0,
        front_stage=True,
        socket_mode=0o666,
        token=None,
        hosts=(),
        cors_origins=(),
        access_log=0.0,
        tls=None,
        limits=LimitSettings(),
    )


def test_each_key_is_taken():
    found = http(
        'bind = ["tls:[::1]:8443"]\nbind_probes = [":8001", "unix:/p"]\nfront_stage = false\nsocket_mode = 0o660\n'
        f'hosts = ["a"]\ncors_origins = ["*"]\naccess_log = 0.25\n{TLS}[http.limits]\nstreams = 7'
    )
    assert found == HttpSettings(
        bind=(Bind(host="::1", port=8443, is_tls=True),),
        bind_probes=(Bind(host="0.0.0.0", port=8001), Bind(path="/p")),
        front_stage=False,
        socket_mode=0o660,
        hosts=("a",),
        cors_origins=("*",),
        access_log=0.25,
        tls=TlsFiles(certificate="/c", key="/k"),
        limits=LimitSettings(streams=7),
    )


@pytest.mark.parametrize("key", ["bind", "bind_probes"])
def test_an_address_with_tls_wants_a_certificate(key):
    assert told(f'{key} = ["tls:127.0.0.1:1"]') == [f'http.{key}[0]: "tls:127.0.0.1:1" {CERTIFICATE}']
    others = 'bind = ["127.0.0.1:2"]\n' if key != "bind" else ""
    assert http(f'{others}{key} = ["tls:127.0.0.1:1"]\n{TLS}').tls is not None


def test_a_certificate_wants_an_address_with_tls():
    assert told(TLS) == [UNUSED]
    assert told(f'bind = ["127.0.0.1:1"]\nbind_probes = [":2"]\n{TLS}') == [UNUSED]


def test_addresses_of_the_command_line_replace_bind_alone():
    found = http(f'bind = ["tls:127.0.0.1:1"]\nbind_probes = [":2"]\n{TLS}', bind=["127.0.0.1:3"])
    assert found.bind == (Bind(host="127.0.0.1", port=3),)
    assert found.bind_probes == (Bind(host="0.0.0.0", port=2),)
    assert found.tls is not None
    assert http(TLS, bind=["tls:127.0.0.1:3"]).bind == (Bind(host="127.0.0.1", port=3, is_tls=True),)
    assert told("", bind=["tls:127.0.0.1:3"]) == [f'--bind[0]: "tls:127.0.0.1:3" {CERTIFICATE}']
    assert told('bind_probes = ["tls::2"]', bind=[":1"]) == [f'http.bind_probes[0]: "tls::2" {CERTIFICATE}']
    assert told("", bind=[]) == ['--bind: names no address; write one such as "127.0.0.1:8000"']


@pytest.mark.parametrize(
    ("bind", "probes"),
    [
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("127.0.0.1:1", "localhost:1"),
        ("127.0.0.1:1", "tls:127.0.0.1:1"),
        ("unix:/a", "unix:/a"),
        ("fd://3", "tls:fd://3"),
    ],
)
def test_no_address_is_in_both_lists_or_twice_in_one(bind, probes):
    table = '[http.tls]\ncertificate = "/c"\nkey = "/k"\n' if "tls:" in probes else ""
    assert told(f'bind = ["{bind}"]\nbind_probes = ["{probes}"]\n{table}') == [
        f'http.bind_probes[0]: "{probes}" is listed in http.bind too; remove one'
    ]
    assert told(f'bind_probes = ["{probes}"]\n{table}', bind=[bind]) == [
        f'http.bind_probes[0]: "{probes}" is listed in --bind too; remove one'
    ]
    for key in ("bind", "bind_probes"):
        assert told(f'{key} = ["{bind}", "{probes}"]\n{table}') == [
            f'http.{key}[1]: "{probes}" is listed twice; remove one'
        ]


@pytest.mark.parametrize(
    ("bind", "probes"),
    [("127.0.0.1:1", "0.0.0.0:1"), (":1", "tls:192.0.2.1:1"), ("[::1]:1", "[::]:1"), ("[::]:1", "[::1]:1")],
)
def test_a_port_of_every_address_is_one_of_each(bind, probes):
    table = TLS if "tls:" in probes else ""
    beside = f'"{probes}" cannot be opened beside "{bind}", since one of them is every address of this host; choose another port'
    assert told(f'bind = ["{bind}"]\nbind_probes = ["{probes}"]\n{table}') == [
        f"http.bind_probes[0]: {beside}"
    ]
    assert told(f'bind = ["{bind}", "{probes}"]\n{table}') == [f"http.bind[1]: {beside}"]


@pytest.mark.parametrize(
    "bind",
    [
        '"0.0.0.0:1", "[::]:1"',  # [::] is opened for IPv6 alone
        '"0.0.0.0:1", "[::1]:1"',
        '"0.0.0.0:1", "127.0.0.1:2"',
        '"0.0.0.0:0", "127.0.0.1:0"',
        '"127.0.0.1:1", "127.0.0.2:1"',
        '"unix:/a", "fd://3", "0.0.0.0:1"',
    ],
)
def test_other_addresses_go_together(bind):
    assert told(f"bind = [{bind}]") == []


def test_a_port_of_the_systems_choice_may_be_wanted_again_and_again():
    found = http('bind = ["[::1]:0", "[::1]:0"]\nbind_probes = ["[::1]:0"]')
    assert (len(found.bind), len(found.bind_probes)) == (2, 1)


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        (
            'bind_probes = ":80"',
            'http.bind_probes: expected an array of strings, found the string ":80"; write [":80"]',
        ),
        ("bind_probes = [80]", "http.bind_probes[0]: expected a string, found the integer 80"),
        (
            'bind = ["tls:tls:127.0.0.1:1"]',
            (
                'http.bind[0]: "tls:tls:127.0.0.1:1" has no IP address before the port; '
                'expected "127.0.0.1:8000", "[::1]:8000", "unix:/run/statusd/http.sock" or "fd://3"'
            ),
        ),
        ("connections_per_peer = 9", "http.connections_per_peer: belongs into [http.limits]; move it there"),
        ('certificate = "/c"', "http.certificate: belongs into [http.tls]; move it there"),
        ("front_stage = 1", "http.front_stage: expected a boolean, found the integer 1"),
        ('front_stage = "no"', 'http.front_stage: expected a boolean, found the string "no"'),
        ("socket_mode = 660", "http.socket_mode: 660 is out of range; write 0o660"),
        ("socket_mode = 777", "http.socket_mode: 777 is out of range; write 0o777"),
        (
            "socket_mode = 512",
            "http.socket_mode: 512 is out of range; expected 0o600 to 0o777, such as 0o660",
        ),
        ("socket_mode = -1", "http.socket_mode: -1 is out of range; expected 0o600 to 0o777, such as 0o660"),
        (
            'socket_mode = "0660"',
            'http.socket_mode: expected an integer, found the string "0660"; write 0o660',
        ),
        ('socket_mode = "640"', 'http.socket_mode: expected an integer, found the string "640"; write 0o640'),
        ('socket_mode = "u=rw"', 'http.socket_mode: expected an integer, found the string "u=rw"'),
        ("socket_mode = true", "http.socket_mode: expected an integer, found the boolean true"),
        (
            "socket_mode = 0o066",
            "http.socket_mode: 54 is 0o066, with which not even its owner can connect; write one in octal, such as 0o660",
        ),
        (
            "socket_mode = 0o400",
            "http.socket_mode: 256 is 0o400, with which not even its owner can connect; write one in octal, such as 0o660",
        ),
        ("access_log = true", "http.access_log: expected a number, found the boolean true; write 1"),
        ("access_log = false", "http.access_log: expected a number, found the boolean false; write 0"),
        ("access_log = 1.5", "http.access_log: 1.5 is out of range; expected 0 for no request to 1 for each"),
        ("access_log = -1", "http.access_log: -1 is out of range; expected 0 for no request to 1 for each"),
        ("access_log = nan", "http.access_log: nan is no finite number; write one"),
        ("tls = true", "http.tls: expected a table, found the boolean true; write [http.tls]"),
        ("limits = 5", "http.limits: expected a table, found the integer 5; write [http.limits]"),
        ("limit.streams = 5", 'http.limit: unknown key; did you mean "limits"?'),
    ],
)
def test_each_mistake_is_told_with_its_path_and_remedy(keys, mistake):
    assert told(keys) == [mistake]


def test_a_mode_and_a_share_may_come_from_the_environment():
    found = http('socket_mode = "${M}"\naccess_log = "${A}"', {"M": "0o660", "A": "0.5"})
    assert (found.socket_mode, found.access_log) == (0o660, 0.5)
    assert told('socket_mode = "${M}"', {"M": "0660"}) == [
        'http.socket_mode: "${M}" is out of range; write 0o660'
    ]


MISSING = {
    "certificate": (
        "http.tls.certificate: missing; set it: PEM file with the certificate, then those that lead to its "
        'authority; or `{ credential = "name" }`.'
    ),
    "key": (
        "http.tls.key: missing; set it: PEM file with the private key, without a passphrase; "
        'or `{ credential = "name" }`.'
    ),
}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", [*MISSING.values()]),
        ('key = "/k"', [MISSING["certificate"]]),
        ('certificate = "/c"', [MISSING["key"]]),
        ('certificate = "/c"\nkey = "/k"\ncert = "/c"', 'cert: unknown key; expected "certificate" or "key"'),
        (
            'certificate = "c.pem"\nkey = "/k"',
            'certificate: not an absolute path; write it from "/" on, or { credential = "name" }',
        ),
        (
            'certificate = "/c"\nkey = "-----BEGIN PRIVATE KEY-----"',
            'key: not an absolute path; write it from "/" on, or { credential = "name" }',
        ),
        (
            'certificate = "/c"\nkey = ""',
            'key: not an absolute path; write it from "/" on, or { credential = "name" }',
        ),
        (
            'certificate = "/c"\nkey = 5',
            "key: expected a string or a table, found the integer 5; write it in quotes",
        ),
        (
            'certificate = "/c"\nkey = {}',
            'key: names no file; write its path as a string, or { credential = "name" }',
        ),
        (
            'certificate = "/c"\nkey = { file = "/k" }',
            'key: the path of a file is written as it is; write key = "/path"',
        ),
        ('certificate = "/c"\nkey = { env = "K" }', 'key.env: unknown key; expected "credential"'),
        (
            'certificate = "/c"\nkey = { credentail = "k" }',
            'key.credentail: unknown key; did you mean "credential"?',
        ),
        (
            'certificate = "/c"\nkey = { credential = "../k" }',
            'key.credential: not the name of a credential; write one without "/", as in LoadCredential= of the unit',
        ),
        (
            'certificate = "/c"\nkey = { credential = 1 }',
            "key.credential: expected a string, found the integer 1; write it in quotes",
        ),
    ],
)
def test_each_mistake_about_the_certificate_is_told_and_no_key_is_shown(table, expected):
    expected = expected if isinstance(expected, list) else [f"http.tls.{expected}"]
    assert told(f'bind = ["tls::1"]\n[http.tls]\n{table}') == expected


def test_a_credential_is_the_file_of_that_name_where_systemd_puts_it():
    table = 'bind = ["tls::1"]\n[http.tls]\ncertificate = { credential = "cert" }\nkey = { credential = "k" }'
    found = http(table, {"CREDENTIALS_DIRECTORY": "/run/credentials/statusd.service"}).tls
    assert found.certificate == "/run/credentials/statusd.service/cert"
    assert found.key == "/run/credentials/statusd.service/k"


def test_a_credential_outside_of_a_unit_is_a_fault():
    found = read('bind = ["tls::1"]\n[http.tls]\ncertificate = "/c"\nkey = { credential = "k" }')
    assert found.mistakes == ()
    [fault] = found.faults
    assert (fault.path, fault.reason) == ("http.tls.key", "secret_unreadable")
    assert fault.message == (
        'The credential "k" is not there, since $CREDENTIALS_DIRECTORY is not set; '
        "add LoadCredential=k:/path to the systemd unit."
    )
    assert found.http.tls.key.startswith("/")


def test_what_stands_in_a_variable_is_shown_in_no_message():
    environ = {"B": "tls:unix:/s3cret", "H": "s3cret:80", "O": "HTTP://s3cret", "P": "s3cret"}
    keys = 'bind = ["${B}"]\nbind_probes = ["${B}"]\nhosts = ["${H}"]\ncors_origins = ["${O}"]\n'
    mistakes = told(f'{keys}[http.tls]\nkey = "${{P}}"\ncertificate = {{ credential = "/${{P}}" }}', environ)
    assert len(mistakes) == 5
    assert "s3cret" not in " ".join(mistakes)
