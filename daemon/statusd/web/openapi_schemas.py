"""JSON Schemas out of Python types, with what their docstrings say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import cleandoc
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

import msgspec

Schema: TypeAlias = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_ATTRIBUTES: Final = "\n\nAttributes:\n"
# "    status, reason: how it is doing", and what of it stands in further lines, which are indented deeper.
_ATTRIBUTE: Final = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def schemas_of(kinds: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Return a JSON Schema for each of `kinds`, and the named ones that these refer to.

    Args:
        kinds: types that msgspec can describe, and unions of such; unlike what it decodes, of several objects, too.

    Raises:
        Exception: whatever msgspec raises for a type that it cannot describe.
    """
    members = [_members(kind) for kind in kinds]
    flat = [member for each in members for member in each]
    found, components = msgspec.json.schema_components(flat, ref_template=_REF)
    schemas = iter(found)
    shown = [[next(schemas) for _ in each] for each in members]
    named = {name: _described(schema) for name, schema in components.items()}
    return [each[0] if len(each) == 1 else {"anyOf": each} for each in shown], named


def first_sentence(docstring: str | None) -> str:
    """Return the first paragraph of a docstring as plain text with Markdown's quotes, without the full stop."""
    paragraph = (docstring or "").strip().partition("\n\n")[0]
    return " ".join(paragraph.replace("``", "`").split()).removesuffix(".")


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def _described(schema: Schema) -> Schema:
    """Return `schema` with its docstring parted: the first sentence for the whole, the rest for the properties."""
    text = cleandoc(schema.get("description", ""))
    if not text:
        return schema
    summary, _, attributes = text.partition(_ATTRIBUTES)
    properties = {name: dict(one) for name, one in schema.get("properties", {}).items()}
    for names, meaning in _ATTRIBUTE.findall(attributes):
        for name in names.split(", "):
            if name in properties:
                said = first_sentence(meaning)
                properties[name].setdefault("description", said[:1].upper() + said[1:])
    described = {**schema, "description": first_sentence(summary)}
    return {**described, "properties": properties} if properties else described
