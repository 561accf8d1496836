"""What plugins get wrong in the classes that declare their keys, and what their own code says about options."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest

from statusd import OptionError, Secret, Source, View, option

A = '[sources.a]\nplugin = "everything"\n'


@attrs.frozen(kw_only=True)
class Clashing(Source):
    interval: float = option(1.0, help="Not its to declare.")


@attrs.frozen(kw_only=True)
class Unresolved(Source):
    key: "Nowhere" = option(None, help="?")  # noqa: F821, UP037  # what it is about


@attrs.frozen(kw_only=True)
class Odd(Source):
    key: type(Ellipsis) = option(None, help="?")


@attrs.frozen(kw_only=True)
class BadInterval(Source):
    default_interval: ClassVar[float] = float("nan")


@attrs.frozen(kw_only=True)
class NoInterval(Source):
    default_interval: ClassVar[Any] = "2"


class Plain:
    default_interval = 2.0


def _explode(*_arguments):
    raise RuntimeError("a plugin's own s3cret text")


@attrs.frozen(kw_only=True)
class BadDefault(Source):
    key: str = option(factory=_explode, help="?")


@attrs.frozen(kw_only=True)
class BadValidator(Source):
    key: str = option("", help="?", validator=_explode)


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (Clashing, 'declares the key "interval", which every source has already'),
        (Unresolved, "has annotations that cannot be resolved (NameError)"),
        (Odd, "which no configuration value can have"),
        (BadInterval, "default_interval is no number of seconds from 0.01 to 86400"),
        (NoInterval, "default_interval is no number of seconds from 0.01 to 86400"),
        (Plain, "is no attrs class"),
        (BadDefault, "cannot make the default of key (RuntimeError)"),
        (BadValidator, "cannot validate key (RuntimeError)"),
    ],
)
def test_a_faulty_class_is_its_plugins_fault_and_harms_no_other_source(
    resolved, plugins, make_plugin, declared, problem
):
    plugins["bad"] = make_plugin("bad", sources=[declared])
    key = 'key = "x"\n' if declared is Odd else ""
    a, b = resolved(f'{A}[sources.b]\nplugin = "bad"\n{key}').sources
    assert a.fault is None
    assert b.fault[0] == "plugin_failed"
    assert problem in b.fault[1]
    assert "s3cret" not in b.fault[1]
    assert b.source_type is None


def test_a_faulty_view_is_a_fault_and_no_mistake(resolved, plugins, make_plugin):
    bad = attrs.frozen(kw_only=True)(
        type(
            "Bad", (View,), {"name": "bad", "__annotations__": {"key": "Nowhere"}, "key": option(1, help="?")}
        )
    )
    plugins["bad"] = make_plugin("bad", views=[bad])
    found = resolved("")
    assert found.views["bad"] == {}
    assert found.faults[0][0] == "views.bad"


def test_a_constructor_that_wants_its_context_is_left_for_later(resolved, plugins, make_plugin):
    @attrs.frozen(kw_only=True)
    class Eager(Source):
        key: str = option("", help="?")

        def __attrs_post_init__(self):
            if self.context.name == "b":
                raise OptionError("key", "is wrong for b")

    plugins["eager"] = make_plugin("eager", sources=[Eager])
    [source] = resolved('[sources.b]\nplugin = "eager"\nkey = "x"').sources
    assert (source.fault, source.options) == (None, {"key": "x"})


def test_validators_see_the_other_keys_and_attrs_own_name_the_field(mistakes, plugins, make_plugin):
    def needs_other(instance, _attribute, value):
        if value and not instance.other:
            raise ValueError("needs the key other")

    @attrs.frozen(kw_only=True)
    class Careful(Source):
        key: str = option("", help="?", validator=needs_other)
        other: str = option("", help="?")
        size: int = option(1, help="?", validator=attrs.validators.ge(1))
        code: str = option("a", help="?", validator=attrs.validators.matches_re("[a-z]"))
        token: Secret | None = option(None, help="?", validator=needs_other)
        floor: int = option(0, help="?", validator=attrs.validators.ge(0))
        _hidden: str = option("", help="?")

    plugins["careful"] = make_plugin("careful", sources=[Careful])
    text = '[sources.c]\nplugin = "careful"\nkey = "x"\nsize = 0\ncode = "A"\nhidden = "y"\ntoken = { env = "T" }'
    assert mistakes(text, {"T": "s3cret"}) == [
        'sources.c.key: "x" needs the key other',
        "sources.c.size: 'size' must be >= 1: 0",
        "sources.c.code: 'code' must match regex '[a-z]' ('A' doesn't)",
        "sources.c.token: needs the key other",
    ]
    assert mistakes('[sources.c]\nplugin = "careful"\nother = 1\nkey = "x"') == [
        "sources.c.other: expected a string, found the integer 1; write it in quotes"
    ]


def test_a_default_that_its_own_validator_refuses_is_told_as_a_key_to_set(mistakes, plugins, make_plugin):
    def not_empty(_instance, _attribute, value):
        if not value:
            raise ValueError("must not be empty")

    @attrs.frozen(kw_only=True)
    class Needy(Source):
        key: str = option("", help="?", validator=not_empty)

    plugins["needy"] = make_plugin("needy", sources=[Needy])
    assert mistakes('[sources.c]\nplugin = "needy"') == [
        "sources.c.key: not set, and its default must not be empty"
    ]


def test_what_a_validator_says_about_a_value_of_the_environment_shows_the_file(
    mistakes, plugins, make_plugin
):
    def refuse(_instance, _attribute, value):
        raise ValueError(f'holds "{"".join(value)}", which is wrong')

    @attrs.frozen(kw_only=True)
    class Chatty(Source):
        one: str = option("", help="?", validator=refuse)
        many: list[str] = option(factory=list, help="?", validator=refuse)

    plugins["chatty"] = make_plugin("chatty", sources=[Chatty])
    text = '[sources.c]\nplugin = "chatty"\none = "${K}"\nmany = ["${K}"]'
    assert mistakes(text, {"K": "s3cret"}) == [
        'sources.c.one: holds "${K}", which is wrong',
        'sources.c.many: holds "${K}", which is wrong',
    ]
