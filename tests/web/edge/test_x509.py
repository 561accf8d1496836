"""What is read off a certificate, held against the library that made it; and whatever else may be in the file."""

import base64
import datetime as dt

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from statusd.web.edge.x509 import about
from tests.web.edge.certificates import authority, issued

LEAF = issued("localhost").cert_chain_pems[0].bytes()
DER = x509.load_pem_x509_certificate(LEAF).public_bytes(serialization.Encoding.DER)

BIRTH = dt.datetime(1951, 2, 3, tzinfo=dt.UTC)
NEVER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
"""What RFC 5280 has for certificates without an end (section 4.1.2.5)."""


def pem(der):
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def test_names_of_every_kind_in_their_order():
    names = ("status.example.org", "*.example.org", "192.0.2.7", "2001:db8::1")
    assert set(about(issued(*names).cert_chain_pems[0].bytes()).names) == set(names)


def test_the_common_name_stands_in_where_there_are_no_others():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "büro.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(BIRTH)
        .not_valid_after(NEVER)
        .sign(key, hashes.SHA256())
    )
    found = about(pem(made.public_bytes(serialization.Encoding.DER)))
    assert found.names == ("büro.example",)
    assert found.not_before == BIRTH.timestamp()
    assert found.not_after == NEVER.timestamp()


def test_the_times_are_those_of_the_certificate():
    made = x509.load_pem_x509_certificate(LEAF)
    found = about(LEAF)
    assert found.not_before == made.not_valid_before_utc.timestamp()
    assert found.not_after == made.not_valid_after_utc.timestamp()


def test_the_first_of_a_chain_is_read_whatever_stands_before_it():
    chain = b"subject=CN = x\n" + LEAF + authority().cert_pem.bytes()
    assert about(chain) == about(LEAF)
    assert about(authority().cert_pem.bytes() + LEAF) != about(LEAF)


def test_what_is_no_certificate_says_nothing():
    key = trustme.CA().issue_cert("x").private_key_pem.bytes()
    for content in (b"", key, LEAF[:-40], LEAF.replace(b"CERTIFICATE", b"CRL"), pem(b""), pem(b"\x30\x80")):
        assert about(content) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise(data):
    assert about(pem(data)) is None
    about(data)


@given(st.data())
def test_no_damage_raises(data):
    at = data.draw(st.integers(0, len(DER) - 1))
    damaged = DER[:at] + data.draw(st.binary(max_size=8)) + DER[at + data.draw(st.integers(0, 8)) :]
    about(pem(damaged))
