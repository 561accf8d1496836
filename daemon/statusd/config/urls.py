"""URLs, whose userinfo is a secret and so must come from the environment."""

from __future__ import annotations

import re
from typing import Final

from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN, Broken, Expanded
from statusd.config.wording import quoted
from statusd.values import MASK, Url

_END_OF_AUTHORITY: Final = re.compile(r"[/?#]")
_QUERY: Final = re.compile(r"\?.*", re.DOTALL)


def read_url(text: str, path: str, findings: Findings) -> Url | Broken:
    """Return the URL in `text`, or `BROKEN` after taking the mistake; its secrets are taken too.

    Args:
        text: a string of the configuration, expanded.
        path: where it stands.
        findings: takes mistakes and secrets.
    """
    secret = secret_span(text)
    if secret is not None and not _overlaps(secret, text):
        findings.mistake(path, _in_the_file(text, findings.keys))
        return BROKEN
    try:
        url = Url.parse(str(text))
    except ValueError as error:
        findings.mistake(path, f"{shown_url(text)} {error}")
        return BROKEN
    findings.secret(*url.secrets())
    if not url.password:
        findings.secret(url.username.reveal())  # a lone user name is as a rule a token
    return url


def secret_span(text: str) -> tuple[int, int] | None:
    """Return where the password, or without one the user name, stands in a URL (RFC 3986, section 3.2)."""
    scheme, separator, _ = text.partition("://")
    if not separator:
        return None
    start = len(scheme) + len(separator)
    end = _END_OF_AUTHORITY.search(text, start)
    at = text.rfind("@", start, end.start() if end else len(text))
    colon = text.find(":", start, max(at, start))
    user_ends = at if colon < 0 else colon
    found = (colon + 1, at) if 0 < colon < at - 1 else (start, user_ends)
    return found if found[0] < found[1] else None


def shown_url(text: str) -> str:
    """Return `text` in quotes without what may be secret: userinfo and query."""
    return quoted(text if isinstance(text, Expanded) else _QUERY.sub(f"?{MASK}", text))


def _overlaps(secret: tuple[int, int], text: str) -> bool:
    """Whether some of the secret came from the environment."""
    start, end = secret
    return isinstance(text, Expanded) and any(a < end and b > start for a, b in text.spans)


def _in_the_file(text: str, keys: frozenset[str]) -> str:
    remedy = "write ${VARIABLE} in its place"
    if "password" in keys:
        remedy += ' or use the key "password"'
    return f"{shown_url(text)} holds a user name or password, which must not stand in the file; {remedy}"
