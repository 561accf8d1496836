"""Documents: path -> rendered answer, made when somebody asks and the tree has changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import attrs

from statusd.errors import StartError, place_of
from statusd.model.snapshot import Snapshot
from statusd.plugin.contracts import Document, View, problem
from statusd.plugin.validation import MAX_PAYLOAD, plain, plain_bytes
from statusd.web.statetree import render_state
from statusd.web.target import canonical

log = logging.getLogger("statusd.web")

CORE: Final = "statusd"
"""Who claims the paths of the daemon itself, in error messages."""

STATE: Final = "/state"

_HEALTH: Final = Document(body=b'{"status":"ok"}')
_FIXED: Final[Mapping[str, Document]] = {"/health": _HEALTH, "/healthz": _HEALTH}

# A path as it is compared: segments of what stands in a URL (RFC 3986, pchar), without empty ones and dots.
_PATH: Final = re.compile(r"/|(?:/(?!\.\.?(?:/|\Z))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
_CONTENT_TYPE: Final = re.compile(r"[!-~]+/[!-~][ -~]*")  # what may be sent; no CR or LF
_NO_BODY: Final = frozenset({204, 205, 304})  # HTTP sends none with these (RFC 9110, section 15)


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


_Render: TypeAlias = Callable[[Snapshot], Document | None]


@attrs.define(eq=False)
class _Page:
    """One path: who renders it, and what came of it."""

    owner: str
    render: _Render
    version: int | None = None
    document: Document | None = None
    is_rendered: bool = False
    cause: str = ""


class Documents:
    """Holds the rendered answer for each path.

    Args:
        views: in the order in which their plugins were loaded.
        snapshot: returns the newest snapshot; cheap, called for each request.
        on_view_failed: told once each time a view begins to fail, fails otherwise, or works again.

    Raises:
        StartError: when two views, or a view and the daemon, claim one path.
    """

    def __init__(
        self, views: Sequence[View], snapshot: Callable[[], Snapshot], *, on_view_failed: OnViewFailed
    ) -> None:
        self._snapshot = snapshot
        self._on_view_failed = on_view_failed
        self._pages: dict[str, _Page] = {}
        self._branches: dict[str, _Page] = {}
        self._branches_version: int | None = None
        claims = {canonical(path): CORE for path in (*_FIXED, STATE)}
        for view in views:
            for path in self._paths(view):
                self._claim(claims, path, view)
                render = partial(view.render, path)
                self._pages[canonical(path)] = _Page(owner=_name(view), render=render)

    def get(self, path: str) -> Document | None:
        """Return the document at `path`, or None when there is none.

        Args:
            path: the raw path of a request, percent-encoded, without the query.
        """
        fixed = _FIXED.get(path)
        if fixed is not None:
            return fixed
        page = self._pages.get(path)
        if page is None:
            path = canonical(path)
            page = self._pages.get(path)
        if page is not None:
            return self._rendered(page, path, self._snapshot())
        if path == STATE or path.startswith(f"{STATE}/"):
            return self._branch(path)
        return _FIXED.get(path)

    def _branch(self, path: str) -> Document | None:
        snapshot = self._snapshot()
        branch = path.removeprefix(STATE).removeprefix("/")
        if (not branch and path != STATE) or snapshot.find(branch) is None:
            return None
        if self._branches_version != snapshot.version:
            # Only branches that exist are kept, so strangers cannot make this grow.
            self._branches = {
                kept: page for kept, page in self._branches.items() if snapshot.find(kept) is not None
            }
            self._branches_version = snapshot.version
        page = self._branches.get(branch)
        if page is None:
            page = self._branches[branch] = _Page(owner=CORE, render=partial(render_state, path=branch))
        return self._rendered(page, path, snapshot)

    def _rendered(self, page: _Page, path: str, snapshot: Snapshot) -> Document:
        if page.version != snapshot.version or page.document is None:
            page.version = snapshot.version
            try:
                page.document = _valid(page.render(snapshot))
                page.is_rendered = True
            except BaseException as error:  # noqa: BLE001  # a view is a plugin's; its fault must not become a client's
                self._failed(page, path, error)
            else:
                self._works(page, path)
        assert page.document is not None
        return page.document

    def _failed(self, page: _Page, path: str, error: BaseException) -> None:
        kind = type(error).__name__
        # What tells one failure from another: not its text, which may count or carry the time.
        cause = f"{kind} at {place_of(error)}"
        if page.document is None:
            page.document = problem(
                500,
                "View failed",
                "view_failed",
                "What renders this document failed; the daemon's log says why.",
            )
        if cause == page.cause:
            return
        page.cause = cause
        kept = "its last document is served" if page.is_rendered else "an error is served"
        log.error('The view "%s" failed at %s: %s; %s.', page.owner, path, kind, kept, exc_info=error)
        if page.owner != CORE:
            self._on_view_failed(page.owner, path, f"The view raised {kind} for {path}; {kept}.")

    def _works(self, page: _Page, path: str) -> None:
        if page.cause:
            page.cause = ""
            log.info('The view "%s" works again at %s.', page.owner, path)
            if page.owner != CORE:
                self._on_view_failed(page.owner, path, None)

    def _paths(self, view: View) -> tuple[str, ...]:
        try:
            paths: tuple[Any, ...] = tuple(dict.fromkeys(view.paths()))
            for path in paths:
                if not isinstance(path, str) or not _PATH.fullmatch(path):
                    raise InvalidPathError(f"{path!r} is not a URL path such as /models")  # noqa: TRY301  # one place contains it all
        except BaseException as error:  # as for rendering: the other views are served
            name = _name(view)
            log.error('The view "%s" is left out: it did not say its paths.', name, exc_info=error)  # noqa: TRY400  # exc_info is given
            self._on_view_failed(name, "", f"The view is left out: {type(error).__name__} from its paths().")
            return ()
        return paths

    @staticmethod
    def _claim(claims: dict[str, str], path: str, view: View) -> None:
        claimant = f'the view "{_name(view)}" ({type(view).__module__})'
        key = canonical(path)
        holder = CORE if key.startswith(f"{STATE}/") else claims.get(key)
        if holder is None:
            claims[key] = claimant
            return
        first = "statusd itself" if holder == CORE else holder
        raise StartError(
            f"{first} and {claimant} both claim the path {path}; "
            "disable the plugin of one of them with [plugins] disabled."
        )


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
    return Document(body=body, status=code, content_type=content_type)


def _name(view: View) -> str:
    return str(getattr(view, "name", "") or type(view).__name__)
