"""Throwaway certificates in files, as an operator has them."""

from __future__ import annotations

import datetime as dt
import functools
import ssl
from pathlib import Path

import attrs
import trustme

DAY = dt.timedelta(days=1)
NAME = "localhost"


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


def issued(*names: str, **options: object) -> trustme.LeafCert:
    """Return a certificate for `names`; `options` as trustme takes them."""
    return authority().issue_cert(*(names or (NAME,)), **options)


@attrs.frozen
class Files:
    """A certificate and its key in a directory."""

    directory: Path

    @classmethod
    def write(cls, directory: Path, *names: str, **options: object) -> Files:
        files = cls(directory)
        files.put(issued(*names, **options))
        return files

    @property
    def certificate(self) -> str:
        return str(self.directory / "cert.pem")

    @property
    def key(self) -> str:
        return str(self.directory / "key.pem")

    def put(self, leaf: trustme.LeafCert) -> None:
        self.put_certificate(leaf)
        self.put_key(leaf)

    def put_certificate(self, leaf: trustme.LeafCert) -> None:
        replace(Path(self.certificate), b"".join(pem.bytes() for pem in leaf.cert_chain_pems))

    def put_key(self, leaf: trustme.LeafCert) -> None:
        replace(Path(self.key), leaf.private_key_pem.bytes())


def replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of `path`, as tools that renew certificates do."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def trusting(*protocols: str) -> ssl.SSLContext:
    """Return the context of a client that trusts the authority and offers `protocols` by ALPN."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
