"""`statusd plugins`: what is installed, and what of it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from statusd.config.load import read
from statusd.config.scan import secrets_in
from statusd.config.settings import wanted_plugins
from statusd.plugin.loading import load_plugins
from statusd.plugin.registry import InstalledPlugin
from statusd.redaction import Redactor


def plugins(
    config: str | None, environ: Mapping[str, str], redactor: Redactor | None = None
) -> Sequence[InstalledPlugin]:
    """Return every installed plugin, the enabled ones loaded.

    Args:
        config: the file, or None for what `run` would use.
        environ: the environment.
        redactor: learns the secrets.

    Raises:
        ConfigError: with every mistake in the configuration.
        StartError: when two plugins claim one name.
    """
    settings = read(config, environ)
    if redactor is not None:
        redactor.learn(secrets_in(settings))
    catalogue = load_plugins(wanted_plugins(settings), disabled=settings.plugins.disabled)
    return sorted(catalogue.plugins.values(), key=lambda plugin: (not plugin.is_builtin, plugin.name))


def as_json(plugin: InstalledPlugin) -> dict[str, Any]:
    """Return a plugin as a JSON object."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "enabled": plugin.is_enabled,
        "registers": registers(plugin),
        "error": plugin.error.message if plugin.error is not None else None,
    }


def registers(plugin: InstalledPlugin) -> list[str]:
    """Return what a loaded plugin registered, such as ``["source", "view status"]``."""
    if plugin.registry is None:
        return []
    return [
        *("source" for _ in plugin.registry.source_types),
        *(f"view {view.name}" for view in plugin.registry.view_types),
        *(f"sink {sink.name}" for sink in plugin.registry.sink_types),
    ]


def as_text(found: Sequence[InstalledPlugin]) -> str:
    """Return a table for people."""
    rows = [("NAME", "DISTRIBUTION", "VERSION", "ENABLED", "REGISTERS")]
    for plugin in found:
        what = f"failed: {plugin.error.message}" if plugin.error else ", ".join(registers(plugin))
        enabled = "yes" if plugin.is_enabled else "no"
        rows.append((plugin.name, plugin.distribution, plugin.version, enabled, what or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]
        ).rstrip()
        for row in rows
    )
