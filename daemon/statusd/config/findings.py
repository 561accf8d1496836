"""What turning tables into values brings to light: mistakes, faults of the surroundings, secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

import attrs

from statusd.config.mistakes import Mistake
from statusd.redaction import SHORTEST, Redactor


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

    def mistake(self, path: str, message: str) -> None:
        """Take a mistake; secrets known so far do not show in it."""
        self.mistakes.append(Mistake(path, self.masked(message)))

    def masked(self, message: str) -> str:
        """Return `message` with every known secret as ``***``."""
        return Redactor(self.secrets)(message)

    def unreadable(self, path: str, message: str) -> None:
        """Take the fault that a secret cannot be read."""
        self.faults.append(Fault(path=path, reason="secret_unreadable", message=message))

    def secret(self, *forms: str) -> None:
        """Take the text forms of a secret, and how URLs, JSON and tracebacks spell them."""
        for form in forms:
            self._know(form, quote(form, safe=""), json.dumps(form)[1:-1], repr(form)[1:-1])

    def _know(self, *texts: str) -> None:
        for text in texts:
            if len(text) >= SHORTEST and text not in self.secrets:
                self.secrets.append(text)

    def trial(self) -> Findings:
        """Return empty findings in the same surroundings, to be thrown away or taken by `adopt`."""
        return Findings(environ=self.environ, keys=self.keys, secrets=list(self.secrets))

    def adopt(self, other: Findings) -> None:
        """Take everything that `other` found."""
        self.mistakes += other.mistakes
        self.faults += other.faults
        self._know(*other.secrets)
