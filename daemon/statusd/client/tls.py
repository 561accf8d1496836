"""TLS: whom a client trusts, and what it means when that is not who answers."""

from __future__ import annotations

import ssl
from typing import Final

from statusd.client.address import Address
from statusd.client.faults import ClientError, hung_up, said, system_error

# X509_verify_cert_error_string(3): no chain to an authority that is trusted
_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21, 24, 27})
_WRONG_NAME: Final = frozenset({62, 64})
_NOT_YET: Final = 9
_EXPIRED: Final = 10
_ENDS: Final = frozenset({"UNEXPECTED_EOF_WHILE_READING"})

_NAMING: Final = "--ca-file, $STATUSD_CA_FILE or ca_file"


def tls_context(ca_file: str, address: Address) -> ssl.SSLContext:
    """Return a context that trusts the authorities in `ca_file`, or the system's when it is empty.

    Raises:
        ClientError: ``tls_failed`` when the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError):  # SSLError is an OSError
        raise ClientError(
            "tls_failed",
            f"{said(ca_file)} cannot be used: {_NAMING} must name a readable PEM file with authorities.",
        ) from None
    if address.socket:
        context.check_hostname = False  # no certificate is for a path: that says itself who is there
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Some Pythons set it, such as Debian 12's 3.11.2; an answer that was cut then looks whole.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    return context


def failure(error: OSError, address: Address, ca_file: str) -> ClientError:
    """Return what `error` means for the connection to `address`, whose authorities are those in `ca_file`."""
    where = str(address)
    if not isinstance(error, ssl.SSLError):
        return system_error(error, where)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ClientError("tls_failed", f"The certificate of {where} {_refused(error, address, ca_file)}")
    if isinstance(error, ssl.SSLEOFError) or error.reason in _ENDS:
        return hung_up(where)
    return ClientError(
        "tls_failed", f"No TLS connection to {where}: use http:// where it speaks none, or look at its log."
    )


def _refused(error: ssl.SSLCertVerificationError, address: Address, ca_file: str) -> str:
    code = error.verify_code
    if code in _UNTRUSTED:
        whom = f"authority in {said(ca_file)}" if ca_file else "authority that this system trusts"
        return f"is signed by no {whom}: name the file of its authority with {_NAMING}."
    if code in _WRONG_NAME:
        port = f":{address.url.port}" if address.url.port is not None else ""
        asked = said(address.server_name)
        return f'is not for "{asked}": ask by the name that it is for, as in --url https://NAME{port}.'
    if code == _EXPIRED:
        return "has expired: renew it, or set the clock of this host."
    if code == _NOT_YET:
        return "is not valid yet: set the clock of this host, or wait."
    return f"was refused ({said(error.verify_message)}): mend it, or name its authority with {_NAMING}."
