"""The secrets of a configuration before its plugins are loaded: what no plugin may show while it fails to load."""

from __future__ import annotations

import re
from typing import Final

from statusd.config.findings import Findings
from statusd.config.interpolate import Expanded
from statusd.config.secrets import WAYS, read_secret
from statusd.config.settings import Settings
from statusd.config.urls import read_url

_FIELD_WITH_SECRET: Final = re.compile(
    r"^(?:cookie|(?=.*-).*(?:authorization|cookie|key|token|secret|password).*)$", re.IGNORECASE
)
"""Header fields whose value is a secret where the environment gave it; TOML keys of statusd have no hyphen."""


def secrets_in(settings: Settings) -> tuple[str, ...]:
    """Return every text form of every secret: those of ``[http]``, and what sources, views and sinks refer to.

    Nobody knows yet which of their keys are secrets, so all that looks like one is taken for one. What cannot be read
    is left out: `resolve` says so.
    """
    findings = Findings(environ=settings.environ, secrets=[*settings.secrets])
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
            if isinstance(inner, Expanded) and _FIELD_WITH_SECRET.search(key):
                findings.secret(*(inner[start:end] for start, end in inner.spans))
            _scan(inner, findings)
