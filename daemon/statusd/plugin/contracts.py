"""What a plugin implements: sources, views and sinks, and the answers they give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from statusd.errors import ProbeError
from statusd.model.report import Report
from statusd.model.snapshot import Snapshot
from statusd.model.tree import Transition
from statusd.plugin.context import Context, HttpResponse, ViewContext
from statusd.plugin.options import INTERNAL, option
from statusd.values import Url

Reports: TypeAlias = Report | Sequence[Report]


@attrs.frozen(kw_only=True)
class Source:
    """Base class of source types; subclass it with ``@attrs.frozen(kw_only=True)`` and declare keys by `option`.

    Attributes:
        context: what the daemon hands to this source.
    """

    default_interval: ClassVar[float] = 2.0
    """Seconds between probes where the configuration sets no ``interval``."""

    context: Context = attrs.field(repr=False, eq=False, metadata={INTERNAL: True})

    @property
    def is_configured(self) -> bool:
        """Whether there is anything to probe; if not, the source is `off`, reason ``not_configured``."""
        return True

    def probe(self) -> Reports | Awaitable[Reports]:
        """Look at the upstream once and report; ``async def``, or plain (then it runs in a thread of its own).

        A model that the source is configured to serve and that no report names follows the source's own report.

        Returns:
            one `Report`, or a list with at most one about the source itself (``path == ""``, ``model is None``).

        Raises:
            ProbeError: becomes a `down` report with its reason and message.
        """
        raise NotImplementedError  # the conformance checks and the loader name the class that lacks it

    async def watch(self, changed: Callable[[], None]) -> None:
        """Listen to the upstream for ever, and call `changed` when a probe would find something new.

        The supervisor then probes at once; what comes while a probe runs is one further probe. Override it where the
        upstream can tell; polling goes on beside it. When it raises or returns, it is called again after a pause; where
        it had called `changed` before, a probe runs too, since the upstream may have gone.

        Args:
            changed: cheap; to be called in the event loop's thread, also once listening has begun, since what changed
                before that was told to nobody.

        Raises:
            ProbeError: the upstream cannot be listened to now.
        """

    def on_failure(self, failure: Report) -> Reports:
        """Return the reports for a probe that timed out, raised or returned nonsense; by default just `failure`.

        Override it to add reports about models, such as a label of their own.

        Args:
            failure: what the supervisor would report about the source; return it along with the others.
        """
        return failure


@attrs.frozen(kw_only=True)
class HttpSource(Source):
    """Base class of sources that ask an HTTP server: adds the keys for a private CA and a Unix socket."""

    ca_file: str = option(
        "", help="PEM file with the certificate authorities to trust, instead of the system's."
    )
    unix_socket: str = option("", help="Connect to this Unix socket instead of the URL's host and port.")

    async def get(
        self, url: Url, *, headers: Mapping[str, str] | None = None, max_body: int = 1 << 20
    ) -> HttpResponse:
        """Send one GET as `HttpClient.get` does, with this source's ``ca_file`` and ``unix_socket``."""
        return await self.context.http.get(
            url, headers=headers, max_body=max_body, ca_file=self.ca_file, unix_socket=self.unix_socket
        )


def expect_success(response: HttpResponse) -> None:
    """Want a 2xx answer.

    Raises:
        ProbeError: ``unauthorized`` (401, 403), ``redirect`` (3xx), ``unavailable`` (503) or ``http_error``.
    """
    code = response.status
    if 200 <= code < 300:
        return
    reason = "http_error"
    if code in {401, 403}:
        reason, meaning = "unauthorized", "the key is missing or wrong"
    elif 300 <= code < 400:
        reason, meaning = "redirect", "probes do not follow redirects; set the final URL"
    elif code == 503:
        reason, meaning = "unavailable", "it is not available"
    elif code == 429:
        meaning = "it is asked too often; raise the interval"
    elif code >= 500:
        meaning = "it failed, and its own log knows why"
    else:
        meaning = "correct the URL, or another kind of server listens there"
    raise ProbeError(reason, f"{response.url.bare or 'The server'} answered {code}: {meaning}.")


@attrs.frozen(kw_only=True)
class Document:
    """A rendered answer.

    Attributes:
        body: the bytes.
        status: the status code.
        content_type: the ``Content-Type`` value.
        detail: where a default or a stale value stands in for what was asked: the reason, a lower_snake_case word;
            clients see it in ``Cache-Status`` (RFC 9211). ``""`` = the answer is what it says.
    """

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    detail: str = ""


@attrs.frozen(kw_only=True)
class View:
    """Base class of views, which render a snapshot as the document of an endpoint.

    Subclass it with ``@attrs.frozen(kw_only=True)``; keys declared by `option` are set in ``[views.<name>]``.
    """

    name: ClassVar[str]
    """The table ``[views.<name>]`` that configures it; unique among all views."""

    context: ViewContext = attrs.field(metadata={INTERNAL: True})

    def paths(self) -> tuple[str, ...]:
        """Return the URL paths it answers, each beginning with ``/``; asked once, at start."""
        raise NotImplementedError

    def sources(self, path: str) -> tuple[str, ...]:  # noqa: ARG002  # for those with several paths
        """Return the names of the sources behind one of its `paths`; asked once, at start.

        The answer is as old as the oldest of their readings, and they are probed for a client that wants it fresh.
        """
        return tuple(source.name for source in self.context.sources)

    def responses(self, path: str) -> Mapping[int, Any]:  # noqa: ARG002  # for those with several paths
        """Return what one of its `paths` answers, for ``/openapi.json``: status code -> type of the JSON body.

        Types are those that msgspec can describe: Structs, attrs classes, dict, list, Literal, ..., and unions of them;
        `Problem` for what `problem` makes. Where nothing is said, any answer is documented.
        """
        return {200: Any}

    def render(self, path: str, snapshot: Snapshot) -> Document:
        """Return the document for one of its `paths`; called when somebody asks and the tree has changed.

        It must be quick and must not block: it runs on the event loop. If it raises, the last good document stays.
        """
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Sink:
    """Base class of sinks, which consume transitions; keys declared by `option` are set in ``[sinks.<name>]``."""

    name: ClassVar[str]
    """The table ``[sinks.<name>]`` that configures it; a sink runs where its plugin is loaded."""

    async def consume(self, transition: Transition) -> None:
        """Take one transition; called one after another, from a bounded queue that drops the oldest when full."""
        raise NotImplementedError


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, for programs and for people (RFC 9457).

    Attributes:
        type: ``about:blank``, since the reason says more.
        title: what is wrong, the same each time.
        status: the status code.
        reason: a lower_snake_case word for programs.
        detail: what is wrong this time.
    """

    type: Literal["about:blank"]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    reason: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
    detail: str | UnsetType = UNSET


PROBLEM_TYPE: Final = "application/problem+json"


def problem(status: int, title: str, reason: str, detail: str = "") -> Document:
    """Return an ``application/problem+json`` document, a `Problem` (RFC 9457).

    Args:
        status: the status code.
        title: what is wrong, the same each time.
        reason: a lower_snake_case word for programs.
        detail: what is wrong this time.
    """
    body = Problem(type="about:blank", title=title, status=status, reason=reason, detail=detail or UNSET)
    return Document(body=msgspec.json.encode(body), status=status, content_type=PROBLEM_TYPE)
