"""What a log record says, masked and of bounded size, before it has any format."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from statusd.events import ATTRIBUTE, Event, Kind

NOTICE: Final = 25
"""The level of what is normal but significant, as syslog(3) has it and logging does not."""

LINE_LIMIT: Final = 8_000
"""Characters of a line at most; journald breaks lines over 48 KiB, and the rest would lose its prefix."""

TRACEBACK_LIMIT: Final = 64_000
"""Characters of a traceback at most; the middle is cut out."""

_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (NOTICE, 5),
    (logging.INFO, 6),
)
_NO_FIELDS: Final[Mapping[str, str]] = {}
_TRACEBACKS: Final = logging.Formatter()


@attrs.frozen(kw_only=True)
class Record:
    """One log record; its secrets are masked, its control characters are still in it.

    Attributes:
        level: as in logging.
        message: the sentence; slightly over `LINE_LIMIT` characters where a format has to cut it.
        trace: the traceback, and the stack where one was asked for, or ``""``.
        logger: the logger's name.
        created: seconds since 1970.
        file, line, function: who wrote it; ``""`` and 0 for what the log says itself.
        errno: of the error it tells, or None (errno(3)).
        kind: what happened, for programs, or None.
        fields: the event's, of bounded size.
    """

    level: int
    message: str
    trace: str = ""
    logger: str = "statusd.systemd"
    created: float = attrs.field(factory=time.time)
    file: str = ""
    line: int = 0
    function: str = ""
    errno: int | None = None
    kind: Kind | None = None
    fields: Mapping[str, str] = _NO_FIELDS

    @property
    def level_name(self) -> str:
        """The level's name, such as ``WARNING``."""
        return logging.getLevelName(self.level)


def record_of(source: logging.LogRecord, redact: Callable[[str], str]) -> Record:
    """Return what `source` says, with its secrets masked; never raises."""
    try:
        message = redact(source.getMessage())[: LINE_LIMIT + 1]
        trace = _middle_cut(redact(_traceback(source)))
        event = getattr(source, ATTRIBUTE, None)
        kind, fields = (
            (event.kind, _masked(event.fields, redact)) if isinstance(event, Event) else (None, _NO_FIELDS)
        )
    except Exception:  # noqa: BLE001  # contains arguments of a plugin that cannot be formatted; shows none of them
        message = f"A log record could not be formatted; {source.module}, line {source.lineno}, wrote it."
        trace, kind, fields = "", None, _NO_FIELDS
    return Record(
        level=source.levelno,
        message=message,
        trace=trace,
        logger=source.name,
        created=source.created,
        file=source.pathname,
        line=source.lineno,
        function=source.funcName or "",
        errno=_errno(source),
        kind=kind,
        fields=fields,
    )


def priority(level: int) -> int:
    """Return the syslog(3) priority for a logging `level`: by range, so that levels in between have one too."""
    return next((number for floor, number in _PRIORITIES if level >= floor), 7)


def cut(line: str) -> str:
    """Return `line` with `LINE_LIMIT` characters at most, and a mark where some are missing."""
    return line if len(line) <= LINE_LIMIT else f"{line[:LINE_LIMIT]} [cut]"


def _masked(fields: Mapping[str, str], redact: Callable[[str], str]) -> Mapping[str, str]:
    return {name: redact(value)[: LINE_LIMIT + 1] for name, value in fields.items()}


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info is None and record.stack_info is None:
        return ""
    parts = [record.stack_info or ""]
    if record.exc_info and record.exc_info[1] is not None:
        parts.insert(0, _TRACEBACKS.formatException(record.exc_info))
    return "\n".join(part for part in parts if part)


def _errno(record: logging.LogRecord) -> int | None:
    error = record.exc_info[1] if record.exc_info else None
    return error.errno if isinstance(error, OSError) and isinstance(error.errno, int) else None


def _middle_cut(text: str) -> str:
    half = TRACEBACK_LIMIT // 2
    return text if len(text) <= TRACEBACK_LIMIT else f"{text[:half]}\n[cut]\n{text[-half:]}"
