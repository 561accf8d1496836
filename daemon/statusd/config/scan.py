"""The secrets of a configuration before its plugins are loaded: what no plugin may show while it fails to load."""

from __future__ import annotations

from typing import Final

import attrs

from statusd.config.findings import Findings
from statusd.config.interpolate import Expanded
from statusd.config.secrets import WAYS, read_secret
from statusd.config.settings import Settings
from statusd.config.urls import read_url

_WORDS: Final = ("authorization", "cookie", "key", "token", "secret", "password")
"""What is in the names of header fields whose value is a secret where the environment gave it."""


@attrs.define(eq=False, kw_only=True)
class _Secrets(Findings):
    """Collects secrets alone: to mask those known so far in each mistake took seconds for some hundred of both."""

    def mistake(self, path: str, message: str) -> None:
        """Pass it over."""


def secrets_in(settings: Settings) -> tuple[str, ...]:
    """Return every text form of every secret: those of ``[http]``, and what sources, views and sinks refer to.

    Nobody knows yet which of their keys are secrets, so all that looks like one is taken for one. What cannot be read
    is left out: `resolve` says so.
    """
    findings = _Secrets(environ=settings.environ, secrets=[*settings.secrets])
    for source in settings.sources.values():
        _scan(source.options, findings)
    _scan(settings.views, findings)
    _scan(settings.sinks, findings)
    return tuple(findings.secrets)


def _scan(value: object, findings: Findings) -> None:
    if isinstance(value, Expanded):
        read_url(value, "", findings)
    elif isinstance(value, list):
        for inner in value:
            _scan(inner, findings)
    elif isinstance(value, dict):
        if len(value) == 1 and any(way in value for way in WAYS):
            read_secret(value, "", findings)
        for key, inner in value.items():
            if isinstance(inner, Expanded) and _is_secret(key):
                findings.secret(*(inner[start:end] for start, end in inner.spans))
            _scan(inner, findings)


def _is_secret(key: str) -> bool:
    """Whether `key` may be a header field with a secret; TOML keys of statusd have no hyphen."""
    # Without an expression: on a long key it would hold up the whole process.
    name = key.lower()
    return name == "cookie" or ("-" in name and any(word in name for word in _WORDS))
