"""What plugins registered, with every conflict between them found."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import attrs

from statusd.errors import PluginError, StartError
from statusd.plugin.contracts import Sink, Source, View


@attrs.define(eq=False)
class Registry:
    """Takes what one plugin registers; the object behind the three registries that hooks see."""

    plugin: str
    source_types: list[type[Source]] = attrs.field(factory=list)
    view_types: list[type[View]] = attrs.field(factory=list)
    sink_types: list[type[Sink]] = attrs.field(factory=list)

    def add_source(self, source_type: type[Source]) -> None:
        """Take the plugin's source type."""
        self._expect(source_type, Source, "source")
        if inspect.isfunction(source_type.watch) and not inspect.iscoroutinefunction(source_type.watch):
            raise PluginError(  # it would block the event loop for as long as it listens
                "plugin_failed",
                f'The plugin "{self.plugin}" registers a source with a plain watch(); declare it by `async def`.',
            )
        if self.source_types:
            raise PluginError(
                "plugin_failed",
                f'The plugin "{self.plugin}" registers two source types; give the second an entry point of its own.',
            )
        self.source_types.append(source_type)

    def add_view(self, view_type: type[View]) -> None:
        """Take a view type."""
        self._expect(view_type, View, "view")
        self._expect_name(view_type, "view")
        self.view_types.append(view_type)

    def add_sink(self, sink_type: type[Sink]) -> None:
        """Take a sink type."""
        self._expect(sink_type, Sink, "sink")
        self._expect_name(sink_type, "sink")
        self.sink_types.append(sink_type)

    def _expect(self, given: object, base: type[Any], what: str) -> None:
        if not (inspect.isclass(given) and issubclass(given, base)):
            raise PluginError(
                "plugin_failed",
                f'The plugin "{self.plugin}" registers something as a {what} that is no subclass of statusd.{base.__name__}.',
            )

    def _expect_name(self, given: type[View | Sink], what: str) -> None:
        if not isinstance(getattr(given, "name", None), str):
            raise PluginError(
                "plugin_failed",
                f'The plugin "{self.plugin}" registers a {what} without a `name`: {given.__name__}.',
            )


@attrs.frozen(kw_only=True)
class InstalledPlugin:
    """One entry point of the group ``statusd``, loaded or not.

    Attributes:
        name: the entry point's name, which is what ``plugin = "..."`` says.
        distribution: the distribution that brings it.
        version: the version of that distribution whose code is loaded, or would be.
        waiting_version: the version that has taken its place on the disk since it was loaded, where one has; only a new
            process loads that.
        is_builtin: whether it comes with statusd itself.
        is_enabled: whether it is to be loaded under this configuration.
        registry: what it registered, or None when it is not loaded.
        error: why it could not be loaded, or None.
    """

    name: str
    distribution: str
    version: str
    is_builtin: bool
    is_enabled: bool
    waiting_version: str = ""
    registry: Registry | None = None
    error: PluginError | None = None


@attrs.frozen(kw_only=True)
class Catalogue:
    """All installed plugins, and what the loaded ones offer.

    Attributes:
        plugins: by entry-point name.
        views: by the views' own names.
        sinks: by the sinks' own names.
        view_owners: view name -> plugin name.
        sink_owners: sink name -> plugin name.
    """

    plugins: Mapping[str, InstalledPlugin]
    views: Mapping[str, type[View]]
    sinks: Mapping[str, type[Sink]]
    view_owners: Mapping[str, str]
    sink_owners: Mapping[str, str]

    def source_type(self, name: str) -> type[Source]:
        """Return the source type that the plugin `name` registered.

        Raises:
            PluginError: ``plugin_missing``, ``plugin_disabled`` or ``plugin_failed``.
        """
        plugin = self.plugins.get(name)
        if plugin is None:
            installed = ", ".join(sorted(key for key, one in self.plugins.items() if _offers_source(one)))
            raise PluginError(
                "plugin_missing", f'No plugin "{name}" is installed; installed: {installed or "none"}.'
            )
        if plugin.error is not None:
            raise plugin.error
        if plugin.registry is None:
            raise PluginError(
                "plugin_disabled",
                f'The plugin "{name}" is listed in [plugins] disabled; take it out to use it.',
            )
        if not plugin.registry.source_types:
            raise PluginError("plugin_failed", f'The plugin "{name}" registers no source type.')
        return plugin.registry.source_types[0]


def catalogue(plugins: Mapping[str, InstalledPlugin]) -> Catalogue:
    """Return the catalogue of `plugins`.

    Raises:
        StartError: when two plugins claim one name for a view or a sink; it names both.
    """
    views: dict[str, tuple[str, type[View]]] = {}
    sinks: dict[str, tuple[str, type[Sink]]] = {}
    for plugin in plugins.values():
        if plugin.registry is None:
            continue
        for view_type in plugin.registry.view_types:
            _claim(views, view_type.name, plugin.name, view_type, "view")
        for sink_type in plugin.registry.sink_types:
            _claim(sinks, sink_type.name, plugin.name, sink_type, "sink")
    return Catalogue(
        plugins=plugins,
        views={name: view_type for name, (_, view_type) in views.items()},
        sinks={name: sink_type for name, (_, sink_type) in sinks.items()},
        view_owners={name: owner for name, (owner, _) in views.items()},
        sink_owners={name: owner for name, (owner, _) in sinks.items()},
    )


def _claim(taken: dict[str, tuple[str, Any]], name: str, plugin: str, offered: object, what: str) -> None:
    if name in taken:
        raise StartError(
            f'Two plugins register a {what} named "{name}": "{taken[name][0]}" and "{plugin}". '
            f"Disable one of them in [plugins] disabled."
        )
    taken[name] = (plugin, offered)


def _offers_source(plugin: InstalledPlugin) -> bool:
    return plugin.registry is None or bool(plugin.registry.source_types)
