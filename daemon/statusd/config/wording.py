"""The words of mistakes: paths, values and types as a TOML file has them, never a secret."""

from __future__ import annotations

import datetime as dt
import difflib
import heapq
import json
import re
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

from statusd.values import MASK

MAX_SHOWN: Final = 80
"""Characters of a value that a message shows."""
CERTAIN: Final = 0.8
"""How alike two names must be (`difflib` ratio) for one to be a slip of the pen, where there is another explanation."""

MAX_LISTED: Final = 50
"""Names that a remedy lists: with thousands, each of as many mistakes would list them all."""

_COMPARED: Final = 200
"""Names that a misspelt one is compared with: it takes milliseconds."""
_LOOKED_AT: Final = 2000
"""Names beyond which none of them is looked at: there may be as many mistakes."""
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_AUTHORITY: Final = "://"
_MAX_INTEGER: Final = 2**63
_ARTICLES: Final = {"integer": "an", "array": "an"}


def below(path: str, key: str) -> str:
    """Return the path of `key` in the table at `path`, quoted where TOML wants it quoted."""
    name = key if _BARE_KEY.fullmatch(key) and len(key) <= MAX_SHOWN else quoted(key)
    return f"{path}.{name}" if path else name


def item(path: str, index: int) -> str:
    """Return the path of an array's element, counted from 0."""
    return f"{path}[{index}]"


def quoted(text: str) -> str:
    """Return `text` in quotes: what may be userinfo masked, cut at `MAX_SHOWN`, unprintable characters escaped."""
    # Of an expanded string what the file says, not the environment.
    text = mask_userinfo(str(getattr(text, "written", text)))
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "…"
    return (
        '"' + "".join(char if char.isprintable() and char != '"' else _escaped(char) for char in text) + '"'
    )


def mask_userinfo(text: str) -> str:
    """Return `text` with everything before its last ``@``, a scheme left aside, as ``***``."""
    # Without an expression: on a long text that has no "@" it would hold up the whole process.
    last, begin = text.rfind("@"), text.find(_AUTHORITY) + len(_AUTHORITY)
    scheme = text[:begin] if len(_AUTHORITY) <= begin <= last else ""
    return f"{scheme}{MASK}{text[last:]}" if last >= 0 else text


def kind(value: object) -> str:
    """Return the TOML word for the type of `value`."""
    for word, types in _KINDS:
        if isinstance(value, types):
            return word
    return "value"


_KINDS: Final[tuple[tuple[str, type | tuple[type, ...]], ...]] = (
    ("string", str),
    ("boolean", bool),  # before integer, which Python's bool is too
    ("integer", int),
    ("number", float),
    ("array", (list, tuple)),
    ("table", dict),
    ("date", (dt.date, dt.time)),
)


def with_article(word: str) -> str:
    """Return `word` as in ``an integer``."""
    return f"{_ARTICLES.get(word, 'a')} {word}"


def shown(value: object) -> str:
    """Return `value` as the file has it if it is short and single, else the word for it."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) <= _MAX_INTEGER else "an integer of more than 64 bits"
    if isinstance(value, float | dt.date | dt.time):
        return str(value)
    return f"the {kind(value)}"


def described(value: object) -> str:
    """Return type and value, as in ``the string "fast"``; of arrays and tables the type only."""
    if isinstance(value, dict | list | tuple) or (isinstance(value, int) and abs(value) > _MAX_INTEGER):
        return with_article(kind(value)) if isinstance(value, dict | list | tuple) else shown(value)
    return f"the {kind(value)} {shown(value)}"


def one_of(choices: Iterable[str]) -> str:
    """Return `choices` as in ``a, b or c``."""
    *rest, last = choices
    return f"{', '.join(rest)} or {last}" if rest else last


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the one of `known` that `word` was probably meant to be; `cutoff` is difflib's, 1 wants equality."""
    known = tuple(known)
    if len(known) > _LOOKED_AT:
        return None
    names = {_folded(name): name for name in known}
    folded = _folded(word[:MAX_SHOWN])
    if folded in names:
        return names[folded]
    # Of very many those that begin alike.
    near = names if len(names) <= _COMPARED else (name for name in names if name.startswith(folded[:1]))
    found = difflib.get_close_matches(folded, list(islice(near, _COMPARED)), n=1, cutoff=cutoff)
    return names[found[0]] if found else None


def suggestion(word: str, known: Iterable[str], none: str = "remove it") -> str:
    """Return the remedy for an unknown `word`: the closest of `known`, else all of them, else `none`."""
    known = tuple(known)
    if match := closest(word, known):
        return f"did you mean {quoted(match)}?"
    if known:
        return expected(known)
    return none


def expected(known: Collection[str], prefix: str = "") -> str:
    """Return the remedy that lists `known`, the first `MAX_LISTED` of them at most, each behind `prefix`."""
    if len(known) > _LOOKED_AT:
        return f"expected one of {len(known)}"
    names = [quoted(prefix + name) for name in heapq.nsmallest(MAX_LISTED, known)]
    if len(known) > len(names):
        names.append(f"one of {len(known) - len(names)} more")
    return f"expected {one_of(names)}"


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]
