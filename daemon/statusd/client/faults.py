"""What can go wrong between a client and the daemon, each with its remedy."""

from __future__ import annotations

import errno
import ssl
from typing import Final

from statusd.errors import StatusdError

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


class InterruptedStepError(ClientError):
    """Raised into a script whose step was cancelled half way: the connection is of no more use, nothing else is wrong."""

    def __init__(self) -> None:
        super().__init__("interrupted", "The caller gave up on it.")


_START: Final = "start the daemon, or correct the address."
_REFUSED: Final = ("refused", "The connection to {where} was refused: " + _START)
_UNREACHABLE: Final = (
    "unreachable",
    "There is no route to {where}: correct the address, or mend the network.",
)
_LOST: Final = ("connection_lost", "{where} hung up: it may have stopped or started again; ask again.")
_DENIED: Final = (
    "permission_denied",
    "This user may not connect to {where}: look at the mode of the socket and its directory, and at the firewall.",
)
_MISSING: Final = ("no_socket", "There is no socket at {where}: " + _START)
_EXHAUSTED: Final = (
    "unreachable",
    "There are no file descriptors or ports left to connect to {where}: close some.",
)

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: _REFUSED,
    errno.ENOTSOCK: _REFUSED,
    errno.ECONNRESET: _LOST,
    errno.ECONNABORTED: _LOST,
    errno.EPIPE: _LOST,
    errno.ENOTCONN: _LOST,
    errno.EHOSTUNREACH: _UNREACHABLE,
    errno.EHOSTDOWN: _UNREACHABLE,
    errno.ENETUNREACH: _UNREACHABLE,
    errno.ENETDOWN: _UNREACHABLE,
    errno.EADDRNOTAVAIL: _UNREACHABLE,
    errno.EAFNOSUPPORT: _UNREACHABLE,
    errno.EINVAL: _UNREACHABLE,  # a link-local address without its interface
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOENT: _MISSING,
    errno.ENOTDIR: _MISSING,
    errno.EMFILE: _EXHAUSTED,
    errno.ENFILE: _EXHAUSTED,
    errno.ENOBUFS: _EXHAUSTED,
    errno.EAGAIN: _EXHAUSTED,
    errno.ETIMEDOUT: ("timeout", "The network gave up on {where}: nothing answers there; " + _START),
}


def system_error(error: OSError, where: str) -> ClientError:
    """Return what the operating system's `error` means for the connection to `where`."""
    if isinstance(error, ssl.SSLError):
        return tls_error(error, where)
    reason, sentence = _BY_ERRNO.get(error.errno or 0, ("", ""))
    if reason:
        return ClientError(reason, sentence.format(where=where))
    name = errno.errorcode.get(error.errno or 0, "an error without a name")
    return ClientError("connection_lost", f"The connection to {where} failed: the system reports {name}.")


def hung_up(where: str) -> ClientError:
    """Return what the end of a connection means before the answer is complete."""
    reason, sentence = _LOST
    return ClientError(reason, sentence.format(where=where))


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
