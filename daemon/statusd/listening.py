"""Where the daemon listens: opens it, says so in the tree, and warns of what others might do there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import trio

from statusd.config.http import HttpSettings
from statusd.model.report import Json, Report
from statusd.runtime.hub import Inbox, Statement
from statusd.web.edge.certificates import Certificates
from statusd.web.edge.sockets import Listener, open_listeners

LISTENER: Final = "daemon/listener"
TLS: Final = "daemon/tls"
log = logging.getLogger(__name__)

_LOCKED: Final = (
    "The token of [http] is not there, so everything but the probe endpoints answers 401: "
    "daemon/config says what is wrong with it; set it and restart statusd."
)


def load_certificates(http: HttpSettings) -> Certificates | None:
    """Return the certificate of ``[http.tls]``, or None where no address wants one.

    Raises:
        StartError: when it cannot be used, with the remedy.
    """
    if http.tls is None or not any(bind.is_tls for bind in (*http.bind, *http.bind_probes)):
        return None
    return Certificates(http.tls.certificate, http.tls.key)


def listen(http: HttpSettings) -> list[Listener]:
    """Open every address of ``[http]``, those for the probe endpoints alone last; say which, and warn of what is open to all.

    Raises:
        StartError: when one cannot be opened; then none is.
    """
    listeners = open_listeners(http.bind, http.bind_probes, mode=http.socket_mode)
    if http.token is None:
        _warn(listeners)
    if probes := [one.address for one in listeners if one.is_probes_only]:
        log.info("Only the probe endpoints are served on %s.", ", ".join(probes))
    return listeners


def _warn(listeners: Sequence[Listener]) -> None:
    found = [one.address for one in listeners if one.is_exposed and not (one.is_tls or one.is_probes_only)]
    if found:
        log.warning(
            'Whoever reaches %s reads all that is served there, in the clear: set [http] token, or put "tls:" before '
            "the address in [http] bind and a certificate into [http.tls]; or bind to 127.0.0.1 and serve the probe "
            "endpoints alone to others, with [http] bind_probes.",
            ", ".join(found),
        )


def about(listeners: Sequence[Listener], http: HttpSettings) -> Statement:
    """Return what to show about `listeners`."""
    facts: dict[str, Json] = {
        "addresses": [one.address for one in listeners if not one.is_probes_only],
        "probes": [one.address for one in listeners if one.is_probes_only],
    }
    is_locked = http.token is not None and not http.token
    report = (
        Report.degraded("token_unavailable", _LOCKED, facts=facts) if is_locked else Report.ok(facts=facts)
    )
    return Statement(path=LISTENER, report=report)


async def watch(
    certificates: Certificates,
    inbox: Inbox,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Load `certificates` anew when their files change, and show in the tree how they are doing.

    Args:
        certificates: what TLS begins with.
        inbox: a sending end of the hub's; closed with the watch.
        task_status: started once it is in the tree.
    """

    async def say(report: Report) -> None:
        await inbox.send(Statement(path=TLS, report=report))

    async with inbox:
        await certificates.watch(say, task_status=task_status)
