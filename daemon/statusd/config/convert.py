"""One TOML value into the type that a plugin declares for it."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
import msgspec.inspect

from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN, Expanded
from statusd.config.keytypes import (
    ARRAYS,
    SCALARS,
    TABLES,
    base_of,
    is_scalar,
    kinds_of,
    type_words,
    unwrapped,
)
from statusd.config.secrets import read_secret
from statusd.config.urls import read_url
from statusd.config.wording import (
    below,
    closest,
    described,
    item,
    kind,
    quoted,
    shown,
)
from statusd.errors import PluginError
from statusd.values import Secret, Url

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}|0o[0-7]{1,21}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEANS: Final = {"true": True, "false": False}


def convert(value: object, wanted: Any, path: str, findings: Findings) -> Any:
    """Return `value` as the type `wanted`, or `BROKEN` after taking what is wrong.

    Args:
        value: what the TOML parser returned, strings expanded.
        wanted: a type as `statusd.option` lists them.
        path: where it stands in the configuration.
        findings: takes mistakes, faults and secrets.

    Raises:
        PluginError: ``plugin_failed`` when `wanted` is no type that a configuration value can have.
    """
    if value is BROKEN:
        return BROKEN
    wanted = unwrapped(wanted)
    if wanted is Any or wanted is object:
        return plain(value)
    origin = get_origin(wanted)
    if origin is Annotated:
        return _annotated(value, wanted, path, findings)
    if origin in {Union, types.UnionType}:
        return _union(value, wanted, path, findings)
    if wanted is Secret:  # before the type is looked at: a secret written as a string must not be shown
        return read_secret(value, path, findings)
    if isinstance(value, Expanded) and any(wanted is one for one in (int, float, bool)):
        value = _from_text(value, wanted)
    if kind(value) not in kinds_of(wanted):
        findings.mistake(path, _mismatch(value, wanted))
        return BROKEN
    return _converter(wanted)(value, wanted, path, findings)


def plain(value: object) -> Any:
    """Return `value` with expanded strings as ordinary ones, `BROKEN` if it holds something broken."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        table = {key: plain(inner) for key, inner in value.items()}
        return BROKEN if any(inner is BROKEN for inner in table.values()) else table
    if isinstance(value, list):
        array = [plain(inner) for inner in value]
        return BROKEN if any(inner is BROKEN for inner in array) else array
    return value


def _converter(wanted: Any) -> Callable[[Any, Any, str, Findings], Any]:
    """Return what converts to `wanted`, the kind of value being right already."""
    if wanted is Url:
        return lambda value, _wanted, path, findings: read_url(value, path, findings)
    if get_origin(wanted) is Literal:
        return _literal
    if base_of(wanted) in ARRAYS:
        return _array
    if base_of(wanted) in TABLES:
        return _table
    return _scalar if is_scalar(wanted) else _other


def _mismatch(value: object, wanted: Any) -> str:
    return f"expected {type_words(wanted)}, found {described(value)}{_remedy(value, kinds_of(wanted))}"


def _remedy(value: object, kinds: Sequence[str]) -> str:
    """Return how to write `value` where one of `kinds` is wanted, when that is easily told."""
    if isinstance(value, Expanded):
        return "; its text after expansion must be one"
    if isinstance(value, str):
        wanted = next((word for word in kinds if word in _FROM_TEXT), None)
        if wanted and _FROM_TEXT[wanted](value) is not None:
            return "; write it without quotes"
        if "array" in kinds:
            return "; write it in brackets"
    elif "string" in kinds and not isinstance(value, dict | list):
        return "; write it in quotes"
    elif "array" in kinds and not isinstance(value, dict):
        return "; write it in brackets"
    return ""


def _integer(text: str) -> int | None:
    return int(text, 8 if text.startswith("0o") else 10) if _INTEGER.fullmatch(text) else None


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


_FROM_TEXT: Final[Mapping[str, Callable[[str], object]]] = {
    "integer": _integer,
    "number": _number,
    "boolean": lambda text: _BOOLEANS.get(text.lower()),
}


def _from_text(value: Expanded, wanted: Any) -> object:
    """Return the number or boolean that `value` spells, or `value` itself; only text can come by a variable."""
    number = _FROM_TEXT[SCALARS[wanted][0]](value.strip())
    return value if number is None else number


def _scalar(value: object, wanted: Any, path: str, findings: Findings) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        findings.mistake(path, f"expected {type_words(wanted)} of at most 64 bits, found {described(value)}")
        return BROKEN
    if isinstance(value, float) and not math.isfinite(value):
        findings.mistake(path, f"{shown(value)} is no finite number; write one")
        return BROKEN
    return msgspec.convert(plain(value), wanted, strict=True)


def _literal(value: object, wanted: Any, path: str, findings: Findings) -> Any:
    choices = get_args(wanted)
    for choice in choices:
        if plain(value) == choice and kind(value) == kind(choice):
            return choice
    match = (
        closest(value, [one for one in choices if isinstance(one, str)]) if isinstance(value, str) else None
    )
    hint = f"; did you mean {quoted(match)}?" if match else ""
    findings.mistake(path, f"expected {type_words(wanted)}, found {described(value)}{hint}")
    return BROKEN


def _array(value: Any, wanted: Any, path: str, findings: Findings) -> Any:
    arguments = get_args(wanted) or (Any,)
    base = base_of(wanted)
    if base is tuple and Ellipsis not in arguments and wanted is not tuple:
        if len(value) != len(arguments):
            findings.mistake(path, f"expected an array of {len(arguments)}, found one of {len(value)}")
            return BROKEN
        inner = list(arguments)
    else:
        inner = [arguments[0]] * len(value)
    converted = [
        convert(one, each, item(path, index), findings)
        for index, (one, each) in enumerate(zip(value, inner, strict=True))
    ]
    if any(one is BROKEN for one in converted):
        return BROKEN
    try:
        return ARRAYS[base](converted)
    except TypeError:
        raise _not_understood(wanted) from None  # a set of arrays or tables


def _table(value: Any, wanted: Any, path: str, findings: Findings) -> Any:
    _, inner = get_args(wanted) or (str, Any)
    converted = {key: convert(one, inner, below(path, key), findings) for key, one in value.items()}
    return BROKEN if any(one is BROKEN for one in converted.values()) else converted


def _union(value: object, wanted: Any, path: str, findings: Findings) -> Any:
    members = [member for member in get_args(wanted) if member is not type(None)]
    if len(members) == 1:
        converted = convert(value, members[0], path, findings)
        # No key is no key: an unset variable gives the empty secret, which `Secret | None` calls None.
        return None if members[0] is Secret and isinstance(converted, Secret) and not converted else converted
    fitting = [member for member in members if kind(value) in kinds_of(member) or isinstance(value, Expanded)]
    if not fitting:
        findings.mistake(path, _mismatch(value, wanted))
        return BROKEN
    trials = []
    for member in fitting:
        trial = findings.trial()
        converted = convert(value, member, path, trial)
        if not trial.mistakes and converted is not BROKEN:
            findings.adopt(trial)
            return converted
        trials.append(trial)
    fullest = next((trial for trial in trials if trial.mistakes), findings.trial())
    findings.adopt(fullest)
    return BROKEN


def _annotated(value: object, wanted: Any, path: str, findings: Findings) -> Any:
    """Convert to the annotated type, then hold it against its constraints (`msgspec.Meta`)."""
    base = get_args(wanted)[0]
    converted = convert(value, base, path, findings)
    if converted is BROKEN or not is_scalar(unwrapped(base)) or base is Url or base is Secret:
        return converted
    return _other(converted, wanted, path, findings, value)


def _other(value: object, wanted: Any, path: str, findings: Findings, written: object = None) -> Any:
    """Convert to a type that msgspec knows and this module does not, such as an enumeration."""
    value = plain(value)
    if value is BROKEN:
        return BROKEN
    try:
        if isinstance(msgspec.inspect.type_info(wanted), msgspec.inspect.CustomType):
            raise _not_understood(wanted)
        return msgspec.convert(value, wanted, strict=True)
    except msgspec.ValidationError as error:
        findings.mistake(
            path, f"{shown(value if written is None else written)} does not fit: {_reason(error)}"
        )
        return BROKEN
    except (TypeError, ValueError):
        raise _not_understood(wanted) from None


def _reason(error: msgspec.ValidationError) -> str:
    """Return msgspec's sentence unless it repeats the value."""
    text = str(error)
    return "not one of its values" if text.startswith("Invalid enum value") else text.replace("`", "")


def _not_understood(wanted: Any) -> PluginError:
    return PluginError("plugin_failed", f"has the type {wanted}, which no configuration value can have")
