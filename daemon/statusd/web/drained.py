"""What an operator has taken out of service: why a node is off for that, and what ends it, in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from urllib.parse import unquote

from statusd.model.drains import DRAINED, drained_above, is_drained
from statusd.model.status import Status
from statusd.model.tree import join
from statusd.web.phrases import name_of, one_line, said
from statusd.web.subject import Subject


def is_out(subject: Subject) -> bool:
    """Whether the node itself is drained; a model whose sources all are is off as they are."""
    is_of_sources = subject.is_model and all(one.reason == DRAINED for one in subject.members)
    return is_drained(subject.node) and not is_of_sources


def because_out(subject: Subject) -> Iterator[str]:
    """Yield why a drained node is off."""
    node = subject.node
    what = "whatever its probes say" if node.basis is not None else "whatever is below it"
    yield f"It is out of service, {what}: {said(node.status, node.reason, node.message)}"


def because_of_others(subject: Subject) -> Iterator[str]:
    """Yield what drains there are that are not of the node itself, and what they mean for it."""
    if subject.is_model:
        for one in subject.members:
            if one.status is Status.OFF and one.reason == DRAINED:
                yield f"{name_of(one.name)} is out of service, since an operator has drained it."
    if (place := _above(subject)) is not None:
        yield f"{_named(place)} is drained, so /readyz answers 503 for all that is in it, and for this too."


def ends(subject: Subject) -> Iterator[str]:
    """Yield what puts into service again what is out of it."""
    paths = [subject.path] if is_out(subject) else []
    if subject.is_model and not paths:
        drained = (one for one in subject.members if one.status is Status.OFF and one.reason == DRAINED)
        paths = [join("sources", one.name) for one in drained]
    if (place := _above(subject)) is not None:
        paths.append(place)
    for path in paths:
        what = "It is" if path == subject.path else f"{_named(path)} is"
        command = shlex.join(["statusd", "undrain", path or "/"])
        yield f"{what} in service again after `{one_line(command)}`{_until(subject, path)}."


def _until(subject: Subject, path: str) -> str:
    node = subject.snapshot.find(path)
    _, found, end = (node.message if node is not None else "").rpartition("; until ")
    return f", or at {one_line(end).removesuffix('.')}" if found else ""


def _above(subject: Subject) -> str | None:
    place = drained_above(subject.snapshot.root, subject.path)
    return None if place == subject.path else place


def _named(path: str) -> str:
    return f'"{one_line(unquote(path))}"' if path else "The whole tree"
