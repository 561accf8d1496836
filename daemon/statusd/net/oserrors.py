"""What the operating system says about a connection, as an error of a probe."""

from __future__ import annotations

from typing import Final

from statusd.errors import ProbeError
from statusd.oserrors import HUNG_UP, reason_and_message

_TELLING: Final = ("refused", "permission_denied", "connection_lost", "timeout", "not_found")


def os_error(error: OSError, where: str) -> ProbeError:
    """Return what `error` means for the connection to `where`."""
    return ProbeError(*reason_and_message(error, where))


def hung_up(where: str) -> ProbeError:
    """Return what the end of a connection to `where` means before the answer is complete.

    One sentence for an orderly end and a reset: which of the two it is may change from probe to probe.
    """
    return os_error(HUNG_UP, where)


def most_telling(failures: list[ProbeError]) -> ProbeError:
    """Return the failure that says most, of one connection attempt an address: who refuses is there at least."""
    return min(failures, key=lambda failure: (*_TELLING, failure.reason).index(failure.reason))
