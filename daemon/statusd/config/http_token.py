"""``[http] token``: the bearer token that clients must show, a secret by reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from statusd.config.findings import Findings
from statusd.config.secrets import read_secret
from statusd.values import Secret

PATH: Final = "http.token"
MAX_TOKEN: Final = 1024
"""Characters; a header field with it still fits the smallest `header_bytes`, all but its own name."""

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


def read_token(table: Mapping[str, object], findings: Findings) -> Secret | None:
    """Return the token of ``[http]``: None where none is configured, the empty one where it is not there.

    The empty one lets nobody in. A token that no header field can carry (RFC 9110, section 5.5) counts as not there.

    Args:
        table: the table ``[http]``.
        findings: takes mistakes in the reference, the fault that there is no token behind it, and the token.
    """
    if "token" not in table:
        return None
    before = len(findings.faults)
    token = read_secret(table["token"], PATH, findings)
    if not isinstance(token, Secret):
        return Secret()  # it has a mistake
    if not token:
        if len(findings.faults) == before:
            # The name is not shown: whoever takes `env` for the place of the token itself has put it there.
            findings.unreadable(PATH, _UNSET)
        return Secret()
    if problem := _problem(token.reveal()):
        findings.unreadable(PATH, f"The token {problem}; write one such as `openssl rand -hex 32` prints.")
        return Secret()
    return token


_UNSET: Final = (
    "The variable that env names is not set or empty; set it to the token, or remove the key to want none."
)


def _problem(token: str) -> str:
    """Return what keeps `token` from being sent, or ``""``; nothing of the token."""
    if not _VISIBLE.fullmatch(token):
        return "holds characters other than visible ASCII, which no request can carry"
    if len(token) > MAX_TOKEN:
        return f"is over {MAX_TOKEN} characters, more than every request can carry"
    return ""
