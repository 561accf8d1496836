"""What can go wrong between a client and the daemon, each with its remedy."""

from __future__ import annotations

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
            ``moved``, ``unauthorized``, ``bad_token``, ``misdirected``, ``too_many_requests``, ``unavailable``,
            ``no_such_node``, ``rejected``, ``not_statusd``, ``too_large``, ``bad_stream``.
        message: one sentence for people: what, where, the remedy.
        retry_after: seconds that the daemon asks to wait before it is asked again, or None.
    """

    def __init__(self, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


_OWN_WORDS: Final = {"not_found": "no_socket", "protocol_error": "not_statusd"}
"""What the client calls differently: there, `not_found` could be the node's."""


def system_error(error: OSError, where: str) -> ClientError:
    """Return what the operating system's `error` means for the connection to `where`."""
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


def not_statusd(where: str, endpoint: str, status: int = 200) -> ClientError:
    """Return what an answer means that no statusd gives."""
    return ClientError(
        "not_statusd",
        f"{where} answered {endpoint} with {status} and nothing that statusd says: "
        "correct the address, or update what is older, the daemon or this client.",
    )


def said(text: str) -> str:
    """Return what another program said as it may stand in a message: cut, and without control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:_SHOWN])
