"""The configuration: reading, checking, resolving.

`read` finds and parses a file, `wanted_plugins` tells what it needs, `resolve` joins it with the loaded plugins and raises
every mistake at once. Faults of the surroundings raise nothing: they are in the result, and the rest runs.
"""

from __future__ import annotations

from statusd.config.load import default_text, read, read_text
from statusd.config.mistakes import ConfigError, Mistake
from statusd.config.resolve import Configuration, SourceConfig, resolve
from statusd.config.scan import secrets_in
from statusd.config.settings import Settings, wanted_plugins

__all__ = [
    "ConfigError",
    "Configuration",
    "Mistake",
    "Settings",
    "SourceConfig",
    "default_text",
    "read",
    "read_text",
    "resolve",
    "secrets_in",
    "wanted_plugins",
]
