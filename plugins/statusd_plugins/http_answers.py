"""Judging the answers of an HTTP server: status code, text, a status in JSON, facts, and the list of models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from statusd import HttpResponse, Json, ProbeError, Report, Status, expect_success, parse_json
from statusd_plugins.json_pointer import Pointer
from statusd_plugins.upstream_text import MAX_ITEMS, printable

MAX_BITS: Final = 64
"""Bits of an integer in facts; a larger one, of up to 4,300 digits, is shown as cut text."""
MAX_FOUND: Final = 5_000
"""Values that a pointer may find: no server has so many models, and reading more of them holds up everybody else."""
USUAL_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ok", "healthy", "up", "pass", "ready", "running", "alive", "success", "true"), "ok"),
    **dict.fromkeys(("degraded", "warn", "warning"), "degraded"),
    **dict.fromkeys(("unknown",), "unknown"),
    **dict.fromkeys(("loading", "starting", "initializing", "down", "unhealthy", "error", "fail"), "down"),
    **dict.fromkeys(("failed", "not_ready", "unavailable", "false"), "down"),
}
"""What a server's word means where ``status_map`` is not set."""
LOADING_WORDS: Final = frozenset({"loading", "starting", "initializing"})
_REASON: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@attrs.frozen(kw_only=True)
class Expectation:
    """What a healthy answer looks like.

    Attributes:
        codes: status codes; none = any 2xx.
        contains: text in the body.
        loading_contains: text in an unexpected answer by which the server says that it still loads.
        not_ready: status codes besides 503 by which it says that it is not ready.
        status: where the body holds a status, or None.
        words: that status, in lower case -> one of ours.
        facts: name -> where the body holds it.
    """

    codes: frozenset[int] = frozenset()
    contains: str = ""
    loading_contains: str = ""
    not_ready: frozenset[int] = frozenset()
    status: Pointer | None = None
    words: Mapping[str, str] = attrs.field(factory=lambda: USUAL_WORDS)
    facts: Mapping[str, Pointer] = attrs.field(factory=dict)


def judge(response: HttpResponse, expected: Expectation) -> Report:
    """Return the report about a server from its health answer.

    Raises:
        ProbeError: when the answer is not as expected.
    """
    expect_code(response, expected)
    if expected.contains and expected.contains.encode() not in response.body:
        raise ProbeError("unexpected_answer", f'The body does not contain "{expected.contains}".')
    if expected.status is None and not expected.facts:
        return Report.ok()
    document = parse_json(response.body)
    facts = facts_of(document, expected.facts)
    if expected.status is None:
        return Report.ok(facts=facts)
    values = _every(document, expected.status)
    if not values:
        raise ProbeError(
            "unexpected_answer", f'The body holds nothing at "{expected.status}" (status_pointer).'
        )
    worst = max((_one(value, expected.words) for value in values), key=lambda report: report.status.severity)
    return attrs.evolve(worst, facts=facts)


def expect_code(response: HttpResponse, expected: Expectation) -> None:
    """Want one of the expected status codes.

    Raises:
        ProbeError: ``loading``, ``unavailable``, ``unexpected_answer``, or as `statusd.expect_success`.
    """
    code = response.status
    if code in expected.codes or (not expected.codes and 200 <= code < 300):
        return
    if expected.loading_contains and expected.loading_contains.lower().encode() in response.body.lower():
        raise ProbeError("loading", f"The server answered {code}: it is still loading.")
    if code in expected.not_ready:
        raise ProbeError("unavailable", f"The server answered {code}: it is not ready.")
    expect_success(response)
    wanted = ", ".join(str(one) for one in sorted(expected.codes))
    raise ProbeError("unexpected_answer", f"The server answered {code}; expect_status wants {wanted}.")


def _one(value: Json, words: Mapping[str, str]) -> Report:
    word = _word(value)
    meaning = words.get(word.lower())
    if meaning is None:
        raise ProbeError(
            "unexpected_answer", f'The server calls its status "{word}", which status_map lacks.'
        )
    status = Status(meaning)
    if status is Status.OK:
        return Report.ok()
    if word.lower() in LOADING_WORDS:
        reason = "loading"
    else:
        reason = word.lower() if _REASON.fullmatch(word.lower()) else "unavailable"
    return Report(status=status, reason=reason, message=f'The server calls its status "{word}".')


def _word(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, list | dict):
        return "(a list)" if isinstance(value, list) else "(an object)"
    return printable(str(value))


def facts_of(document: Json, wanted: Mapping[str, Pointer]) -> dict[str, Json]:
    """Return the facts found in `document`: plain values, cut to a bounded size; what is not there is left out."""
    facts: dict[str, Json] = {}
    for name, pointer in wanted.items():
        found = [_plain(value) for value in pointer.find(document, MAX_FOUND)[:MAX_ITEMS]]
        if found:
            facts[name] = found if "*" in pointer.tokens else found[0]
    return facts


def _plain(value: Json) -> Json:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | dict):
        return _word(value)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return printable(str(value))
    return value


def model_ids(document: Json, pointer: Pointer) -> frozenset[str]:
    """Return the model ids at `pointer`: strings, objects with ``id``, ``name`` or ``model``, or lists of these.

    Raises:
        ProbeError: ``unexpected_answer`` when nothing like that is there; an empty list is a list. ``too_large`` when
            there are over `MAX_FOUND`.
    """
    found = _every(document, pointer)
    entries = [entry for value in found for entry in _entries(value)]
    if len(entries) > MAX_FOUND:
        raise _too_many(pointer)
    ids = {name for name in map(_id, entries) if name}
    if len(entries) > 0 and not ids:
        raise ProbeError(
            "unexpected_answer", f'The answer holds no model ids at "{pointer}" (models_pointer).'
        )
    if not found and not _is_empty_list(document, pointer):
        raise ProbeError("unexpected_answer", f'The answer holds nothing at "{pointer}" (models_pointer).')
    return frozenset(ids)


def _every(document: Json, pointer: Pointer) -> list[Json]:
    """Return all that `pointer` finds.

    Raises:
        ProbeError: ``too_large`` when that, or what leads there, is over `MAX_FOUND`.
    """
    found: list[Json] = [document]
    for found in pointer.steps(document, MAX_FOUND + 1):
        if len(found) > MAX_FOUND:
            raise _too_many(pointer)
    return found


def _too_many(pointer: Pointer) -> ProbeError:
    return ProbeError("too_large", f'The answer holds over {MAX_FOUND} values at "{pointer}".')


def _entries(value: Json) -> list[Json]:
    # Servers written in Go send null for a list that was never filled.
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_empty_list(document: Json, pointer: Pointer) -> bool:
    """Whether the pointer found nothing only because a ``*`` met an empty list or object, or null."""
    if "*" not in pointer.tokens:
        return False
    above = Pointer(pointer.tokens[: pointer.tokens.index("*")]).find(document)
    return any(value is None or value in ([], {}) for value in above)


def _id(entry: Json) -> str:
    if isinstance(entry, dict):
        named = (entry.get(key) for key in ("id", "name", "model"))
        return next((name for name in named if isinstance(name, str) and name), "")
    return entry if isinstance(entry, str) else ""
