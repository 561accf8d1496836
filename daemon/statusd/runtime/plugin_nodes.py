"""The nodes of the plugins: whether each is loaded, and whether what it registered works."""

from __future__ import annotations

from collections import defaultdict

import attrs

from statusd.model.report import Report
from statusd.model.tree import segment
from statusd.plugin.registry import Catalogue, InstalledPlugin
from statusd.runtime.messages import Statement


@attrs.define(eq=False)
class PluginNodes:
    """Says what stands on the node of each plugin.

    Attributes:
        catalogue: every installed plugin.
    """

    catalogue: Catalogue
    _failures: dict[str, dict[str, Report]] = attrs.field(factory=lambda: defaultdict(dict), init=False)

    def statements(self) -> tuple[Statement, ...]:
        """Return the statement about every plugin."""
        return tuple(self._statement(plugin) for plugin in self.catalogue.plugins.values())

    def inherit(self, before: PluginNodes, prefix: str) -> None:
        """Take over what failed of the plugins that went on: of their parts whose names begin with `prefix`."""
        for plugin, failures in before._failures.items():
            if plugin in self.catalogue.plugins:
                self._failures[plugin].update(
                    {part: report for part, report in failures.items() if part.startswith(prefix)}
                )

    def note(self, plugin: str, part: str, failure: Report | None) -> Statement:
        """Take that a part of a plugin fails, or works again, and return the new statement about the plugin.

        Args:
            plugin: its name.
            part: what of it; one that fails hides no other one that does.
            failure: the report about it; None: it works.
        """
        failures = self._failures[plugin]
        if failure is None:
            failures.pop(part, None)
        else:
            failures[part] = failure
        return self._statement(self.catalogue.plugins[plugin])

    def _statement(self, plugin: InstalledPlugin) -> Statement:
        facts = {"distribution": plugin.distribution, "version": plugin.version}
        report = attrs.evolve(self._report(plugin), facts=facts)
        return Statement(path=f"plugins/{segment(plugin.name)}", report=report)

    def _report(self, plugin: InstalledPlugin) -> Report:
        if plugin.error is not None:
            return Report.unknown(plugin.error.reason, plugin.error.message)
        if plugin.registry is None:
            return Report.off("plugin_disabled", "Installed and not enabled.")
        return next(iter(self._failures[plugin.name].values()), Report.ok(message=_waiting(plugin)))


def _waiting(plugin: InstalledPlugin) -> str:
    if not plugin.waiting_version:
        return ""
    return f"Version {plugin.waiting_version} is installed, and {plugin.version} goes on until statusd is restarted."
