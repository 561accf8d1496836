"""``${NAME}`` and ``${NAME:-default}`` in the strings of a configuration, from the environment.

The forms and their meaning are those of the POSIX shell (Shell Command Language, section 2.6.2), without its others:
``:-`` takes the default when the variable is unset or empty. Values of the environment are never expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Self, TypeAlias

import attrs

from statusd.config.mistakes import Mistake
from statusd.config.wording import below, item, quoted

MAX_NESTING: Final = 16
"""How deep defaults may hold further variables."""
MAX_DEPTH: Final = 32
"""How deep tables and arrays may be nested; dotted keys cost a parser nothing, and whoever walks them a stack."""
MAX_LENGTH: Final = 64 * 1024
"""Characters of an expanded string."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN: Final = re.compile(r"[^$}]+|.", re.DOTALL)


class Expanded(str):
    """A string that came through an interpolation, so that later steps know what is the environment's.

    Attributes:
        written: the text as it stands in the file.
        spans: (start, end) of each part of this string whose text is a variable's.
    """

    __slots__ = ("spans", "written")
    written: str
    spans: tuple[tuple[int, int], ...]

    def __new__(cls, text: str, written: str, spans: tuple[tuple[int, int], ...] = ()) -> Self:
        """Return `text` with where it came from."""
        expanded = super().__new__(cls, text)
        expanded.written = written
        expanded.spans = spans
        return expanded


class Broken:
    """Stands for a value that has a mistake already, so that no later step reports it again."""

    def __repr__(self) -> str:
        return "BROKEN"


BROKEN: Final = Broken()


class InterpolationError(ValueError):
    """Raised when a string cannot be expanded.

    Args:
        messages: one for each thing that is wrong, with its remedy.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


@attrs.frozen
class _Variable:
    name: str
    default: _Parts | None


_Parts: TypeAlias = tuple["str | _Variable", ...]


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced; `Expanded` if it has any, else plain; ``$${`` stands for ``${``.

    Args:
        text: a string of the configuration.
        environ: the variables.

    Raises:
        InterpolationError: for a variable that is unset and has no default, or a form that is not understood.
    """
    if "${" not in text:
        return text
    parts = _Parser(text).parse()
    pieces: list[tuple[str, bool]] = []
    errors: list[str] = []
    _evaluate(parts, environ, pieces, errors)
    if errors:
        raise InterpolationError(*dict.fromkeys(errors))
    spans, length = [], 0
    for piece, is_from_environment in pieces:
        if is_from_environment:
            spans.append((length, length + len(piece)))
        length += len(piece)
    if length > MAX_LENGTH:
        raise InterpolationError(f"the text is over {MAX_LENGTH} characters once expanded; shorten it")
    result = "".join(piece for piece, _ in pieces)
    if all(isinstance(part, str) for part in parts):
        return result
    return Expanded(result, text, tuple(spans))


def expand_values(value: object, environ: Mapping[str, str], path: str, mistakes: list[Mistake]) -> object:
    """Return `value` with every string in it expanded; what cannot be becomes `BROKEN`, with a mistake.

    Args:
        value: what the TOML parser returned; keys are left as they are.
        environ: the variables.
        path: where it stands in the configuration.
        mistakes: takes what is wrong.
    """
    return _expand_values(value, environ, path, mistakes, MAX_DEPTH)


def _expand_values(
    value: object, environ: Mapping[str, str], path: str, mistakes: list[Mistake], depth: int
) -> object:
    if isinstance(value, str):
        try:
            return expand(value, environ)
        except InterpolationError as error:
            mistakes.extend(Mistake(path, message) for message in error.messages)
            return BROKEN
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        mistakes.append(Mistake(path, f"nested over {MAX_DEPTH} levels deep; quote keys that contain a dot"))
        return BROKEN
    if isinstance(value, dict):
        return {
            key: _expand_values(inner, environ, below(path, key), mistakes, depth - 1)
            for key, inner in value.items()
        }
    return [
        _expand_values(inner, environ, item(path, index), mistakes, depth - 1)
        for index, inner in enumerate(value)
    ]


def _evaluate(
    parts: _Parts, environ: Mapping[str, str], pieces: list[tuple[str, bool]], errors: list[str]
) -> None:
    for part in parts:
        if isinstance(part, str):
            pieces.append((part, False))
        elif value := environ.get(part.name):
            if not _is_text(value):
                errors.append(f"the value of the variable {part.name} is not UTF-8; correct it")
            pieces.append((value, True))
        elif part.default is not None:
            _evaluate(part.default, environ, pieces, errors)
        elif part.name not in environ:
            errors.append(
                f"the variable {part.name} is not set; set it, or give a default as in "
                f'"${{{part.name}:-default}}"'
            )


def _is_text(value: str) -> bool:
    """Whether no byte of the environment had to be smuggled in as a lone surrogate (PEP 383)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Parser:
    """Splits one string into text and variables, by recursive descent with a bound."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def parse(self) -> _Parts:
        return self._parts(0)

    def _parts(self, nesting: int) -> _Parts:
        """Read until the end of the text or, within a default, past the ``}`` that closes its variable."""
        parts: list[str | _Variable] = []
        literal_braces = 0  # a "$${" within a default takes its own "}" along
        while self.at < len(self.text):
            if self._skip("$${"):
                parts.append("${")
                literal_braces += 1
            elif self._skip("${"):
                parts.append(self._variable(nesting + 1))
            elif nesting and not literal_braces and self._skip("}"):
                return tuple(parts)
            else:
                plain = _PLAIN.match(self.text, self.at)
                assert plain is not None  # the pattern takes any character
                parts.append(plain[0])
                self.at = plain.end()
                literal_braces -= plain[0] == "}" and literal_braces > 0
        if nesting:
            raise self._unclosed()
        return tuple(parts)

    def _variable(self, nesting: int) -> _Variable:
        if nesting > MAX_NESTING:
            raise InterpolationError(f'"${{" is nested over {MAX_NESTING} levels deep; use fewer variables')
        if self.at == len(self.text):
            raise self._unclosed()
        name = _NAME.match(self.text, self.at)
        if name is None:
            raise self._not_understood()
        self.at = name.end()
        if self.at == len(self.text):
            raise self._unclosed()
        if self._skip("}"):
            return _Variable(name[0], None)
        if self._skip(":-"):
            return _Variable(name[0], self._parts(nesting))
        raise self._not_understood()

    def _skip(self, token: str) -> bool:
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def _unclosed(self) -> InterpolationError:
        return InterpolationError(
            f'{quoted(self.text)} has a "${{" without its "}}"; close it, or write "$${{" for a literal "${{"'
        )

    def _not_understood(self) -> InterpolationError:
        return InterpolationError(
            f'{quoted(self.text)} has a "${{" that is no variable; expected "${{NAME}}" or "${{NAME:-default}}", '
            f'or "$${{" for a literal "${{"'
        )
