"""What a probe returned, held against the contract: a copy within limits, or a ReportError that names the fault."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from statusd.errors import ReportError
from statusd.model.report import Json, Payload, Report
from statusd.model.status import Status

MAX_REPORTS: Final = 2000
"""Reports a probe may return."""
MAX_FACTS: Final = 256 * 1024
"""Bytes, roughly, of all facts and measurements a probe may return."""
MAX_DEPTH: Final = 16
"""Levels of lists and objects in facts."""
MAX_DIGITS: Final = 4300
"""Digits of an integer; Python writes and reads no longer ones (``sys.set_int_max_str_digits``)."""
MAX_MESSAGE: Final = 1000
"""Characters of a message; a longer one is cut."""
MAX_TEXT: Final = 4 << 20
"""Characters, of all messages that are to be cut."""
MAX_WORD: Final = 64
"""Characters of a reason or label."""
MAX_PATH: Final = 512
"""Characters of a part's path."""
MAX_SEGMENTS: Final = 8
"""Segments of a part's path."""
MAX_PAYLOAD: Final = 16 << 20
"""Bytes of a payload, and of a document made of it."""

_TOO_LARGE: Final = 10**MAX_DIGITS
_REASON: Final = re.compile(r"[a-z][a-z0-9_]*")
_SEGMENT: Final = re.compile(r"(?!\.{1,2}$)(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def checked_reports(
    value: object, *, models: Iterable[str] = (), redact: Callable[[str], str] = str
) -> tuple[Report, ...]:
    """Return what a probe returned as a tuple of reports, each a copy that the plugin cannot change any more.

    The copy is bounded by the limits in this module, so a cycle or 100 MB of facts costs no more than they allow.
    It holds no subclasses: what a plugin's ``__eq__`` or ``__len__`` does must not reach the tree.

    Args:
        value: what the probe returned.
        models: the ids that the source may report about.
        redact: masks the secrets in a message that is about to be cut: of half a secret nobody knows what it is.

    Raises:
        ReportError: with what is wrong and where.
    """
    reports = _items(value)
    budget = _Budget(MAX_FACTS)
    allowed = frozenset(models)
    result = tuple(_checked(report, allowed, budget, redact) for report in reports)
    _expect_distinct(result)
    return result


def _items(value: object) -> Sequence[object]:
    if isinstance(value, Report):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ReportError(f"The probe returned {_kind(value)}, not a Report or a list of them.")
    kind: Any = list if isinstance(value, list) else tuple
    length: int = kind.__len__(value)
    if length > MAX_REPORTS:
        raise ReportError(
            f"The probe returned {length} reports; the limit is {MAX_REPORTS}.", "report_too_large"
        )
    items: Sequence[object] = kind.__getitem__(value, slice(None))
    return items


def _checked(report: object, models: frozenset[str], budget: _Budget, redact: Callable[[str], str]) -> Report:
    if not isinstance(report, Report):
        raise ReportError(f"The list of reports holds {_kind(report)}.")
    status = report.status
    if type(status) is not Status:
        raise ReportError(f"A report's status is {_kind(status)}, not a statusd.Status.")
    where = _path(report.path)
    model = _model(report.model, models)
    about = model if model is not None else where or "the source itself"
    payload = _payload(report.payload)
    if model is not None and where:
        raise ReportError("A report names both a model and a part; it must be about one of them.")
    if payload is not None and (where or model is not None):
        raise ReportError("Only the report about the source itself may carry a payload.")
    return Report(
        status=status,
        reason=_word(report.reason, "reason", about),
        message=_message(report.message, budget, redact),
        path=where,
        model=model,
        label=_word(report.label, "label", about) if report.label else "",
        facts=budget.copy_object(report.facts, "facts"),
        measurements=_measurements(report.measurements, budget),
        payload=payload,
    )


def plain(value: str) -> str:
    """Return `value` as a str and no subclass of it, without calling what a subclass defines."""
    return str.__str__(value)


def plain_bytes(value: bytes, limit: int) -> bytes | None:
    """Return `value` as bytes and no subclass, without calling what a subclass defines; None when over `limit`."""
    view = memoryview(value)
    if view.nbytes > limit:
        return None
    return value if type(value) is bytes else view.tobytes()


def _model(value: object, models: frozenset[str]) -> str | None:
    if value is None:
        return None
    model = plain(value) if isinstance(value, str) else None
    if model not in models:
        raise ReportError(f"A report names the model {_shown(value)}, which is none of context.models.")
    return model


def _word(value: object, what: str, about: str) -> str:
    word = plain(value) if isinstance(value, str) else ""
    if len(word) > MAX_WORD or not _REASON.fullmatch(word):
        raise ReportError(
            f"The {what} {_shown(value)} of the report about {about} is not a lower_snake_case word of at most "
            f"{MAX_WORD} characters."
        )
    return word


def _shown(value: object) -> str:
    """Return what stands where a text should, short and on one line, for the author of the plugin."""
    return ascii(plain(value)[:MAX_WORD]) if isinstance(value, str) else _kind(value)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ReportError(f"A report's {what} is {_kind(value)}, not a string.")
    # A lone surrogate cannot be encoded, and would fail every document that shows it.
    return _SURROGATE.sub("\ufffd", plain(value)[:MAX_FACTS])


def _message(value: object, budget: _Budget, redact: Callable[[str], str]) -> str:
    message = _text(value, "message")
    if len(message) <= MAX_MESSAGE:
        return message
    budget.spend_text(len(message))
    return redact(message)[:MAX_MESSAGE]


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise ReportError(f"A report's path is {_kind(value)}, not a string.")
    value = plain(value)
    if not value:
        return ""
    segments = value.split("/") if len(value) <= MAX_PATH else []
    if not 1 <= len(segments) <= MAX_SEGMENTS or not all(_SEGMENT.fullmatch(part) for part in segments):
        raise ReportError(
            f"A report's path {_shown(value)} is not 1 to {MAX_SEGMENTS} percent-encoded segments; build it with "
            "statusd.segment()."
        )
    return value


def _measurements(value: object, budget: _Budget) -> dict[str, float]:
    copied = budget.copy_object(value, "measurements")
    for name, number in copied.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ReportError(f"The measurement {name[:MAX_WORD]!r} is {_kind(number)}, not a number.")
    return copied


def _payload(value: object) -> Payload | None:
    if value is None:
        return None
    body: object = value.body if isinstance(value, Payload) else None
    if not isinstance(value, Payload) or not isinstance(body, bytes):
        raise ReportError("A report's payload is not a statusd.Payload of bytes.")
    given: object = value.content_type
    content_type = plain(given) if isinstance(given, str) else ""
    if not re.fullmatch(r"[ -~]{1,128}", content_type):
        raise ReportError("A payload's content type is not a header value of at most 128 characters.")
    body = plain_bytes(body, MAX_PAYLOAD)
    if body is None:
        raise ReportError(f"A payload is over {MAX_PAYLOAD} bytes.", "report_too_large")
    return Payload(body, content_type)


def _expect_distinct(reports: tuple[Report, ...]) -> None:
    seen: set[tuple[str, str | None]] = set()
    for report in reports:
        place = (report.path, report.model)
        if place in seen:
            name = report.model if report.model is not None else report.path or "the source itself"
            raise ReportError(f"Two reports are about {name}.")
        seen.add(place)


@attrs.define
class _Budget:
    """Copies JSON values while it has bytes left.

    Attributes:
        left: bytes.
        text: characters of messages that are to be cut; to look through a thousand would hold up everybody else.
    """

    left: int
    text: int = MAX_TEXT

    def spend_text(self, amount: int) -> None:
        self.text -= amount
        if self.text < 0:
            raise ReportError(
                f"The messages of over {MAX_MESSAGE} characters have over {MAX_TEXT} together.",
                "report_too_large",
            )

    def copy_object(self, value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ReportError(f"A report's {where} are {_kind(value)}, not an object.")
        return self._object(value, where, 0)

    def _copy(self, value: object, where: str, depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise ReportError(f"The {where} are nested deeper than {MAX_DEPTH} levels, or in a cycle.")
        self._spend(8, where)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            number = int.__int__(value)
            self._spend(number.bit_length() // 3, where)
            if abs(number) >= _TOO_LARGE:
                raise ReportError(f"The {where} hold an integer of more than {MAX_DIGITS} digits.")
            return number
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ReportError(f"The {where} hold a number that JSON has no form for: {value}.")
            return float.__float__(value)
        if isinstance(value, str):
            text = plain(value)
            self._spend(len(text), where)
            return _SURROGATE.sub("\ufffd", text)
        if isinstance(value, Mapping):
            return self._object(value, where, depth)
        if isinstance(value, list | tuple):
            return [self._copy(item, where, depth + 1) for item in value]
        raise ReportError(f"The {where} hold {_kind(value)}, which is not a JSON value.")

    def _object(self, value: Mapping[Any, object], where: str, depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise ReportError(f"The {where} have a key that is {_kind(key)}, not a string.")
            name = plain(key)
            self._spend(len(name), where)
            copied[_SURROGATE.sub("\ufffd", name)] = self._copy(item, where, depth + 1)
        return copied

    def _spend(self, amount: int, where: str) -> None:
        self.left -= amount
        if self.left < 0:
            raise ReportError(f"The {where} are over {MAX_FACTS} bytes.", "report_too_large")


def _kind(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"of type {name[:MAX_WORD]}"
