"""Loading plugins by name, one at a time, so that a plugin's fault stays its own."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from types import ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
import pluggy

from statusd.errors import PluginError, StartError
from statusd.events import PLUGIN_FAILED, event
from statusd.plugin import hookspecs
from statusd.plugin.registry import Catalogue, InstalledPlugin, Registry, catalogue

GROUP: Final = "statusd"
DISTRIBUTION: Final = "statusd"
log = logging.getLogger(__name__)

_versions: Final[WeakKeyDictionary[ModuleType, str]] = WeakKeyDictionary()
"""Which version each module was loaded from. As global as ``sys.modules``, for whose sake a module is loaded only once."""


@attrs.frozen
class _Adding:
    """The registry one hook sees: a single ``add``."""

    add: Callable[[Any], None]


def load_plugins(
    wanted: Collection[str],
    *,
    disabled: Collection[str] = (),
    points: Iterable[EntryPoint] | None = None,
) -> Catalogue:
    """Find every installed plugin, and load the built-in and the wanted ones.

    A plugin that fails is logged with its traceback and carries its error in the catalogue; the rest loads.

    Args:
        wanted: names that sources or ``[plugins] enabled`` mention.
        disabled: names that are not loaded, built-in or not.
        points: the entry points to choose from; by default the installed ones.

    Raises:
        StartError: when two distributions claim one plugin name, or two plugins one view or sink name.
    """
    found = _installed() if points is None else list(points)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    plugins: dict[str, InstalledPlugin] = {}
    for point, (distribution, version) in _distinct(found, wanted):
        is_builtin = distribution == DISTRIBUTION
        is_enabled = (is_builtin or point.name in wanted) and point.name not in disabled
        plugin = InstalledPlugin(
            name=point.name,
            distribution=distribution,
            version=version,
            is_builtin=is_builtin,
            is_enabled=is_enabled,
        )
        plugins[point.name] = _loaded(manager, point, plugin) if is_enabled else plugin
    return catalogue(plugins)


def _installed() -> list[EntryPoint]:
    """Return the entry points of all installed distributions; one that is damaged, or just being replaced, has none."""
    importlib.invalidate_caches()  # what was installed since the last look is found
    try:
        return list(entry_points(group=GROUP))
    except Exception:  # noqa: BLE001  # containment: the metadata of any package on this host is read in there
        log.warning("the installed packages are looked at one by one: the metadata of one of them is damaged")
    found: dict[object, list[EntryPoint]] = {}
    for distribution in distributions():
        try:
            name, points = distribution.name, list(distribution.entry_points.select(group=GROUP))
        except Exception as error:  # noqa: BLE001  # containment: as above
            where = distribution.locate_file("")
            text = "the metadata of a package in %s is damaged (%s); install it anew"
            log.error(text, where, type(error).__name__)  # noqa: TRY400  # the traceback is of no use to anybody
        else:
            found.setdefault(
                name or distribution, points
            )  # the first one on the path is the one that is imported
    return [point for points in found.values() for point in points]


def _distinct(
    points: list[EntryPoint], wanted: Collection[str]
) -> Iterator[tuple[EntryPoint, tuple[str, str]]]:
    """Return each plugin's entry point, the built-in ones first, with name and version of its distribution."""
    # Asked once each: a distribution reads and parses its metadata whenever one of them is asked for.
    # By identity: it is anybody's class, and may want to be equal to another one, or have no hash.
    distinct = {id(point.dist): point.dist for point in points}
    origins = {number: _origin(dist) for number, dist in distinct.items()}
    found = [(point, origins[id(point.dist)]) for point in points]
    found.sort(key=lambda item: (item[1][0] != DISTRIBUTION, item[0].name))
    by_name: dict[str, tuple[EntryPoint, tuple[str, str]]] = {}
    for point, origin in found:
        first, first_origin = by_name.setdefault(point.name, (point, origin))
        if first.value != point.value or first_origin != origin:
            is_loaded = first_origin[0] == DISTRIBUTION or point.name in wanted
            if is_loaded:
                raise StartError(
                    f'Two distributions provide a plugin named "{point.name}": '
                    f"{first_origin[0]} and {origin[0]}. Uninstall one of them."
                )
    return iter(by_name.values())


def _origin(dist: Distribution | None) -> tuple[str, str]:
    """Return name and version of a distribution, as far as it can say them."""
    try:
        name, version = (dist.name, dist.version) if dist is not None else (None, None)
    except Exception:  # noqa: BLE001  # containment: it may be damaged, or just being replaced
        name = version = None
    return name or "unknown", version or ""


def _loaded(manager: pluggy.PluginManager, point: EntryPoint, plugin: InstalledPlugin) -> InstalledPlugin:
    registry = Registry(point.name)
    try:
        module = point.load()
        plugin = _as_loaded(plugin, point)
        manager.register(module, name=point.name)
        _register(manager, module, registry)
    except PluginError as error:
        extra = event(PLUGIN_FAILED, plugin=point.name, reason=error.reason)
        log.error("plugin %s: %s", point.name, error.message, extra=extra)  # noqa: TRY400  # the message says it all; there is no foreign traceback
        return attrs.evolve(plugin, error=error)
    except BaseException as error:  # containment: a plugin may raise anything while it loads, or try to exit
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # Ctrl-C, which is the only way to end a slow import; it never comes to another thread
        extra = event(PLUGIN_FAILED, plugin=point.name, reason="plugin_failed")
        log.exception("plugin %s could not be loaded", point.name, extra=extra)
        failure = PluginError(
            "plugin_failed",
            f'The plugin "{point.name}" of {plugin.distribution} {plugin.version} could not be loaded '
            f"({type(error).__name__}); the log has the traceback.",
        )
        return attrs.evolve(plugin, error=failure)
    return attrs.evolve(plugin, registry=registry)


def _as_loaded(plugin: InstalledPlugin, point: EntryPoint) -> InstalledPlugin:
    """Return `plugin` with the version that its module is of: an upgrade changes nothing about what runs."""
    module = sys.modules.get(point.module)
    if (
        not isinstance(module, ModuleType) or not plugin.version
    ):  # without one, its metadata are just being replaced
        return plugin
    version = _versions.setdefault(module, plugin.version)
    if version == plugin.version:
        return plugin
    log.warning(
        "plugin %s: version %s is installed, and %s goes on until statusd is restarted",
        plugin.name,
        plugin.version,
        version,
    )
    return attrs.evolve(plugin, version=version, waiting_version=plugin.version)


def _register(manager: pluggy.PluginManager, module: object, registry: Registry) -> None:
    """Call the three hooks of one plugin; pluggy would end the whole call at the first that raises."""
    others = [other for other in manager.get_plugins() if other is not module]
    for hook, add in (
        ("statusd_register_sources", registry.add_source),
        ("statusd_register_views", registry.add_view),
        ("statusd_register_sinks", registry.add_sink),
    ):
        manager.subset_hook_caller(hook, remove_plugins=others)(registry=_Adding(add))
