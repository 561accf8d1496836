"""A table into the keyword arguments of the attrs class that a plugin declares for it."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from statusd.config.convert import convert
from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN, Expanded
from statusd.config.keytypes import mentions
from statusd.config.urls import shown_url
from statusd.config.wording import below, shown, suggestion
from statusd.errors import OptionError, PluginError
from statusd.plugin.options import HELP, INTERNAL
from statusd.redaction import SHORTEST
from statusd.values import Url


@attrs.frozen(kw_only=True)
class Key:
    """One key of a table.

    Attributes:
        name: as it stands in the file.
        type: what its value becomes.
        help: one sentence.
        attribute: the attrs field behind it.
    """

    name: str
    type: Any
    help: str
    attribute: attrs.Attribute[Any]

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.attribute.default is attrs.NOTHING


def keys_of(cls: type) -> tuple[Key, ...]:
    """Return the keys that the attrs class `cls` declares, in its order; internal fields are none.

    Raises:
        PluginError: ``plugin_failed`` when it is no attrs class or its annotations cannot be resolved.
    """
    if not attrs.has(cls):
        raise _fault(cls, "is no attrs class; decorate it with @attrs.frozen(kw_only=True)")
    hints = _annotations(cls)
    return tuple(
        Key(
            name=attribute.alias or attribute.name,
            type=hints.get(attribute.name, attribute.type or Any),
            help=str(attribute.metadata.get(HELP, "")),
            attribute=attribute,
        )
        for attribute in attrs.fields(cls)
        if attribute.init and not attribute.metadata.get(INTERNAL)
    )


def structure(
    cls: type,
    table: Mapping[str, object],
    path: str,
    findings: Findings,
    *,
    also: Iterable[str] = (),
    internal: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Return the keyword arguments for `cls` from `table`; what is wrong goes into `findings`.

    Every validator runs; then, where nothing is wrong, the constructor, with None for what only the daemon can hand
    over. The daemon constructs the class again, with all of it.

    Args:
        cls: an attrs class whose fields are declared by `statusd.option`.
        table: what the file says.
        path: where the table stands.
        findings: takes mistakes, faults and secrets.
        also: keys that are known here and not this class's business.
        internal: values of internal fields, as far as they are known already.

    Raises:
        PluginError: ``plugin_failed`` when the class itself is at fault.
    """
    keys = keys_of(cls)
    findings.keys = frozenset(key.name for key in keys)
    _expect_known(table, path, findings, [*findings.keys, *also], skip=frozenset(also))
    before = len(findings.mistakes)
    options: dict[str, Any] = {}
    for key in keys:
        if key.name in table:
            options[key.name] = _converted(cls, key, table[key.name], below(path, key.name), findings)
        elif key.is_required:
            findings.mistake(below(path, key.name), f"missing; set it{': ' if key.help else ''}{key.help}")
    instance = _partial(cls, keys, options, internal or {})
    is_whole = len(findings.mistakes) == before
    _validate(instance, keys, table, path, findings, is_whole=is_whole)
    if is_whole and len(findings.mistakes) == before and not findings.faults:
        _expect_options_fit(cls, {**(internal or {}), **options}, table, path, findings)
    return {name: value for name, value in options.items() if value is not BROKEN}


def _expect_known(
    table: Mapping[str, object], path: str, findings: Findings, known: list[str], skip: frozenset[str]
) -> None:
    for name in table:
        if name not in findings.keys and name not in skip:
            remedy = suggestion(name, known, none="this table has no keys; remove it")
            findings.mistake(below(path, name), f"unknown key; {remedy}")


def _annotations(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except BaseException as error:  # noqa: BLE001  # containment: annotations are a plugin's code, evaluated here
        raise _fault(
            cls,
            f"has annotations that cannot be resolved ({type(error).__name__}); "
            f"import the types of its options where the module runs, not under TYPE_CHECKING",
        ) from None


def _converted(cls: type, key: Key, value: object, path: str, findings: Findings) -> Any:
    try:
        return convert(value, key.type, path, findings)
    except PluginError as error:
        raise _fault(cls, f"declares the key {key.name}, which {error.message}") from None


def _partial(
    cls: type, keys: Iterable[Key], options: Mapping[str, Any], internal: Mapping[str, object]
) -> Any:
    """Return an instance made without ``__init__``, with what is known of its fields."""
    instance: Any = object.__new__(cls)
    known = {key.attribute.name: options[key.name] for key in keys if key.name in options}
    known.update(internal)
    for attribute in attrs.fields(cls):
        value = known.get(attribute.name, attribute.default)
        if value is attrs.NOTHING or value is BROKEN:
            continue
        if attribute.name not in known and isinstance(value, attrs.Factory):  # type: ignore[arg-type]  # attrs types Factory as a function
            value = _made(cls, attribute, value, instance)
        object.__setattr__(instance, attribute.name, value)
    return instance


def _validate(
    instance: Any,
    keys: Iterable[Key],
    table: Mapping[str, object],
    path: str,
    findings: Findings,
    *,
    is_whole: bool,
) -> None:
    """Run the validator of each key; `is_whole` says that no value is missing because of a mistake."""
    for key in keys:
        attribute = key.attribute
        # A converter may want the finished instance, so what stands behind one is validated by the constructor.
        if attribute.validator is None or attribute.converter or not hasattr(instance, attribute.name):
            continue
        message = _objection(instance, attribute, is_whole=is_whole)
        if message is not None:
            written = table.get(key.name, attrs.NOTHING)
            findings.mistake(below(path, key.name), _about(key, written, message))


def _expect_options_fit(
    cls: type, arguments: Mapping[str, Any], table: Mapping[str, object], path: str, findings: Findings
) -> None:
    """Construct `cls` for once, so that what it has against its options stands among the other mistakes."""
    later = {key.alias: None for key in attrs.fields(cls) if key.metadata.get(INTERNAL)}
    try:
        cls(**{**later, **arguments})
    except OptionError as error:
        findings.mistake(below(path, error.option), _as_written(error.message, table))
    except BaseException:  # noqa: BLE001, S110  # it wants what only the daemon hands over: its construction decides
        pass


def _made(cls: type, attribute: attrs.Attribute[Any], default: Any, instance: object) -> Any:
    try:
        return default.factory(instance) if default.takes_self else default.factory()
    except BaseException as error:  # noqa: BLE001  # containment: a plugin's default is a plugin's code
        raise _fault(cls, f"cannot make the default of {attribute.name} ({type(error).__name__})") from None


def _objection(instance: Any, attribute: attrs.Attribute[Any], *, is_whole: bool) -> str | None:
    """Return what the validator of `attribute` has against the value in `instance`, or None."""
    validator: Any = attribute.validator
    try:
        validator(instance, attribute, getattr(instance, attribute.name))
    except (ValueError, TypeError) as error:
        return _message(error)
    except BaseException as error:  # noqa: BLE001  # containment: validators are a plugin's code
        if not is_whole:
            return None  # it may have missed the value of another key, which has a mistake of its own
        raise _fault(type(instance), f"cannot validate {attribute.name} ({type(error).__name__})") from None
    return None


def _about(key: Key, written: object, message: str) -> str:
    """Return `message` with the value before it, unless the value is secret or the message repeats it."""
    if written is attrs.NOTHING:
        return f"not set, and its default {message}"
    message = _as_written(message, written)
    repeated = isinstance(written, str) and shown(written) in message
    if repeated or isinstance(written, dict | list) or repr(key.attribute.name) in message:
        return message
    if isinstance(written, str) and mentions(key.type, Url):
        return f"{shown_url(written)} {message}"
    return f"{shown(written)} {message}"


def _as_written(message: str, value: object) -> str:
    """Return `message` with what the environment gave replaced by what the file says, since it may be secret."""
    # All at once: what is written may hold the text itself, as in "${NAME:-NAME}", and would grow with each.
    written = dict(_expanded(value))
    if not written:
        return message
    texts = "|".join(re.escape(text) for text in sorted(written, key=len, reverse=True))
    return re.sub(texts, lambda found: written[found[0]], message)


def _expanded(value: object) -> Iterator[tuple[str, str]]:
    """Yield the text of each expanded string in `value`, and what the file says."""
    if isinstance(value, Expanded) and len(value.strip()) >= SHORTEST:
        yield value.strip(), value.written
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _expanded(inner)


def _message(error: Exception) -> str:
    """Return the sentence of a validator's error; attrs' own carry field and value in further arguments."""
    text = error.args[0] if error.args else ""
    return text if isinstance(text, str) and text else "is not accepted"


def _fault(cls: type, problem: str) -> PluginError:
    return PluginError("plugin_failed", f"The class {cls.__module__}.{cls.__qualname__} {problem}.")
