"""Where the daemon listens: opens it, says so in the tree, and warns of what others might do there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from statusd.config.http import HttpSettings
from statusd.config.http_tls import TlsFiles
from statusd.errors import StartError
from statusd.model.report import Json, Report
from statusd.runtime.hub import Hub
from statusd.runtime.messages import Inbox, Statement
from statusd.systemd.activation import Inherited, activated
from statusd.web.edge.certificates import Certificates
from statusd.web.edge.listener import Server
from statusd.web.edge.shared import Edge
from statusd.web.edge.sockets import Listener, reopen

LISTENER: Final = "daemon/listener"
TLS: Final = "daemon/tls"
LOADING: Final = 15.0
"""Seconds in which the files of a certificate must be read; a network file system may hang."""
HANGING: Final = 4
"""Loadings that may hang at a time, before further ones have to wait for them."""
log = logging.getLogger(__name__)

_LOCKED: Final = (
    "The token of [http] is not there, so everything but the probe endpoints answers 401: "
    "daemon/config says what is wrong with it; set it and reload statusd."
)


def load_certificates(http: HttpSettings) -> Certificates | None:
    """Return the certificate of ``[http.tls]``, or None where no address wants one.

    Raises:
        StartError: when it cannot be used, with the remedy.
    """
    files = _tls_of(http)
    return None if files is None else Certificates(files.certificate, files.key)


def _tls_of(http: HttpSettings) -> TlsFiles | None:
    """Return the files of the certificate, where an address wants one."""
    return http.tls if any(bind.is_tls for bind in (*http.bind, *http.bind_probes)) else None


def _with_inherited(http: HttpSettings, inherited: Sequence[Inherited]) -> HttpSettings:
    """Return `http` with the sockets that systemd handed over in the place of addresses."""
    if not inherited:
        return http
    bind, probes = activated(inherited, http.bind, http.bind_probes, has_certificate=http.tls is not None)
    return attrs.evolve(http, bind=bind, bind_probes=probes)


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


@attrs.frozen(kw_only=True)
class Place:
    """Where to listen.

    Attributes:
        http: what says so.
        listeners: every address, those for the probe endpoints alone last.
        certificates: what TLS begins with, or None where no address wants it.
    """

    http: HttpSettings
    listeners: Sequence[Listener]
    certificates: Certificates | None

    @property
    def silent(self) -> frozenset[str]:
        """Paths of what has nothing to say in such a place."""
        return frozenset() if self.certificates is not None else frozenset({TLS})


@attrs.define(eq=False)
class Doors:
    """Where the daemon listens; that may change while it runs.

    Attributes:
        edge: what is served.
        hub: has the nodes about it.
        inherited: sockets that systemd handed over.
    """

    edge: Edge
    hub: Hub
    inherited: Sequence[Inherited] = ()
    server: Server = attrs.field(init=False)
    place: Place | None = attrs.field(default=None, init=False)
    _watching: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _threads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(HANGING), init=False)

    def __attrs_post_init__(self) -> None:
        self.server = Server(self.edge)

    async def certificates(self, http: HttpSettings) -> Certificates | None:
        """Return the certificate that the table ``[http]`` wants: the present one, or what files hold now, read in a thread.

        Raises:
            StartError: when it cannot be used.
        """
        before, http = self.place, _with_inherited(http, self.inherited)
        present = None
        if before is not None and _tls_of(before.http) == _tls_of(http):
            present = before.certificates

        def look() -> Certificates | None:
            # It would load changed files by itself, but later.
            return present if present is not None and present.is_newest else load_certificates(http)

        try:
            with trio.fail_after(LOADING):
                return await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._threads)
        except trio.TooSlowError:
            raise StartError(
                f"The files of [http.tls] could not be read within {LOADING:g} s; see whether their file system hangs."
            ) from None

    def prepare(self, http: HttpSettings, certificates: Certificates | None) -> Place:
        """Return the place that the table ``[http]`` wants, its sockets open; nothing of the present one is touched.

        Args:
            http: the table.
            certificates: what `certificates` returned for it.

        Raises:
            StartError: when an address cannot be listened on; then none is opened.
        """
        before, http = self.place, _with_inherited(http, self.inherited)
        listeners = reopen(
            before.listeners if before is not None else (),
            http.bind,
            http.bind_probes,
            mode=http.socket_mode,
        )
        place = Place(http=http, listeners=listeners, certificates=certificates)
        self.place = self.place or place
        return place

    async def open(self, place: Place, nursery: trio.Nursery) -> None:
        """Be at `place` from the start, before anything is served there.

        Args:
            place: the first one.
            nursery: where its certificate is watched.
        """
        self.edge.certificates = place.certificates
        _say_where(place)
        if place.certificates is not None:
            await nursery.start(self._watch, place.certificates)

    async def change(self, place: Place, nursery: trio.Nursery) -> None:
        """Move to `place`, without losing a connection.

        Args:
            place: the next one.
            nursery: where its certificate is watched.
        """
        before, self.place = self.place, place
        is_new = before is None or before.certificates is not place.certificates
        if place.certificates is not None:
            self.edge.certificates = place.certificates  # before anybody comes who wants it
        if before is None or [one.address for one in before.listeners] != [
            one.address for one in place.listeners
        ]:
            _say_where(place)
        await self.server.change(place.listeners)
        if is_new:
            self._watching.cancel()
            if place.certificates is not None:
                await nursery.start(self._watch, place.certificates)

    async def give_up(self, place: Place) -> None:
        """Close what was opened for `place`, where the daemon does not get to any more."""
        ours = {id(one.accepting) for one in self.listeners}
        with trio.CancelScope(shield=True):  # closing does not wait
            for listener in place.listeners:
                if id(listener.accepting) not in ours:
                    await listener.close()

    @property
    def listeners(self) -> Sequence[Listener]:
        """Every address where it listens."""
        return self.place.listeners if self.place is not None else ()

    async def aclose(self) -> None:
        """Stop listening."""
        for listener in self.listeners:
            await listener.close()

    async def _watch(
        self,
        certificates: Certificates,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.CancelScope() as self._watching:
            await watch(certificates, self.hub.inbox(), task_status=task_status)


def _say_where(place: Place) -> None:
    """Say which addresses serve the probe endpoints alone, and warn of what is open to all."""
    if place.http.token is None:
        _warn(place.listeners)
    if probes := [one.address for one in place.listeners if one.is_probes_only]:
        log.info("Only the probe endpoints are served on %s.", ", ".join(probes))
