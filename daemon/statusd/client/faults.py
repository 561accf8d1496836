"""What can go wrong between a client and the daemon, each with its remedy."""

from __future__ import annotations

import ssl
from typing import Final

from statusd.errors import StatusdError
from statusd.oserrors import HUNG_UP, reason_and_message

_SHOWN: Final = 300
"""Characters of another program's text in a message."""


class ClientError(StatusdError):
    """Raised when the daemon could not be asked, or did not answer as statusd does.

    Args:
        reason: a lower_snake_case word for programs: ``bad_address``, ``name_not_resolved``, ``refused``,
            ``unreachable``, ``permission_denied``, ``no_socket``, ``timeout``, ``tls_failed``, ``connection_lost``,
            ``moved``, ``unauthorized``, ``unavailable``, ``no_such_node``, ``rejected``, ``not_statusd``,
            ``too_large``, ``bad_stream``.
        message: one sentence for people: what, where, the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


_OWN_WORDS: Final = {"not_found": "no_socket", "protocol_error": "not_statusd"}
"""What the client calls differently: there, `not_found` could be the node's."""


def system_error(error: OSError, where: str) -> ClientError:
    """Return what the operating system's `error` means for the connection to `where`."""
    if isinstance(error, ssl.SSLError):
        return tls_error(error, where)
    reason, message = reason_and_message(error, where)
    return ClientError(_OWN_WORDS.get(reason, reason), message)


def hung_up(where: str) -> ClientError:
    """Return what the end of a connection means before the answer is complete."""
    return system_error(HUNG_UP, where)


def timed_out(where: str) -> ClientError:
    """Return what silence means."""
    return ClientError(
        "timeout", f"{where} did not answer in time: it hangs, or is no statusd; look at its log."
    )


def unresolved(host: str, where: str) -> ClientError:
    """Return what it means that nobody knows `host`."""
    return ClientError(
        "name_not_resolved",
        f'The name "{said(host)}" of {where} does not resolve: correct it, or mend the name service.',
    )


def tls_error(error: ssl.SSLError, where: str) -> ClientError:
    """Return what `error` means for the TLS connection to `where`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ClientError(
            "tls_failed",
            f"The certificate of {where} was refused ({said(error.verify_message)}): give the file of its authority "
            "as ca_file or in SSL_CERT_FILE, or mend the certificate.",
        )
    if isinstance(error, ssl.SSLEOFError) or (error.reason or "") == "UNEXPECTED_EOF_WHILE_READING":
        return hung_up(where)
    return ClientError(
        "tls_failed", f"No TLS connection to {where}: use http:// where it speaks none, or look at its log."
    )


def said(text: str) -> str:
    """Return what another program said as it may stand in a message: cut, and without control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:_SHOWN])
