"""The three hooks: synchronous, registering only, called once a plugin before any task runs."""

from __future__ import annotations

from typing import Protocol

import pluggy

from statusd.plugin.contracts import Sink, Source, View

PROJECT = "statusd"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin module as the implementation of the hook it is named after."""


class SourceRegistry(Protocol):
    """Takes the source type of a plugin."""

    def add(self, source_type: type[Source]) -> None:
        """Register `source_type` under the plugin's entry-point name; one a plugin.

        Raises:
            PluginError: when it is not a source type, or the plugin has registered one already.
        """
        ...


class ViewRegistry(Protocol):
    """Takes the view types of a plugin."""

    def add(self, view_type: type[View]) -> None:
        """Register `view_type` under its ``name``.

        Raises:
            PluginError: when it is not a view type or has no name.
        """
        ...


class SinkRegistry(Protocol):
    """Takes the sink types of a plugin."""

    def add(self, sink_type: type[Sink]) -> None:
        """Register `sink_type` under its ``name``.

        Raises:
            PluginError: when it is not a sink type or has no name.
        """
        ...


@hookspec
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register the source type of this plugin; called at start, when a source names the plugin or it is built in.

    :param registry: takes the type.
    """


@hookspec
def statusd_register_views(registry: ViewRegistry) -> None:
    """Register view types, which answer HTTP endpoints; called at start, after the sources.

    :param registry: takes the types.
    """


@hookspec
def statusd_register_sinks(registry: SinkRegistry) -> None:
    """Register sink types, which consume transitions; called at start, after the views.

    :param registry: takes the types.
    """
