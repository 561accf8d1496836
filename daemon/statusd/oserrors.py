"""What the operating system says about a connection: a word for programs, and a sentence with the remedy."""

from __future__ import annotations

import errno
from typing import Final

HUNG_UP: Final = ConnectionResetError(errno.ECONNRESET, "the end, before the answer is complete")
"""An orderly end stands for a reset: which of the two it is may change from time to time."""

_LOST: Final = (
    "connection_lost",
    "{where} hung up before its answer was complete: its own log may know why.",
)
_REFUSED: Final = (
    "refused",
    "The connection to {where} was refused: start the server, or correct the address.",
)
_UNREACHABLE: Final = (
    "unreachable",
    "There is no route to {where}: correct the address, or mend the network.",
)
_DENIED: Final = (
    "permission_denied",
    "The operating system does not allow a connection to {where}: look at the socket's mode and at the firewall.",
)
_MISSING: Final = ("not_found", "There is no socket at {where}: start the server, or correct the path.")
_EXHAUSTED: Final = (
    "unreachable",
    "There are no file descriptors or ports left to connect to {where}: raise LimitNOFILE, or open fewer.",
)

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: _REFUSED,
    errno.ECONNRESET: _LOST,
    errno.ECONNABORTED: _LOST,
    errno.EPIPE: _LOST,
    errno.ENOTCONN: _LOST,
    errno.EHOSTUNREACH: _UNREACHABLE,
    errno.EHOSTDOWN: _UNREACHABLE,
    errno.ENETUNREACH: _UNREACHABLE,
    errno.ENETDOWN: _UNREACHABLE,
    errno.EAFNOSUPPORT: _UNREACHABLE,  # the kernel has no IPv6
    errno.EINVAL: _UNREACHABLE,  # a link-local address without its interface
    errno.EADDRNOTAVAIL: _UNREACHABLE,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOENT: _MISSING,
    errno.ENOTDIR: _MISSING,
    errno.ENOTSOCK: _MISSING,
    errno.EPROTOTYPE: ("protocol_error", "The socket at {where} is of another kind: a stream is expected."),
    errno.ETIMEDOUT: ("timeout", "The network gave up on {where}: nothing answers there."),
    errno.EMFILE: _EXHAUSTED,
    errno.ENFILE: _EXHAUSTED,
    errno.ENOBUFS: _EXHAUSTED,
    errno.ENOMEM: _EXHAUSTED,
    errno.EAGAIN: _EXHAUSTED,  # no ephemeral port is free
}


def reason_and_message(error: OSError, where: str) -> tuple[str, str]:
    """Return what `error` means for the connection to `where`."""
    reason, sentence = _BY_ERRNO.get(error.errno or 0, (None, ""))
    if reason is not None:
        return reason, sentence.format(where=where)
    name = errno.errorcode.get(error.errno or 0, "an unnamed error")
    return "connection_lost", f"The connection to {where} failed: the system reports {name}."
