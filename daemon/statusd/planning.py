"""A configuration held against the installed plugins: all that the daemon is built from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint

import attrs

from statusd.config.resolve import Configuration, resolve
from statusd.config.scan import secrets_in
from statusd.config.settings import Settings, wanted_plugins
from statusd.plugin.loading import load_plugins
from statusd.plugin.registry import Catalogue
from statusd.redaction import Redactor


@attrs.frozen(kw_only=True)
class Plan:
    """A configuration held against the installed plugins: all that the daemon is built from.

    Attributes:
        configuration: what to run.
        catalogue: the plugins.
        environ: the variables, among them the directories that systemd made.
        redactor: knows the secrets.
    """

    configuration: Configuration
    catalogue: Catalogue
    environ: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    redactor: Redactor = attrs.field(factory=Redactor)


def plan(
    settings: Settings, *, points: Iterable[EntryPoint] | None = None, redactor: Redactor | None = None
) -> Plan:
    """Load the plugins that `settings` want, and resolve the configuration against them.

    Args:
        settings: what the configuration says.
        points: the entry points to choose plugins from; by default the installed ones.
        redactor: learns the secrets, before any plugin's code runs.

    Raises:
        ConfigError: with every mistake in the configuration.
        StartError: when two plugins claim one name.
    """
    redactor = Redactor() if redactor is None else redactor
    redactor.learn(secrets_in(settings))
    catalogue = load_plugins(wanted_plugins(settings), disabled=settings.plugins.disabled, points=points)
    configuration = resolve(settings, catalogue)
    redactor.learn(configuration.secrets)
    return Plan(configuration=configuration, catalogue=catalogue, environ=settings.environ, redactor=redactor)
