"""Answers: what a request gets, whichever way it came; the front stage and Quart both ask here, so they cannot differ."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

import attrs
import trio

from statusd.model.snapshot import Snapshot
from statusd.plugin.contracts import Document
from statusd.web.access import CHALLENGE, SECURITY, Access, is_probe
from statusd.web.asked import RETRY, Answer, Asked
from statusd.web.edge.traffic import NOWHERE, Traffic
from statusd.web.feed import Feed
from statusd.web.freshness import Freshness, wanted_age
from statusd.web.patience import Patience
from statusd.web.problems import TOO_MANY_WAITING, http_problem
from statusd.web.quality import Quality, is_match
from statusd.web.query import Query, QueryError, query_of, revision_in, seconds_in
from statusd.web.site import Ask, Endpoint, Site
from statusd.web.target import canonical

METHODS: Final = ("GET", "HEAD", "OPTIONS")
ALLOW: Final = ", ".join(METHODS)
MOST_WAIT: Final = 60.0
"""Seconds that a long poll waits at most."""


@attrs.define(eq=False, kw_only=True)
class Service:
    """What is served; a reload makes it another one.

    Attributes:
        site: the endpoints.
        feed: what revisions changed, for those who wait for one.
        freshness: has sources probed for requests that want them fresh.
        snapshot: returns the newest snapshot.
        access: who may ask for what.
        now: returns the wall clock, in seconds since 1970.
    """

    site: Site
    feed: Feed
    freshness: Freshness
    snapshot: Callable[[], Snapshot]
    access: Access = attrs.field(factory=Access)
    now: Callable[[], float] = time.time

    def become(self, other: Service) -> None:
        """Serve what `other` serves, to whoever asks from now on; who waits, and may not ask any more, waits no longer."""
        before = self.access
        self.site, self.freshness, self.access = other.site, other.freshness, other.access
        if before != other.access:
            self.feed.stir()


@attrs.define(eq=False)
class Answers:
    """Answers requests.

    Attributes:
        service: what is served.
        patience: seconds after which an answer shows what is there, whatever it waits for.
        most_waiting: requests that wait for news or for probes at a time.
        traffic: knows how many do so now.
    """

    service: Service
    patience: float = 60.0
    most_waiting: float = math.inf
    traffic: Traffic = attrs.field(factory=Traffic)
    _version: int | None = attrs.field(default=None, init=False)
    _qualities: dict[tuple[str | None, tuple[str, ...]], Quality] = attrs.field(factory=dict, init=False)

    def at_once(self, asked: Asked) -> Answer | None:
        """Return the answer for which there is nothing to wait and little to do; None: it is to be asked for in full.

        Args:
            asked: a request with the method GET or HEAD.
        """
        found = self.find(asked)
        if isinstance(found, Answer):
            return found
        if not found.is_quick or (found.takes_query and asked.query):
            return None
        if self._outdated(found, asked):
            return None
        answer = self._rendered(found, asked, {}, "")
        until = self._fresh_until(found, asked)
        return answer if answer.until <= until else attrs.evolve(answer, until=until)

    async def in_full(self, asked: Asked, endpoint: Endpoint, patience: Patience | None = None) -> Answer:
        """Return the document of `endpoint`: waited for and probed for as the request asks, or 304.

        Args:
            asked: the request.
            endpoint: what was found for it.
            patience: may end meanwhile, and then the answer is what there is; None = it does not.
        """
        patience = patience or Patience()
        try:
            query = query_of(asked.query) if endpoint.takes_query else {}
            since = revision_in(query, "since") if endpoint.branch is not None else None
            seconds = seconds_in(query, "wait", most=MOST_WAIT) if endpoint.branch is not None else 0.0
        except QueryError as error:
            return self.document(asked, endpoint.route, error.problem)
        waits = since is not None and seconds > 0
        if patience.is_over or (not waits and not self._outdated(endpoint, asked)):
            return self._rendered(endpoint, asked, query, "")
        if self.traffic.waiting >= self.most_waiting:
            self.traffic.limited["waiting"] += 1
            if is_probe(asked.path):  # whoever fills up this bound must not fail anybody's health checks
                return self._rendered(endpoint, asked, query, "")
            return self.problem(asked, 503, endpoint.route, {"retry-after": RETRY}, reason=TOO_MANY_WAITING)
        detail, site = "", self.service.site
        self.traffic.waiting += 1
        try:
            with patience.wait(self.patience):
                if waits and since is not None and endpoint.branch is not None:
                    with trio.move_on_after(seconds):
                        may_go_on = self.let_in(asked)
                        await self.service.feed.change_of(endpoint.branch, since, may_go_on)
                detail = await self._freshened(endpoint, asked)
        finally:
            self.traffic.waiting -= 1
        if (
            self.service.site is not site
        ):  # a reload came meanwhile: what was found is of the configuration before
            found = self.find(asked)
            if isinstance(found, Answer):
                return found
            endpoint = found
        return self._rendered(endpoint, asked, query, detail)

    def find(self, asked: Asked) -> Endpoint | Answer:
        """Return the endpoint that answers, or the answer where none does."""
        if asked.is_probes_only and not is_probe(asked.path):
            return self.problem(asked, 404)
        if asked.path == "*":  # asks about the server itself (RFC 9110, section 9.3.7)
            return self._options(asked, "*")
        site, access = self.service.site, self.service.access
        endpoint = site.find(asked.path)
        route = NOWHERE if endpoint is None else endpoint.route
        path = canonical(asked.path)
        if not access.knows_host_for(path, asked.fields):
            return self.problem(asked, 421, route)
        # Also of what is nowhere: who may not look must not learn what there is.
        if not access.admits(path, asked.fields):
            if asked.method == "OPTIONS":  # as a browser asks before it sends the token
                return self._options(asked, route)
            return self.problem(asked, 401, route, {"www-authenticate": CHALLENGE})
        if endpoint is None:
            missing = site.missing(asked.path)
            return self.document(asked, NOWHERE, missing or http_problem(404))
        if asked.method == "OPTIONS":
            return self._options(asked, route)
        if asked.method not in METHODS:
            return self.problem(asked, 405, route, {"allow": ALLOW})
        return endpoint

    def let_in(self, asked: Asked) -> Callable[[], bool]:
        """Return what tells from now on whether a request that has been let in would be let in still."""
        access = self.service.access

        def is_let_in() -> bool:
            nonlocal access
            if access is not self.service.access:
                if isinstance(self.find(asked), Answer):
                    return False
                access = self.service.access
            return True

        return is_let_in

    def problem(
        self,
        asked: Asked,
        status: int,
        route: str = NOWHERE,
        extra: Mapping[str, str] | None = None,
        *,
        reason: str = "",
    ) -> Answer:
        """Return the answer for a failure that HTTP itself has a status code for.

        Args:
            asked: the request.
            status: the status code.
            route: names the endpoint.
            extra: further header fields.
            reason: which of the failures with that status code it is, as for `http_problem`.
        """
        return self.document(asked, route, http_problem(status, reason), extra)

    def _rendered(self, endpoint: Endpoint, asked: Asked, query: Query, detail: str) -> Answer:
        service = self.service
        now = service.now()
        ask = Ask(query=query, accept=asked.fields.get("accept", ""), now=now)
        try:
            rendered = endpoint.render(ask)
        except QueryError as error:
            return self.document(asked, endpoint.route, error.problem)
        if rendered is None:  # it has gone since
            return self.problem(asked, 404, endpoint.route)
        document = rendered.document
        extra = {name.lower(): value for name, value in rendered.fields.items()}
        until = math.inf if endpoint.is_steady else 0.0
        if rendered.tag:
            extra["etag"] = rendered.tag
        if endpoint.sources is not None:
            quality = self._quality(endpoint.shows, endpoint.sources)
            extra |= quality.fields(document.detail or detail, now)
            until = min(until, quality.until(now))
        wanted = asked.fields.get("if-none-match")
        if 200 <= document.status < 300 and rendered.tag and is_match(wanted, rendered.tag):
            return self.answer(asked, endpoint.route, 304, extra, until=until)
        return self.document(asked, endpoint.route, document, extra, until=until)

    def _quality(self, shows: str | None, sources: tuple[str, ...]) -> Quality:
        """Return the quality of what is made of the newest snapshot, looked up once: a branch may have many nodes."""
        snapshot = self.service.snapshot()
        if self._version != snapshot.version:
            self._version, self._qualities = snapshot.version, {}
        quality = self._qualities.get((shows, sources))
        if quality is None:
            quality = self._qualities[shows, sources] = Quality.of(snapshot, sources, shows=shows)
        return quality

    async def _freshened(self, endpoint: Endpoint, asked: Asked) -> str:
        """Have the sources behind `endpoint` probed as the request wants; return why they were not, or ``""``."""
        if not endpoint.is_on_demand or not endpoint.sources:
            return ""
        control = asked.fields.get("cache-control")
        return await self.service.freshness.serve(endpoint.sources, control, self.service.now())

    def _outdated(self, endpoint: Endpoint, asked: Asked) -> bool:
        """Whether the request, or a source's own `max_age`, wants a source behind `endpoint` probed now."""
        wanted = self._wanted(endpoint, asked)
        if wanted is None:
            return False
        service = self.service
        return bool(service.freshness.outdated(endpoint.sources or (), wanted, service.now()))

    def _fresh_until(self, endpoint: Endpoint, asked: Asked) -> float:
        """Return from when on `_outdated` may hold although the snapshot is the same, in seconds since 1970."""
        wanted = self._wanted(endpoint, asked)
        if wanted is None:
            return math.inf
        return self.service.freshness.until(endpoint.sources or (), wanted)

    def _wanted(self, endpoint: Endpoint, asked: Asked) -> float | None:
        """Return the greatest age in seconds that the request accepts; None where nobody cares for any."""
        if not endpoint.is_on_demand or not endpoint.sources:
            return None
        control = asked.fields.get("cache-control")
        wanted = math.inf if control is None else wanted_age(control)
        return None if wanted == math.inf and not self.service.freshness.has_ages else wanted

    def _options(self, asked: Asked, route: str) -> Answer:
        is_preflight = "access-control-request-method" in asked.fields
        return self.answer(asked, route, 204, {"allow": ALLOW}, is_preflight=is_preflight)

    def document(
        self,
        asked: Asked,
        route: str,
        document: Document,
        extra: Mapping[str, str] | None = None,
        *,
        until: float = math.inf,
    ) -> Answer:
        """Return the answer that sends `document`, with the header fields `extra` besides."""
        fields = {
            "content-type": document.content_type,
            "content-length": str(len(document.body)),
            **(extra or {}),
        }
        return self.answer(asked, route, document.status, fields, document.body, until=until)

    def answer(
        self,
        asked: Asked,
        route: str,
        status: int,
        fields: Mapping[str, str],
        body: bytes = b"",
        *,
        until: float = math.inf,
        is_preflight: bool = False,
    ) -> Answer:
        """Return the answer with these `fields`, those of `SECURITY`, and what lets scripts of other origins read it."""
        every = {**SECURITY, **fields}
        cors = self.service.access.cors(asked.fields.get("origin", ""), is_preflight=is_preflight)
        if "vary" in every and "vary" in cors:
            cors["vary"] = f"{every['vary']}, {cors['vary']}"
        every |= cors
        return Answer(status=status, fields=every, body=body, route=route, until=until)
