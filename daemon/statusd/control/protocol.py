"""What goes over the control socket: one JSON object in a line each way, then the end of the connection."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from statusd.errors import StatusdError

VERSION: Final = 1
"""Of the form of both lines; another one is refused in words, by either side."""
FILE: Final = "control.sock"
"""Name of the socket in ``$RUNTIME_DIRECTORY``."""
LONGEST_REQUEST: Final = 64 * 1024
LONGEST_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of a line, its end included; answers are longer, for they list what there is."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for.

    Attributes:
        version: `VERSION`.
        command: a lower_snake_case word.
        arguments: of the command.
    """

    version: int
    command: str
    arguments: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it.

    Attributes:
        version: `VERSION`.
        ok: whether the command was carried out.
        result: what it has to say, as JSON.
        error: a lower_snake_case word where it was not.
        message: a sentence for people where it was not.
    """

    version: int
    ok: bool
    result: Any = None
    error: str = ""
    message: str = ""


class _Versioned(msgspec.Struct):
    version: int


class RefusedError(StatusdError):
    """Raised by a command that is not carried out.

    Args:
        error: a lower_snake_case word.
        message: one sentence for people: what, where, the remedy.
    """

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


def line(what: Request | Answer) -> bytes:
    """Return `what` as it goes over the socket."""
    return msgspec.json.encode(what) + b"\n"


def request(text: bytes) -> Request:
    """Read a request.

    Raises:
        RefusedError: it is none, or one of another version.
    """
    _same_version(text, "bad_request", "The request")
    try:
        return msgspec.json.decode(text, type=Request)
    except msgspec.ValidationError as error:
        raise RefusedError("bad_request", f"The request is not as the protocol wants it: {error}.") from None
    except (ValueError, RecursionError):  # in what was passed over in search of the version
        raise RefusedError("bad_request", "The request is no JSON that can be read.") from None


def answer(text: bytes) -> Answer:
    """Read an answer.

    Raises:
        RefusedError: it is none, or one of another version.
    """
    _same_version(text, "bad_answer", "The answer")
    try:
        return msgspec.json.decode(text, type=Answer)
    except (ValueError, RecursionError):
        raise RefusedError("bad_answer", "The answer is not as the protocol wants it.") from None


def _same_version(text: bytes, error: str, what: str) -> None:
    """Look at the version alone, for all else may differ with it."""
    try:
        version = msgspec.json.decode(text, type=_Versioned).version
    except (ValueError, RecursionError):  # not UTF-8, no JSON, no object, no version in it, nested too deep
        raise RefusedError(error, f"{what} is no JSON object with a version, in one line.") from None
    if version != VERSION:
        raise RefusedError(
            "other_version",
            f"{what} is of version {version} of the protocol, and this side speaks {VERSION}: the command and the "
            "daemon are of different releases of statusd. Use the command that is installed with the daemon, or "
            "restart the daemon after an upgrade.",
        )
