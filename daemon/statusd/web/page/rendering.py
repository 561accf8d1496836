"""The page at ``/``: the state tree for people, in one document that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from types import MappingProxyType
from typing import Final

import jinja2

from statusd.model.snapshot import Snapshot
from statusd.plugin.contracts import Document
from statusd.web.bodies import encode, state_body, timestamp
from statusd.web.page import words


def _read(name: str) -> str:
    return files("statusd.web.page").joinpath(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """Return the source expression that allows just this inline text (CSP 3, section 2.3.1)."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


_STYLE: Final = _read("page.css")
_SCRIPT: Final = "\n".join(_read(name) for name in ("words.js", "nodes.js", "live.js"))

_POLICY: Final = (
    "default-src 'none'",
    f"script-src {_source(_SCRIPT)}",
    f"style-src {_source(_STYLE)}",
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",  # no text becomes markup, even by a mistake in the script
    "trusted-types 'none'",
)

HEADERS: Final = MappingProxyType(
    {"Content-Security-Policy": "; ".join(_POLICY), "Referrer-Policy": "no-referrer"}
)
"""What must be sent along with the page."""


def _visible(value: object) -> object:
    return words.visible(value) if type(value) is str else value  # markup is a subclass, and ours


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words.FILTERS)
    environment.globals.update(style=_STYLE, script=_SCRIPT)
    return environment.from_string(_read("page.html"))


_PAGE: Final = _template()


def render_page(snapshot: Snapshot) -> Document:
    """Return the page that shows `snapshot`, from the very document that ``/state`` serves; to be sent with `HEADERS`.

    Args:
        snapshot: what to show.
    """
    state = words.parse(encode(state_body(snapshot, "")))
    html = _PAGE.render(
        root=state["node"],
        revision=state["revision"].text,
        at=timestamp(snapshot.at) or "1970-01-01T00:00:00Z",
    )
    return Document(body=html.encode(), content_type="text/html; charset=utf-8")
