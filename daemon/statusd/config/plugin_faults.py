"""Plugins that a configuration counts on besides those of its sources, and that are not there or failed."""

from __future__ import annotations

from collections.abc import Iterator

from statusd.config.findings import Fault
from statusd.config.settings import Settings
from statusd.config.wording import CERTAIN, below, closest, item, quoted, suggestion
from statusd.model.tree import segment
from statusd.plugin.registry import Catalogue


def plugin_faults(settings: Settings, catalogue: Catalogue) -> Iterator[Fault]:
    """Yield what is wrong with plugins that no source names."""
    for index, name in enumerate(settings.plugins.enabled):
        if name not in catalogue.plugins:
            remedy = suggestion(name, catalogue.plugins, none="install it, or remove the name")
            message = f"No plugin {quoted(name)} is installed; {remedy}"
            yield Fault(path=item("plugins.enabled", index), reason="plugin_missing", message=message)
    for index, name in enumerate(settings.plugins.disabled):
        match = closest(name, catalogue.plugins, cutoff=CERTAIN)
        if name not in catalogue.plugins and match is not None:
            message = f"No plugin {quoted(name)} is installed; did you mean {quoted(match)}?"
            yield Fault(path=item("plugins.disabled", index), reason="plugin_missing", message=message)
    known = {segment(name) for name in catalogue.plugins}
    for index, path in enumerate(settings.ready.require):
        wing, _, name = path.partition("/")
        if wing == "plugins" and name and name not in known:
            remedy = suggestion(name, known, none="install it, or remove the path")
            message = f"No plugin {quoted(name)} is installed; {remedy}"
            yield Fault(path=item("ready.require", index), reason="plugin_missing", message=message)
    named = {source.plugin for source in settings.sources.values()}
    for plugin in catalogue.plugins.values():
        if plugin.error is not None and plugin.name not in named:
            path = below("plugins", plugin.name)
            yield Fault(path=path, reason=plugin.error.reason, message=plugin.error.message)
