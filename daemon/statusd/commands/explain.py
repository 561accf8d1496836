"""`statusd explain`: why a node has its status, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from statusd.client import Explanation
from statusd.commands.rendering import Line, width, word
from statusd.commands.show import ask
from statusd.commands.where import Where
from statusd.wording import span, standing


def explain(path: str, where: Where) -> Explanation:
    """Return why the node at `path` has its status.

    Raises:
        ClientError: with where the address is from; for a node that does not exist, with what there is near it.
    """
    return ask(path, where, lambda client: client.explain(path))


def as_text(explanation: Explanation, *, is_coloured: bool) -> str:
    """Return the explanation for people."""
    document = explanation.document
    lines = [_state_line(f"{word(explanation.path) or '/'}: ", document)]
    if explanation.message:
        lines.append(Line(f"  {word(explanation.message)}"))
    lines += _section("because", explanation.because)
    lines += _section("what would change it", explanation.would_change)
    for title, lines_of in (
        ("reading", _reading),
        ("thresholds", _thresholds),
        ("dependency", _dependency),
        ("rollup", _rollup),
    ):
        found = document.get(title)
        if isinstance(found, dict):
            lines += [Line(""), Line(title), *lines_of(found)]
    return "\n".join(line.painted(is_coloured=is_coloured) for line in lines)


def _section(title: str, sentences: Sequence[str]) -> list[Line]:
    if not sentences:
        return []
    return [Line(""), Line(title), *(Line(f"  - {word(sentence)}") for sentence in sentences)]


def _state_line(start: str, state: Mapping[str, Any]) -> Line:
    status = word(state.get("status"))
    return Line(start + standing(status, word(state.get("reason"))), status, len(start))


def _reading(reading: Mapping[str, Any]) -> list[Line]:
    lines = [_state_line("  ", reading)]
    if message := word(reading.get("message")):
        lines.append(Line(f"  {message}"))
    times = [
        (reading.get("age"), "{} old"),
        (reading.get("expires_in"), "expires in {}"),
        (reading.get("interval"), "probed every {}"),
        (reading.get("timeout"), "given up after {}"),
    ]
    known = [form.format(span(value)) for value, form in times if isinstance(value, int | float)]
    return [*lines, Line(f"  {', '.join(known)}")] if known else lines


def _thresholds(thresholds: Mapping[str, Any]) -> list[Line]:
    lines = [Line(f"  rise {_number(thresholds, 'rise')}, fall {_number(thresholds, 'fall')}")]
    tally = thresholds.get("tally")
    if isinstance(tally, dict):
        lines.append(
            _state_line(f"  {_number(tally, 'seen')} of {_number(tally, 'needed')} probes say ", tally)
        )
    return lines


def _dependency(dependency: Mapping[str, Any]) -> list[Line]:
    lines = [Line(f"  depends on {_names(dependency.get('depends_on'))}")]
    if parent := word(dependency.get("parent_down")):
        lines.append(Line(f"  {parent} has failed"))
    return lines


def _rollup(rollup: Mapping[str, Any]) -> list[Line]:
    lines = [Line(f"  {word(rollup.get('rule'))}, decided by {_names(rollup.get('decided_by'))}")]
    children = rollup.get("children")
    found = [child for child in children if isinstance(child, dict)] if isinstance(children, list) else []
    longest = max((width(word(child.get("name"))) for child in found), default=0)
    for child in found:
        name = word(child.get("name"))
        line = _state_line(f"    {name}{' ' * (longest - width(name))}  ", child)
        note = "" if child.get("counts", True) else ", does not count"
        lines.append(Line(line.text + note, line.status, line.at))
    return lines


def _number(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name)
    return str(value) if isinstance(value, int | float) else "?"


def _names(value: object) -> str:
    return ", ".join(word(name) for name in value) or "nothing" if isinstance(value, list) else "nothing"
