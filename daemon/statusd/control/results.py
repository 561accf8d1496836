"""What the commands about drains answer, as the one who asked wants it: an answer of any other form is told as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from statusd.control.asking import ControlError
from statusd.model.drains import LATEST

T = TypeVar("T")
Time = Annotated[float, Meta(ge=0, le=LATEST)]


class _Drain(msgspec.Struct):
    path: str
    reason: str
    since: Time
    until: Time | None


class _Listed(_Drain):
    exists: bool


class _List(msgspec.Struct):
    drains: list[_Listed]


class _Standing(msgspec.Struct):
    status: str
    reason: str


class _Serving(_Standing):
    source: str | None
    left: list[str]


class _Moved(msgspec.Struct):
    path: str
    before: _Serving
    after: _Serving


class _Outcome(msgspec.Struct):
    drain: _Drain
    replaced: _Drain | None
    node: _Standing | None
    models: list[_Moved]
    not_kept: str


def as_outcome(result: Any) -> Mapping[str, Any]:
    """Return what ``drain`` or ``undrain`` answered.

    Raises:
        ControlError: it is something else.
    """
    return _expected(result, _Outcome)


def as_list(result: Any) -> list[Mapping[str, Any]]:
    """Return what ``drains`` answered.

    Raises:
        ControlError: it is something else.
    """
    found: list[Mapping[str, Any]] = _expected(result, _List)["drains"]
    return found


def _expected(result: Any, kind: type[T]) -> Mapping[str, Any]:
    """Return `result` as it is: a newer daemon may say more."""
    try:
        msgspec.convert(result, kind)
    except msgspec.ValidationError:
        raise ControlError(
            "bad_answer",
            "The answer is not as the protocol wants it: whatever listens there is not the statusd that is installed "
            "with this command.",
        ) from None
    found: Mapping[str, Any] = result
    return found
