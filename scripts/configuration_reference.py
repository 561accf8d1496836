#!/usr/bin/env python3
"""Write the generated parts of docs/configuration.md: the example and the tables of keys.

The text between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->`` is replaced; the rest is written by hand.
With ``--check`` nothing is written, and the exit code is 1 where the file is not what it should be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from statusd.config.common import CommonKeys
from statusd.config.http import HttpKeys
from statusd.config.http_limits import LimitSettings
from statusd.config.http_tls import TlsKeys
from statusd.config.keytypes import type_words
from statusd.config.load import default_text
from statusd.config.ready import ReadySettings
from statusd.config.reload import ReloadSettings
from statusd.config.schema import Key, keys_of
from statusd.config.settings import PluginsSettings
from statusd.plugin.loading import DISTRIBUTION, load_plugins
from statusd.plugin.registry import InstalledPlugin
from statusd.values import Secret, Url

PAGE: Final = Path(__file__).parents[1] / "docs" / "configuration.md"

_REGION: Final = re.compile(r"(<!-- begin: (\w+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)
_EMPTY: Final = re.compile(r"^\[\w+\]\n(?=\n|\Z)\n*", re.MULTILINE)
_COMMENT: Final = re.compile(r"\s+# .*$")


def regenerated(page: str) -> str:
    """Return `page` with every generated part written anew."""
    return _REGION.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}{match[3]}", page)


def example() -> str:
    """Return the built-in configuration without its comments."""
    lines = [
        _COMMENT.sub("", line) for line in default_text().splitlines() if not line.startswith(("#", "  "))
    ]
    text = re.sub(r"\n{2,}", "\n\n", "\n".join(lines))
    text = _EMPTY.sub("", text).strip()
    return f"```toml\n{text}\n```\n"


def plugin_tables() -> str:
    """Return a section for each built-in plugin: its sources' keys, then its views' and sinks'."""
    return "\n".join(filter(None, map(_section, builtin_plugins())))


def builtin_plugins() -> Iterable[InstalledPlugin]:
    """Yield the plugins that statusd ships, in the order of their names."""
    plugins = load_plugins(()).plugins.values()
    for plugin in sorted(plugins, key=lambda plugin: plugin.name):
        if plugin.distribution != DISTRIBUTION:
            continue
        if plugin.error is not None:
            raise SystemExit(f"The reference cannot be complete: {plugin.error.message}")
        yield plugin


def _section(plugin: InstalledPlugin) -> str:
    assert plugin.registry is not None  # built-in plugins are always loaded
    parts = [
        f'### `plugin = "{plugin.name}"`\n\n{summary(source)}\n\n'
        f"`interval` is {source.default_interval:g} if not set.\n\n{table(source)}"
        for source in plugin.registry.source_types
    ]
    for kind, types in (("views", plugin.registry.view_types), ("sinks", plugin.registry.sink_types)):
        parts += [
            f"### `[{kind}.{declared.name}]`\n\n{summary(declared)}\n\n{table(declared)}"
            for declared in types
        ]
    return "\n".join(parts)


def summary(declared: type) -> str:
    """Return the first sentence of a class's docstring."""
    return (declared.__doc__ or "").strip().splitlines()[0].replace("``", "`")


def table(declared: type) -> str:
    """Return the keys of an attrs class as a Markdown table, its own before those of its base class."""
    rows = [_row(key) for key in sorted_keys(declared)]
    if not rows:
        return "It has no keys.\n"
    return "\n".join(["| key | type | default | |", "|---|---|---|---|", *rows]) + "\n"


def sorted_keys(declared: type) -> list[Key]:
    """Return the keys of an attrs class, its own before those of its base class."""
    return sorted(keys_of(declared), key=lambda key: getattr(key.attribute, "inherited", False))


def _row(key: Key) -> str:
    cells = (f"`{key.name}`", type_words(key.type).replace(" as a string", ""), default_of(key), key.help)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def default_of(key: Key) -> str:
    """Return the default of a key as Markdown: "required", TOML as code, or nothing."""
    if key.is_required:
        return "required"
    default: Any = key.attribute.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # attrs types Factory as a function
        default = default.factory()
    if key.name.endswith("_mode"):
        return f"`0o{default:o}`"
    return "" if default is None else f"`{_toml(default)}`"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Url | Secret):
        return f'"{value}"'
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


TABLES: Final[Mapping[str, type]] = {
    "common": CommonKeys,
    "http": HttpKeys,
    "http_tls": TlsKeys,
    "http_limits": LimitSettings,
    "plugins_table": PluginsSettings,
    "ready": ReadySettings,
    "reload": ReloadSettings,
}
PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "example": example,
    **{name: partial(table, declared) for name, declared in TABLES.items()},
    "plugins": plugin_tables,
}


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` compare it; return the exit code."""
    before = PAGE.read_text(encoding="utf-8")
    after = regenerated(before)
    if arguments == ["--check"]:
        if after != before:
            sys.stderr.write(f"{PAGE.name} is out of date; run scripts/configuration_reference.py\n")
        return int(after != before)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
