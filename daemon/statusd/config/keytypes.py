"""The types that a configuration key may have, and the TOML words for them."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from statusd.config.wording import kind, one_of, shown, with_article
from statusd.values import Secret, Url

SCALARS: Final[Mapping[Any, tuple[str, ...]]] = {
    str: ("string",),
    bool: ("boolean",),
    int: ("integer",),
    float: ("number", "integer"),
    Url: ("string",),
    Secret: ("table",),
}
ARRAYS: Final[Mapping[Any, Callable[[Iterable[Any]], object]]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: list,
    Collection: list,
    Iterable: list,
}
TABLES: Final = (dict, Mapping)


def unwrapped(wanted: Any) -> Any:
    """Return what a ``type X = ...`` alias or a NewType stands for."""
    while True:
        inner = getattr(wanted, "__value__", None) or getattr(wanted, "__supertype__", None)
        if inner is None:
            return wanted
        wanted = inner


def is_scalar(wanted: Any) -> bool:
    """Whether `wanted` is a type of single values; type forms need not be hashable, so only classes are looked up."""
    return isinstance(wanted, type) and wanted in SCALARS


def base_of(wanted: Any) -> Any:
    """Return the class of a container type, or None where `wanted` is no class at all."""
    base = get_origin(wanted) or wanted
    return base if isinstance(base, type) else None


def kinds_of(wanted: Any) -> tuple[str, ...]:
    """Return the TOML types that a value for `wanted` may have."""
    wanted = unwrapped(wanted)
    if is_scalar(wanted):
        return SCALARS[wanted]
    origin = get_origin(wanted)
    if origin is Annotated:
        return kinds_of(get_args(wanted)[0])
    if origin in {Union, types.UnionType}:
        return tuple(word for member in get_args(wanted) for word in kinds_of(member))
    if origin is Literal:
        return tuple(kind(choice) for choice in get_args(wanted))
    if wanted is type(None):
        return ()
    if base_of(wanted) in ARRAYS:
        return ("array",)
    if base_of(wanted) in TABLES:
        return ("table",)
    return ("string", "boolean", "integer", "number", "array", "table", "date")


def type_words(wanted: Any) -> str:
    """Return `wanted` in the words of TOML, as in ``a string or an array of strings``."""
    wanted = unwrapped(wanted)
    if wanted is Url:
        return "a URL as a string"
    if wanted is Secret:
        return "a secret by reference"
    origin = get_origin(wanted)
    if origin is Literal:
        return one_of(shown(choice) for choice in get_args(wanted))
    if origin is Annotated:
        return type_words(get_args(wanted)[0])
    if origin in {Union, types.UnionType}:
        return one_of(type_words(member) for member in get_args(wanted) if member is not type(None))
    inner = [argument for argument in get_args(wanted) if argument is not Ellipsis]
    if base_of(wanted) in ARRAYS and inner and is_scalar(inner[0]) and all(one is inner[0] for one in inner):
        return f"an array of {type_words(inner[0]).split(' ', 1)[1].replace(' as a string', '')}s"
    return with_article(kinds_of(wanted)[0]) if len(kinds_of(wanted)) < 3 else "another value"


def mentions(wanted: Any, one: type) -> bool:
    """Whether the type `wanted` is `one` or is made of it."""
    wanted = unwrapped(wanted)
    return wanted is one or any(
        mentions(inner, one) for inner in get_args(wanted) if not isinstance(inner, str)
    )
