"""The table ``[models]``: what ``/models`` serves, and the sources that can serve it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN
from statusd.config.wording import below, described, item, quoted, suggestion

MAX_ID: Final = 200
"""Characters of a model id; percent-encoded it is one segment of a path."""


def read_models(
    table: Mapping[str, object], sources: Collection[str], findings: Findings
) -> dict[str, tuple[str, ...]]:
    """Return model id -> names of its sources, both in the order of the file.

    Args:
        table: the table ``[models]``.
        sources: the names of all configured sources.
        findings: takes what is wrong.
    """
    models: dict[str, tuple[str, ...]] = {}
    for model, value in table.items():
        path = below("models", model)
        if not model.strip() or not model.isprintable() or len(model) > MAX_ID:
            findings.mistake(path, f"a model id is made of 1 to {MAX_ID} printable characters; correct it")
        elif names := _names(model, value, path, sources, findings):
            models[model] = names
    return models


def _names(
    model: str, value: object, path: str, sources: Collection[str], findings: Findings
) -> tuple[str, ...]:
    if value is BROKEN:
        return ()
    if isinstance(value, str):
        return _known([(path, value)], sources, findings)
    if isinstance(value, list):
        if not value:
            findings.mistake(path, "names no source; list at least one, best first")
        return _known([(item(path, index), one) for index, one in enumerate(value)], sources, findings)
    remedy = ""
    if isinstance(value, dict) and value:
        remedy = f"; an id with a dot wants quotes: {quoted(f'{model}.{next(iter(value))}')}"
    findings.mistake(path, f"expected a source's name or an array of them, found {described(value)}{remedy}")
    return ()


def _known(
    entries: list[tuple[str, object]], sources: Collection[str], findings: Findings
) -> tuple[str, ...]:
    """Return the entries that name a source, each once."""
    names: dict[str, None] = {}
    for path, entry in entries:
        if entry is BROKEN:
            continue
        if not isinstance(entry, str):
            findings.mistake(path, f"expected a source's name, found {described(entry)}; write it in quotes")
        elif entry not in sources:
            remedy = suggestion(entry, sources, none="no source is configured; add a table [sources.<name>]")
            findings.mistake(path, f"{quoted(entry)} names no source; {remedy}")
        elif entry in names:
            findings.mistake(path, f"{quoted(entry)} is listed twice; remove one")
        else:
            names[str(entry)] = None
    return tuple(names)
