"""A catalogue of plugins made for these tests, and one function that reads and resolves a text with them."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import pytest

from statusd import (
    HttpSource,
    OptionError,
    Report,
    Secret,
    Sink,
    Source,
    Url,
    View,
    option,
    positive,
    schemes,
)
from statusd.config import ConfigError, read_text, resolve
from statusd.errors import PluginError
from statusd.plugin.registry import InstalledPlugin, Registry, catalogue


def _even(_instance: object, _attribute: object, number: int) -> None:
    if number % 2:
        raise ValueError("must be even")


@attrs.frozen(kw_only=True)
class Everything(HttpSource):
    """A source with a key of every kind."""

    default_interval: ClassVar[float] = 0.5

    url: Url = option(Url(), help="Where.", validator=schemes("http", "https"))
    mirrors: list[Url] = option(factory=list, help="Where else.")
    api_key: Secret | None = option(None, help="The key.")
    token: Secret = option(Secret(), help="Another.")
    text: str = option("", help="A text.")
    maybe: str | None = option(None, help="A text or none.")
    number: int = option(2, help="A number.", validator=_even)
    ratio: float = option(1.0, help="A ratio.", validator=positive)
    flag: bool = option(False, help="A flag.")
    choice: Literal["http", "handshake", "tcp"] = option("http", help="A choice.")
    names: list[str] = option(factory=list, help="Names.")
    pair: tuple[int, str] = option((1, "a"), help="A pair.")
    headers: dict[str, str] = option(factory=dict, help="Headers.")
    unit: str | list[str] = option("", help="One or several.")

    def __attrs_post_init__(self) -> None:
        if self.text == "clash" and self.flag:
            raise OptionError("flag", "does not go with this text; remove it")

    def probe(self) -> Report:
        return Report.ok()


@attrs.frozen(kw_only=True)
class Wanting(Source):
    """A source that wants something, and offers a password."""

    url: Url = option(help="Address of the server.")
    password: Secret | None = option(None, help="The password.")


@attrs.frozen(kw_only=True)
class Page(View):
    name: ClassVar[str] = "page"

    title: str = option("", help="The title.")

    def __attrs_post_init__(self) -> None:
        if self.title and self.title not in self.context.models:
            raise OptionError("title", f'"{self.title}" is no model')


@attrs.frozen(kw_only=True)
class Journal(Sink):
    name: ClassVar[str] = "journal"

    token: Secret | None = option(None, help="The token.")


def installed(name, *, sources=(), views=(), sinks=(), error=None, is_enabled=True):
    """Return an installed plugin that registered these types."""
    registry = (
        Registry(name, list(sources), list(views), list(sinks)) if is_enabled and error is None else None
    )
    return InstalledPlugin(
        name=name,
        distribution="tests",
        version="1",
        is_builtin=True,
        is_enabled=is_enabled,
        registry=registry,
        error=error,
    )


@pytest.fixture
def plugins():
    """The installed plugins, by name; a test may add its own."""
    broken = PluginError("plugin_failed", 'The plugin "broken" could not be loaded.')
    found = [
        installed("everything", sources=[Everything], views=[Page], sinks=[Journal]),
        installed("wanting", sources=[Wanting]),
    ]
    return {plugin.name: plugin for plugin in found} | {"_broken": installed("broken", error=broken)}


@pytest.fixture
def resolved(plugins):
    """Read and resolve a text: `resolved(text, environ)`; the plugin `broken` is there only where it is asked for."""

    def resolved(text, environ=None, *, with_broken=False, bind=None):
        chosen = {plugin.name: plugin for key, plugin in plugins.items() if with_broken or key != "_broken"}
        return resolve(read_text(text, "test.toml", environ or {}, bind), catalogue(chosen))

    return resolved


@pytest.fixture
def mistakes(resolved):
    """Return the mistakes of a text as strings; none when it resolves."""

    def mistakes(text, environ=None, **options):
        try:
            resolved(text, environ, **options)
        except ConfigError as error:
            return [str(mistake) for mistake in error.mistakes]
        return []

    return mistakes


@pytest.fixture
def options(resolved):
    """Return what the keys of one source of the kind `everything` became."""

    def options(keys, environ=None):
        text = f'[sources.x]\nplugin = "everything"\n{keys}'
        return resolved(text, environ).sources[0].options

    return options


@pytest.fixture
def one_mistake(mistakes):
    """Return the only mistake in the keys of one source of the kind `everything`, without ``sources.x.``."""

    def one_mistake(keys, environ=None):
        [mistake] = mistakes(f'[sources.x]\nplugin = "everything"\n{keys}', environ)
        return mistake.removeprefix("sources.x.")

    return one_mistake


@pytest.fixture
def make_plugin():
    """Return the function that makes an installed plugin."""
    return installed
