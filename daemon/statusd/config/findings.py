"""What turning tables into values brings to light: mistakes, faults of the surroundings, secrets."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, quote_plus

import attrs

from statusd.config.mistakes import Mistake
from statusd.redaction import SHORTEST, Redactor

_ESCAPED: Final = re.compile("%[0-9A-F]{2}")


@attrs.frozen(kw_only=True)
class Fault:
    """Something outside the configuration that is not as it says.

    Attributes:
        path: where the configuration relies on it.
        reason: ``secret_unreadable``, ``plugin_missing``, ``plugin_disabled`` or ``plugin_failed``.
        message: what is wrong, and the remedy.
    """

    path: str
    reason: str
    message: str


@attrs.define(eq=False, kw_only=True)
class Findings:
    """Collects what is found in one table.

    Attributes:
        environ: where the variables that secrets name are looked up.
        keys: the names of all keys of the table, for remedies that point to another one.
        mistakes, faults: in the order found.
        secrets: every text form of every secret.
    """

    environ: Mapping[str, str]
    keys: frozenset[str] = frozenset()
    mistakes: list[Mistake] = attrs.field(factory=list)
    faults: list[Fault] = attrs.field(factory=list)
    secrets: list[str] = attrs.field(factory=list)
    _known: set[str] = attrs.field(init=False)
    _redactor: Redactor | None = attrs.field(default=None, init=False)

    @_known.default
    def _know_given(self) -> set[str]:
        return set(self.secrets)

    def mistake(self, path: str, message: str) -> None:
        """Take a mistake; secrets known so far do not show in it."""
        self.mistakes.append(Mistake(path, self.masked(message)))

    def masked(self, message: str) -> str:
        """Return `message` with every known secret as ``***``."""
        if self._redactor is None:
            self._redactor = Redactor(self.secrets)
        return self._redactor(message)

    def unreadable(self, path: str, message: str) -> None:
        """Take the fault that a secret cannot be read."""
        self.faults.append(Fault(path=path, reason="secret_unreadable", message=message))

    def secret(self, *forms: str) -> None:
        """Take the text forms of a secret, and how URLs, JSON, tracebacks and headers spell them."""
        for form in forms:
            self._know(form, *_spellings(form))

    def _know(self, *texts: str) -> None:
        for text in texts:
            if len(text) >= SHORTEST and text not in self._known:
                self._known.add(text)
                self.secrets.append(text)
                self._redactor = None

    def trial(self) -> Findings:
        """Return empty findings in the same surroundings, to be thrown away or taken by `adopt`."""
        return Findings(environ=self.environ, keys=self.keys, secrets=list(self.secrets))

    def adopt(self, other: Findings) -> None:
        """Take everything that `other` found."""
        self.mistakes += other.mistakes
        self.faults += other.faults
        self._know(*other.secrets)


def _spellings(text: str) -> tuple[str, ...]:
    """Return what others make of `text` before it gets anywhere: each spelling hides it from whoever looks for it."""
    data = text.encode(errors="surrogateescape")
    encoded = base64.b64encode(data).decode().rstrip("=") if len(text) >= SHORTEST else ""
    for_urls = (quote(data, safe=""), quote(data), quote_plus(data), quote(data, safe="!*'()"))
    return (
        *for_urls,
        *(_ESCAPED.sub(lambda found: found[0].lower(), spelled) for spelled in for_urls),
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        repr(f"'\"{text}")[4:-1],  # as within a text that has both
        ascii(text)[1:-1],
        repr(data)[2:-1],
        html.escape(text),
        encoded,
        encoded.replace("+", "-").replace("/", "_"),
    )
