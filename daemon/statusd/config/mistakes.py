"""Mistakes in a configuration: each with its path and its remedy, all of them raised at once."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from statusd.errors import StatusdError


@attrs.frozen
class Mistake:
    """One thing that is wrong in a configuration.

    Attributes:
        path: where, as in ``sources.queue.interval`` or ``line 3, column 5``; ``""`` for the file as a whole.
        message: what is wrong, with the value where it cannot be secret, and the remedy.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(StatusdError):
    """Raised when a configuration cannot be used as it is written; nothing of it has been put to work.

    Args:
        mistakes: everything that is wrong with it.
        origin: the file, or what else the text came from.
    """

    def __init__(self, mistakes: Iterable[Mistake], origin: str) -> None:
        self.mistakes: tuple[Mistake, ...] = tuple(mistakes)
        self.origin = origin
        number = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__("\n  ".join([f"{origin} has {number}:", *map(str, self.mistakes)]))
