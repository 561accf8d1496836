"""Finding the secrets of a source, and whether they show."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote

import attrs
import msgspec

from statusd.model.report import Report
from statusd.plugin.contracts import Source
from statusd.plugin.options import INTERNAL
from statusd.values import Secret, Url

SHORTEST: Final = 4
"""Characters below which a secret is not searched for: it would be found in ordinary words."""


@attrs.frozen
class Hidden:
    """Secrets in every form in which they could show."""

    forms: tuple[str, ...]

    @classmethod
    def of(cls, secrets: Iterable[str]) -> Hidden:
        """Take these `secrets`, as they are, percent-encoded and in Base64."""
        forms: dict[str, None] = {}
        for secret in secrets:
            if len(secret) >= SHORTEST:
                encoded = base64.b64encode(secret.encode()).decode()
                forms |= dict.fromkeys((secret, quote(secret, safe=""), encoded))
        return cls(tuple(forms))

    def shows_in(self, text: str) -> bool:
        """Return whether a secret is in `text`."""
        return any(form in text for form in self.forms)

    def shows_in_state(self, report: Report) -> bool:
        """Return whether a secret is in a report's label, path, facts or names of measurements."""
        facts = msgspec.json.encode([report.facts, list(report.measurements)]).decode()
        return self.shows_in(f"{report.label} {report.path} {facts}")


def secrets_of(source: Source) -> Iterator[str]:
    """Yield every `Secret`, and the userinfo of every `Url`, in the configuration of `source`."""
    for key in attrs.fields(type(source)):
        if not key.metadata.get(INTERNAL):
            yield from _secrets_in(getattr(source, key.name))


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, Url):
        yield from value.secrets()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets_in(item)
