"""What the page says about a node of ``/state``; ``words.js`` says the same, and a browser test compares them."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

State: TypeAlias = Mapping[str, Any]
"""A node as ``/state`` shows it."""

WINGS: Final = ("models", "sources", "plugins", "daemon")
"""The wings in the order of the page; others follow."""
LISTED: Final = 5
"""Names of deciding children before the rest is only counted."""

_SERVING: Final = frozenset(
    {"backend", "source", "candidates"}
)  # facts of a model that are shown by themselves
_NOUNS: Final = {
    "models": ("model", "models"),
    "sources": ("source", "sources"),
    "plugins": ("plugin", "plugins"),
    "daemon": ("part of the daemon", "parts of the daemon"),
}

# What a browser does not show, drops, or lets turn the text around: C0 and C1 without tab and newline, the
# bidirectional overrides and isolates (UAX 9), surrogates.
_INVISIBLE: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_LAST_INDEX: Final = 2**32 - 2


@attrs.frozen
class Number:
    """A JSON number as it was spelled, whatever its size and precision."""

    text: str


def parse(body: bytes) -> Any:
    """Return a JSON document with each number as a `Number`."""
    return json.loads(body, parse_int=Number, parse_float=Number)


def visible(text: str) -> str:
    """Return `text` with U+FFFD in place of what no reader would see, or would be misled by."""
    return _INVISIBLE.sub("\ufffd", text)


def ordered(children: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the items of an object in the order that scripts have them: array indices first (ECMA-262, 10.1.11.1)."""
    return sorted(children.items(), key=lambda item: (0, int(item[0])) if _is_index(item[0]) else (1, 0))


def wings(root: State) -> list[tuple[str, State]]:
    """Return the branches of the root in the order of the page."""
    ranks = {name: rank for rank, name in enumerate(WINGS)}
    return sorted(ordered(root["children"]), key=lambda item: ranks.get(item[0], len(WINGS)))


def label(segment: str) -> str:
    """Return the name that a path segment encodes, or the segment itself where that is no UTF-8."""
    try:
        return urllib.parse.unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return segment


def capitalized(name: str) -> str:
    """Return `name` as a heading."""
    return name[:1].upper() + name[1:]


def count(number: int, noun: str) -> str:
    """Return such as ``2 parts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def spelled_out(instant: str) -> str:
    """Return an instant of ``/state`` for people, to the second."""
    return f"{instant[:10]} {instant[11:19]} UTC"


def reason(node: State) -> str:
    """Return the reason, where it says more than the status."""
    word: str = node["reason"]
    return "" if word == node["status"] else word


def apart(node: State, path: str) -> str:
    """Return remarks: a node has no say in the rollup of its wing (parts never have), or is as an earlier run left it."""
    remarks = ["does not count"] if not node["counts"] and path.count("/") == 1 else []
    return ", ".join([*remarks, "from before the restart"] if node["restored"] else remarks)


def seen(node: State) -> str | None:
    """Return when the reading behind a node was taken; None for what is no reading, and so never turns stale."""
    observed: str | None = node["observed_at"]
    return observed if node["expires_at"] else None


def rule(node: State) -> str:
    """Return what decided a rollup that is not well, where nothing else says so already.

    The message of ``worst`` names them; a model's selected source shows among its candidates.
    """
    rollup = node["rollup"]
    if not rollup or rollup["rule"] == "worst" or node["status"] in {"ok", "off"}:
        return ""
    if rollup["decided_by"] in ([], [node["source"]]):
        return ""
    names = [label(name) for name in rollup["decided_by"]]
    rest = len(names) - LISTED
    return f"{rollup['rule']}: decided by {', '.join(names[:LISTED])}" + (
        f" and {rest} more" if rest > 0 else ""
    )


def verdict(root: State) -> str:
    """Return the whole in one sentence."""
    if root["status"] == "off":
        return root["message"] if root["reason"] == "drained" else "Nothing that counts is configured."
    failing = list(_failing(root))
    if not failing:
        return "Everything is as it should be." if root["status"] == "ok" else "The whole is not ok."
    said = " and ".join(f"{bad} of {counted} {noun}" for bad, counted, noun in failing)
    verb = "is" if sum(bad for bad, _, _ in failing) == 1 else "are"
    return f"{said} {verb} not ok{', and the whole is' if root['status'] == 'ok' else ''}."


def facts(node: State, *, is_model: bool = False) -> list[tuple[str, str]]:
    """Return the facts of a node as they are shown; of a model, those that have no place of their own."""
    left_out = _SERVING if is_model else frozenset()
    return [(name, spelled(value)) for name, value in ordered(node["facts"]) if name not in left_out]


def spelled(value: Any) -> str:
    """Return a JSON value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else _json(value)


def connected(node: State) -> str:
    """Return whether a model can be served."""
    return "connected" if node["status"] in {"ok", "degraded"} else "not connected"


def backend(node: State) -> str:
    """Return the selected backend of a model and the source that told."""
    found = node["facts"]
    return f"backend {_text(found.get('backend'))} from source {_text(found.get('source'))}"


def candidates(node: State) -> list[dict[str, str]]:
    """Return the candidates of a model, each with a remark where it is the selected one."""
    found = node["facts"].get("candidates")
    source = node["facts"].get("source")
    return [
        {
            "source": _text(one.get("source")),
            "backend": "" if one.get("backend") == one.get("source") else _text(one.get("backend")),
            "status": _text(one.get("status")),
            "reason": _text(one.get("reason")),
            "selected": "selected" if one.get("source") == source else "",
        }
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict)
    ]


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (
        apart,
        backend,
        candidates,
        capitalized,
        connected,
        count,
        facts,
        label,
        ordered,
        reason,
        rule,
        seen,
        spelled_out,
        verdict,
        wings,
    )
}


def _failing(root: State) -> Iterator[tuple[int, int, str]]:
    """Yield for each wing with children that count and are not ok: how many, of how many, and what they are."""
    for name, wing in wings(root):
        counted = [one for one in wing["children"].values() if one["counts"] and one["status"] != "off"]
        bad = sum(one["status"] != "ok" for one in counted)
        if bad:
            one, several = _NOUNS.get(name, (label(name), label(name)))
            yield bad, len(counted), one if len(counted) == 1 else several


def _json(value: Any) -> str:
    if isinstance(value, Number):
        return value.text
    if isinstance(value, list):
        return f"[{', '.join(_json(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_json(name)}: {_json(item)}' for name, item in ordered(value))}}}"
    return json.dumps(visible(value) if isinstance(value, str) else value, ensure_ascii=False)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_index(name: str) -> bool:
    return _INDEX.fullmatch(name) is not None and int(name) <= _LAST_INDEX
