"""The documents of views: path -> rendered answer, made when somebody asks and the tree has changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from statusd.errors import StartError, place_of
from statusd.events import PLUGIN_FAILED, event
from statusd.model.snapshot import Snapshot
from statusd.plugin.contracts import Document, View, problem
from statusd.plugin.validation import MAX_PAYLOAD, plain, plain_bytes
from statusd.web.quality import VIEW_FAILED, entity_tag
from statusd.web.target import canonical

log = logging.getLogger("statusd.web")

CORE: Final = "statusd itself"
"""Who claims the paths of the daemon, in error messages."""

# A path as it is compared: segments of what stands in a URL (RFC 3986, pchar), without empty ones and dots.
_PATH: Final = re.compile(r"/|(?:/(?!\.\.?(?:/|\Z))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
_CONTENT_TYPE: Final = re.compile(r"[!-~]+/[!-~][ -~]*")  # what may be sent; no CR or LF
_NO_BODY: Final = frozenset({204, 205, 304})  # HTTP sends none with these (RFC 9110, section 15)
_DETAIL: Final = re.compile(r"[a-z][a-z0-9_]*")


class OnViewFailed(Protocol):
    """Is told when a view fails, and when it works again."""

    def __call__(self, view: str, path: str, message: str | None, /) -> None:
        """Take note.

        Args:
            view: the view's name.
            path: the path that failed; ``""`` when the view could not even say its paths.
            message: one sentence for people; None: the view works again.
        """
        ...


@attrs.frozen
class Rendered:
    """A document, ready to be sent.

    Attributes:
        document: the document.
        tag: its entity tag; ``""`` = it has none.
        fields: further header fields.
    """

    document: Document
    tag: str = ""
    fields: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, document: Document, fields: Mapping[str, str] | None = None) -> Rendered:
        """Return `document` with the entity tag of its bytes."""
        return cls(document, entity_tag(document), fields or {})


@attrs.define(eq=False)
class Latest:
    """A document of the daemon's own, rendered once a snapshot.

    Attributes:
        snapshot: returns the newest one.
        render: renders it.
    """

    snapshot: Callable[[], Snapshot]
    render: Callable[[Snapshot], Rendered]
    _version: int | None = attrs.field(default=None, init=False)
    _rendered: Rendered | None = attrs.field(default=None, init=False)

    def get(self) -> Rendered:
        """Return it as it is now."""
        snapshot = self.snapshot()
        if self._rendered is None or self._version != snapshot.version:
            self._rendered, self._version = self.render(snapshot), snapshot.version
        return self._rendered


@attrs.define(eq=False, kw_only=True)
class Page:
    """One path of a view: who renders it, out of which sources, and what came of it.

    Attributes:
        view: the view.
        path: as the view names it.
        sources: the names of the sources behind it.
    """

    view: View
    path: str
    sources: tuple[str, ...] = ()
    version: int | None = None
    rendered: Rendered | None = None
    is_good: bool = False
    cause: str = ""


class Documents:
    """Holds the rendered answer for each path of a view.

    Args:
        views: in the order in which their plugins were loaded.
        snapshot: returns the newest snapshot; cheap, called for each request.
        reserved: the paths that the daemon itself serves, with ``/*`` at the end for all below.
        on_view_failed: told once each time a view begins to fail, fails otherwise, or works again.

    Raises:
        StartError: when two views, or a view and the daemon, claim one path.
    """

    def __init__(
        self,
        views: Sequence[View],
        snapshot: Callable[[], Snapshot],
        *,
        reserved: Sequence[str] = (),
        on_view_failed: OnViewFailed,
    ) -> None:
        self._snapshot = snapshot
        self._on_view_failed = on_view_failed
        self._reserved = tuple(reserved)
        self.pages: dict[str, Page] = {}
        """Canonical path -> what is there."""
        for view in views:
            for path, sources in self._paths(view):
                self._claim(path, view)
                self.pages[canonical(path)] = Page(view=view, path=path, sources=sources)

    def render(self, page: Page) -> Rendered:
        """Return the newest document of `page`; the last good one, marked, while its view fails."""
        snapshot = self._snapshot()
        if page.version != snapshot.version or page.rendered is None:
            page.version = snapshot.version
            try:
                document = _valid(page.view.render(page.path, snapshot))
                page.rendered, page.is_good = Rendered.of(document), True
            except BaseException as error:  # noqa: BLE001  # a view is a plugin's; its fault must not become a client's
                self._failed(page, error)
            else:
                self._works(page)
        assert page.rendered is not None
        return page.rendered

    def _failed(self, page: Page, error: BaseException) -> None:
        name, kind = _name(page.view), type(error).__name__
        # What tells one failure from another: not its text, which may count or carry the time.
        cause = f"{kind} at {place_of(error)}"
        if page.rendered is None:
            failure = problem(
                500,
                "View failed",
                VIEW_FAILED,
                "What renders this document failed; the daemon's log says why.",
            )
            page.rendered = Rendered.of(failure)
        elif page.is_good:
            page.rendered = attrs.evolve(
                page.rendered, document=attrs.evolve(page.rendered.document, detail=VIEW_FAILED)
            )
        if cause == page.cause:
            return
        page.cause = cause
        kept = "its last document is served" if page.is_good else "an error is served"
        told = event(PLUGIN_FAILED, reason=VIEW_FAILED, part=name)
        log.error(
            'The view "%s" failed at %s: %s; %s.', name, page.path, kind, kept, exc_info=error, extra=told
        )
        self._on_view_failed(name, page.path, f"The view raised {kind} for {page.path}; {kept}.")

    def _works(self, page: Page) -> None:
        if page.cause:
            page.cause = ""
            name = _name(page.view)
            log.info('The view "%s" works again at %s.', name, page.path)
            self._on_view_failed(name, page.path, None)

    def _paths(self, view: View) -> list[tuple[str, tuple[str, ...]]]:
        """Return the paths of `view`, each with the sources behind it; none when it cannot say them."""
        try:
            paths: tuple[Any, ...] = tuple(dict.fromkeys(view.paths()))
            for path in paths:
                if not isinstance(path, str) or not _PATH.fullmatch(path):
                    raise InvalidPathError(f"{path!r} is not a URL path such as /models")  # noqa: TRY301  # one place contains it all
            return [(path, tuple(str(name) for name in view.sources(path))) for path in paths]
        except BaseException as error:  # as for rendering: the other views are served
            name = _name(view)
            log.error('The view "%s" is left out: it did not say its paths.', name, exc_info=error)  # noqa: TRY400  # exc_info is given
            self._on_view_failed(name, "", f"The view is left out: {type(error).__name__} from its paths().")
            return []

    def _claim(self, path: str, view: View) -> None:
        claimant = _claimant(view)
        key = canonical(path)
        holder = self.pages.get(key)
        if any(key == one or (one.endswith("/*") and key.startswith(one[:-1])) for one in self._reserved):
            first = CORE
        elif holder is not None:
            first = _claimant(holder.view)
        else:
            return
        raise StartError(
            f"{first} and {claimant} both claim the path {path}; "
            "disable the plugin of one of them with [plugins] disabled."
        )


def _claimant(view: View) -> str:
    return f'the view "{_name(view)}" ({type(view).__module__})'


class InvalidPathError(ValueError):
    """Raised when a view claims what is no URL path."""


class InvalidDocumentError(ValueError):
    """Raised when a view returns what cannot be sent."""


def _valid(document: Any) -> Document:
    """Return `document` when it can be sent as it is; no subclass of anything, whose methods could fail later.

    Raises:
        InvalidDocumentError: with what is wrong with it.
    """
    if not isinstance(document, Document):
        raise InvalidDocumentError(f"it returned {type(document).__name__}, not Document")
    given: Any = document  # its fields are what a plugin put there
    status, body, content_type = given.status, given.body, given.content_type
    body = plain_bytes(body, MAX_PAYLOAD) if isinstance(body, bytes) else None
    if body is None:
        raise InvalidDocumentError(f"its body is not bytes, or over {MAX_PAYLOAD} bytes")
    code = int.__int__(status) if isinstance(status, int) and not isinstance(status, bool) else 0
    if not 200 <= code <= 599 or code in _NO_BODY:
        raise InvalidDocumentError("its status is no status code from 200 to 599 that goes with a body")
    content_type = plain(content_type) if isinstance(content_type, str) else ""
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise InvalidDocumentError("its content_type is not a media type")
    detail = plain(given.detail) if isinstance(given.detail, str) else "-"
    if detail and not _DETAIL.fullmatch(detail):
        raise InvalidDocumentError("its detail is no lower_snake_case word")
    return Document(body=body, status=code, content_type=content_type, detail=detail)


def _name(view: View) -> str:
    return str(getattr(view, "name", "") or type(view).__name__)
