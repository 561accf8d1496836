"""The rooms of DESIGN and who may import whom, read from the code's own import statements."""

import ast
import inspect
import sys
from pathlib import Path

import attrs
import pytest

import statusd
from statusd.plugin import hookspecs
from statusd.plugin.loading import load_plugins
from statusd.plugin.options import HELP, INTERNAL

ROOT = Path(__file__).parents[1]
DAEMON = ROOT / "daemon" / "statusd"
BOTTOM = {"errors", "values", "oserrors", "wording", "events", "files", "socket_files"}
MAY_IMPORT = {
    "errors": set(),
    "events": set(),
    "values": set(),
    "oserrors": set(),
    "wording": set(),
    "files": set(),
    "socket_files": set(),
    "redaction": BOTTOM,
    "model": BOTTOM,
    "net": BOTTOM,
    "systemd": BOTTOM,
    "client": BOTTOM,
    "plugin": BOTTOM | {"model"},
    "web": BOTTOM | {"model", "plugin"},
    "runtime": BOTTOM | {"model", "plugin"},
    "config": BOTTOM | {"model", "plugin", "redaction"},
    "control": BOTTOM | {"model", "runtime"},
}
"""Wing -> what it may import besides itself; the composition (parts, building, app, commands, cli, demo) and testing may more."""
ONLY_IN = {
    "quart": "web",
    "quart_trio": "web",
    "hypercorn": "web",
    "h2": "web",
    "jinja2": "web",
    "redis": "net",
    "hiredis": "net",
    "httptools": "net",
    "wsproto": "net",
    "pluggy": "plugin",
    "prometheus_client": "web",
}
"""Library -> the one wing that uses it; the simulators speak the same protocols, from the other side."""


def modules(folder):
    return sorted(folder.rglob("*.py"))


def imports(path):
    """Yield the dotted names a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def wing(path):
    return path.relative_to(DAEMON).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(DAEMON), ids=lambda path: str(path.relative_to(DAEMON)))
def test_each_wing_imports_only_what_stands_below_it(path):
    room = wing(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        assert top != "statusd_plugins", f"{path} imports a plugin"
        if top in ONLY_IN:
            assert room in {ONLY_IN[top], "testing"}, f"{top} is used outside {ONLY_IN[top]}/"
        if top == "statusd" and room in MAY_IMPORT:
            target = rest.partition(".")[0]
            assert target in MAY_IMPORT[room] | {room}, f"{room} imports statusd.{rest or '(the public API)'}"


def test_redis_stays_in_the_files_of_its_own():
    for path in modules(DAEMON / "net"):
        if any(name.partition(".")[0] == "redis" for name in imports(path)):
            assert path.name.startswith("redis"), path


def plugin_files():
    return [
        path
        for folder in (ROOT / "plugins", ROOT / "contrib")
        for path in modules(folder)
        if not {"tests", "build"} & set(path.parts)
    ]


@pytest.mark.parametrize("path", plugin_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_import_only_the_public_api(path):
    allowed = {"statusd", "statusd.testing", "attrs", "msgspec"}
    for name in imports(path):
        top = name.partition(".")[0]
        own = top in {"statusd_plugins", path.stem, path.parent.name}
        assert own or name in allowed or top in sys.stdlib_module_names, f"{path} imports {name}"


def test_the_public_api_is_what_all_says():
    for name in statusd.__all__:
        assert hasattr(statusd, name), name


@pytest.mark.parametrize("name", sorted(set(statusd.__all__) - {"Json", "REASONS"}))
def test_everything_public_has_a_docstring(name):
    thing = getattr(statusd, name)
    assert name == "hookimpl" or inspect.getdoc(thing), name
    if inspect.isclass(thing) and thing.__module__.startswith("statusd"):
        for method, value in vars(thing).items():
            if not method.startswith("_") and inspect.isfunction(value):
                assert inspect.getdoc(value), f"{name}.{method}"


def test_every_hook_is_documented_in_the_authors_guide_with_its_signature():
    guide = (ROOT / "docs" / "plugins.md").read_text()
    hooks = [name for name in vars(hookspecs) if name.startswith("statusd_register_")]
    assert len(hooks) == 3
    for name in hooks:
        (argument,) = inspect.signature(getattr(hookspecs, name)).parameters
        assert f"def {name}({argument}" in guide, name
        assert inspect.getdoc(getattr(hookspecs, name))


def test_every_option_of_a_built_in_has_help():
    catalogue = load_plugins([])
    kinds = [kind for plugin in catalogue.plugins.values() for kind in plugin.registry.source_types]
    assert len(kinds) == 7
    for kind in [*kinds, *catalogue.views.values()]:
        for field in attrs.fields(kind):
            assert field.metadata.get(INTERNAL) or field.metadata.get(HELP, "").endswith("."), field
