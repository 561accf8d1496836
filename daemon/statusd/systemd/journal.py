"""Writes log lines to standard error: ``<N>`` priorities under the journal, readable lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

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


def configure_logging(
    environ: Mapping[str, str],
    stream: TextIO | None = None,
    *,
    redact: Callable[[str], str],
    level: int = logging.INFO,
) -> None:
    """Send all log records, as lines, to one stream and nowhere else.

    Under the journal (systemd.exec(5), ``$JOURNAL_STREAM``) each line begins with its priority (sd-daemon(3)) and
    has no time, since the journal knows it; on a terminal with the local time; elsewhere with the time in UTC.

    Args:
        environ: the environment.
        stream: where to write; standard error when None.
        redact: masks the secrets in a text; messages and tracebacks pass through it before anything else.
        level: records below it are dropped.
    """
    stream = sys.stderr if stream is None else stream
    logging.addLevelName(NOTICE, "NOTICE")
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    # Python sets sys.stderr to None when the process was started without the descriptor.
    root.addHandler(_LineWriter(stream, _head(environ, stream), redact) if stream else logging.NullHandler())
    root.setLevel(level)


def log_uncaught_exceptions() -> None:
    """Log what nobody caught, in any thread or finalizer, so that these tracebacks lose their secrets too."""
    logger = logging.getLogger("statusd")

    def on_exception(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        logger.critical("statusd failed; this is a fault in statusd.", exc_info=(kind, error, traceback))

    def on_thread_exception(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            logger.error("A thread failed.", exc_info=args.exc_value)

    def on_unraisable(args: UnraisableHookArgs) -> None:
        logger.error("An error was ignored.", exc_info=args.exc_value)

    sys.excepthook = on_exception
    threading.excepthook = on_thread_exception
    sys.unraisablehook = on_unraisable


def priority(level: int) -> int:
    """Return the syslog(3) priority for a logging `level`: by range, so that levels in between have one too."""
    return next((number for floor, number in _PRIORITIES if level >= floor), 7)


def is_journal(environ: Mapping[str, str], descriptor: int) -> bool:
    """Whether `descriptor` is the stream to the journal that ``$JOURNAL_STREAM`` names as ``device:inode``."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def escape(text: str, *, keep_newlines: bool = False) -> str:
    r"""Return `text` with everything that is not shown written as ``\x1b``: no forged lines, no terminal codes.

    Args:
        text: what may come from a hostile upstream.
        keep_newlines: whether line feeds stay what they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or (keep_newlines and char == "\n") or unicodedata.category(char) == "Zs"
        else char.encode("unicode_escape").decode()
        for char in text
    )


def _head(environ: Mapping[str, str], stream: TextIO) -> Callable[[logging.LogRecord], str]:
    descriptor = _descriptor(stream)
    if descriptor is not None and is_journal(environ, descriptor):
        return lambda record: f"<{priority(record.levelno)}>"
    if stream.isatty():
        return lambda record: f"{datetime.fromtimestamp(record.created):%H:%M:%S} {record.levelname:<8} "  # noqa: DTZ006  # people read the local time
    return lambda record: (
        f"{datetime.fromtimestamp(record.created, UTC).isoformat(timespec='milliseconds')} {record.levelname} "
    )


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


class _LineWriter(logging.Handler):
    """Writes each record in one system call, unbuffered; what the stream does not take is dropped.

    Nothing is left in a buffer, which would turn a broken standard error into exit code 120 at the end.
    """

    def __init__(
        self, stream: TextIO, head: Callable[[logging.LogRecord], str], redact: Callable[[str], str]
    ) -> None:
        super().__init__()
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._head = head
        self._redact = redact
        self._is_torn = False

    def emit(self, record: logging.LogRecord) -> None:
        head = self._head(record)
        # Under the journal every line is an entry of its own, and wants its own priority.
        indent = (head if head.startswith("<") else "") + "    "
        first, *rest = self._lines(record)
        text = "\n".join([head + first, *(indent + line for line in rest)]) + "\n"
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
            self._write(text)

    def _lines(self, record: logging.LogRecord) -> list[str]:
        try:
            message = self._redact(record.getMessage())
            trace = self._redact(_traceback(record))
        except Exception:  # noqa: BLE001  # contains arguments of a plugin that cannot be formatted; shows none of them
            return [f"A log record could not be formatted; {record.module}, line {record.lineno}, wrote it."]
        lines = [escape(message[: LINE_LIMIT + 1])]
        if trace:
            # Only these line feeds stay; what an upstream put into an exception's text stands indented among them.
            lines += escape(_middle_cut(trace), keep_newlines=True).strip("\n").split("\n")
        return [_cut(line) for line in lines]

    def _write(self, text: str) -> None:
        if self._descriptor is None:
            self._stream.write(text)
            self._stream.flush()
            return
        # A descriptor that does not block may have taken half of the record before: begin on a line of our own.
        data = memoryview((("\n" if self._is_torn else "") + text).encode(errors="backslashreplace"))
        while data:
            written = os.write(self._descriptor, data)
            data = data[written:]
            self._is_torn = bool(data)


def _traceback(record: logging.LogRecord) -> str:
    parts = [record.stack_info or ""]
    if record.exc_info and record.exc_info[1] is not None:
        parts.insert(0, logging.Formatter().formatException(record.exc_info))
    return "\n".join(part for part in parts if part)


def _middle_cut(text: str) -> str:
    half = TRACEBACK_LIMIT // 2
    return text if len(text) <= TRACEBACK_LIMIT else f"{text[:half]}\n[cut]\n{text[-half:]}"


def _cut(line: str) -> str:
    return line if len(line) <= LINE_LIMIT else f"{line[:LINE_LIMIT]} [cut]"
