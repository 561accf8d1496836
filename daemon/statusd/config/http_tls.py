"""The table ``[http.tls]``: where the certificate and its key are; the files themselves are read by whoever serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

import attrs

from statusd.config.findings import Findings
from statusd.config.schema import structure
from statusd.config.secrets import wrong_credential, wrong_file
from statusd.config.wording import below, quoted, suggestion
from statusd.plugin.options import option

PATH: Final = "http.tls"
CREDENTIALS: Final = "/run/credentials"
"""Below it systemd keeps credentials (systemd.exec(5)); a credential is looked for here, in vain, outside of a unit."""


@attrs.frozen(kw_only=True)
class TlsKeys:
    """The keys of ``[http.tls]``, as the file has them."""

    certificate: str | dict[str, str] = option(
        help='PEM file with the certificate, then those that lead to its authority; or `{ credential = "name" }`.'
    )
    key: str | dict[str, str] = option(
        help='PEM file with the private key, without a passphrase; or `{ credential = "name" }`.'
    )


@attrs.frozen(kw_only=True)
class TlsFiles:
    """Where the certificate is.

    Attributes:
        certificate: absolute path of the PEM file with the certificate and its chain.
        key: absolute path of the PEM file with the private key.
    """

    certificate: str = attrs.field(repr=False)
    key: str = attrs.field(repr=False)


def read_tls(table: Mapping[str, object], findings: Findings) -> TlsFiles | None:
    """Return what the table ``[http.tls]`` says, or None where it has mistakes, which go into `findings`.

    Args:
        table: what the file says.
        findings: takes mistakes, and the fault that there is no directory of credentials.
    """
    options = structure(TlsKeys, table, PATH, findings)
    paths = {name: _path(value, below(PATH, name), findings) for name, value in options.items()}
    certificate, key = paths.get("certificate"), paths.get("key")
    if certificate is None or key is None:
        return None
    return TlsFiles(certificate=certificate, key=key)


def _path(value: str | dict[str, str], path: str, findings: Findings) -> str | None:
    """Return the path that `value` stands for; no message shows a string, which may be the key itself."""
    if isinstance(value, str):
        if wrong_file(value):
            findings.mistake(path, 'not an absolute path; write it from "/" on, or { credential = "name" }')
            return None
        return value
    if set(value) != {"credential"}:
        _not_a_credential(value, path, findings)
        return None
    name = value["credential"]
    if wrong := wrong_credential(name):
        findings.mistake(below(path, "credential"), wrong)
        return None
    return _of_credential(name, path, findings)


def _not_a_credential(value: Mapping[str, str], path: str, findings: Findings) -> None:
    name = path.rpartition(".")[2]
    others = [key for key in value if key != "credential"]
    if "file" in others:
        findings.mistake(path, f'the path of a file is written as it is; write {name} = "/path"')
    elif others:
        for key in others:
            findings.mistake(below(path, key), f"unknown key; {suggestion(key, ['credential'])}")
    else:
        findings.mistake(path, 'names no file; write its path as a string, or { credential = "name" }')


def _of_credential(name: str, path: str, findings: Findings) -> str:
    directory = findings.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        findings.unreadable(
            path,
            f"The credential {quoted(name)} is not there, since $CREDENTIALS_DIRECTORY is not set; "
            f"add LoadCredential={name}:/path to the systemd unit.",
        )
    return str(PurePosixPath(directory or CREDENTIALS, name))
