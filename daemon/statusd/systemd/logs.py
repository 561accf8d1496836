"""Where log records go and how they look: chosen once, when a command begins."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, TextIO, TypeAlias

from statusd.events import ATTRIBUTE, RECORDS_DROPPED, event
from statusd.systemd.journal import SOCKET, JournalSocket, as_entry, is_journal, is_usable
from statusd.systemd.jsonlines import as_json, as_json_for_journal
from statusd.systemd.lines import for_file, for_journal, for_terminal
from statusd.systemd.outlet import Outlet, Writer
from statusd.systemd.records import NOTICE, Record, record_of
from statusd.systemd.stream import Direct, StreamWriter, descriptor_of

FLUSH: Final = 1.0
"""Seconds that the end of the process waits at most for records that are not written yet."""
LogFormat: TypeAlias = Literal["auto", "text", "json"]
Format: TypeAlias = Callable[[Record], bytes]


def configure_logging(
    environ: Mapping[str, str],
    stream: TextIO | None = None,
    *,
    redact: Callable[[str], str],
    level: int = logging.INFO,
    log_format: LogFormat = "auto",
    in_background: bool = False,
    journal: str = SOCKET,
) -> None:
    """Send all log records to one place and nowhere else: the journal, or, as lines, one stream.

    Where the stream is the journal's (systemd.exec(5), ``$JOURNAL_STREAM``) a record has no time and no level, since
    the journal has both: it goes by the native protocol, or as lines that begin with their priority (sd-daemon(3)).

    Args:
        environ: the environment.
        stream: where to write; standard error when None.
        redact: masks the secrets in a text; all that a record holds passes through it before anything else.
        level: records below it are dropped.
        log_format: ``auto`` speaks the native protocol where the stream is the journal's, and writes lines elsewhere;
            ``text`` and ``json`` write lines everywhere.
        in_background: whether a thread writes, and drops what does not fit into its queue; as a daemon wants it. It
            is needed for the native protocol.
        journal: the journal's socket.
    """
    stream = sys.stderr if stream is None else stream
    logging.addLevelName(NOTICE, "NOTICE")
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, RecordHandler):
            old.close()
            old.way.release()
    root.setLevel(level)
    if stream is None:  # Python sets sys.stderr to None when the process was started without the descriptor
        root.addHandler(logging.NullHandler())
        return
    descriptor = descriptor_of(stream)
    is_under = descriptor is not None and is_journal(environ, descriptor)
    if is_under and in_background and log_format == "auto" and is_usable(journal):
        root.addHandler(RecordHandler(as_entry, _outlet(JournalSocket(journal), as_entry), redact))
        return
    style = _style(log_format, stream, is_under=is_under)
    writer = StreamWriter(stream)
    root.addHandler(RecordHandler(style, _outlet(writer, style) if in_background else Direct(writer), redact))


def flush(seconds: float = FLUSH) -> bool:
    """Wait for the records that are not written yet, as before ``os._exit``; False when that takes longer.

    Args:
        seconds: how long to wait at most.
    """
    return all(handler.way.flush(seconds) for handler in _handlers())


def dropped() -> int:
    """Return how many log records nobody will ever read, because they were not taken fast enough or at all."""
    return sum(handler.way.dropped for handler in _handlers())


class Way(Protocol):
    """How formatted records leave the process."""

    @property
    def dropped(self) -> int:
        """How many were lost."""
        ...

    def put(self, data: bytes) -> None:
        """Take one; never raises."""
        ...

    def flush(self, seconds: float) -> bool:
        """Wait until all are written; False when that takes longer."""
        ...

    def close(self, seconds: float) -> None:
        """End, within so many seconds; late ones may still come."""
        ...

    def release(self) -> None:
        """Let go of what was opened for it."""
        ...


class RecordHandler(logging.Handler):
    """Formats records in the thread that logs them, so that no secret waits anywhere, and hands them on.

    Args:
        style: turns a record into bytes.
        way: takes these.
        redact: masks the secrets in a text.
    """

    def __init__(self, style: Format, way: Way, redact: Callable[[str], str]) -> None:
        super().__init__()
        self.way = way
        self._style = style
        self._redact = redact

    def createLock(self) -> None:  # noqa: N802  # the name in the base class
        """Have no lock: a thread that the interpreter's end stopped inside it would stop all others."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit `record` unless a filter has it left out."""
        found: Any = self.filter(record)  # since Python 3.12 a filter may give another record
        if found:
            self.emit(found if isinstance(found, logging.LogRecord) else record)
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand `record` on; never raises and never waits for a reader."""
        with contextlib.suppress(
            Exception
        ):  # logging must not fail whoever logs, not even for want of memory
            self.way.put(self._style(record_of(record, self._redact)))

    def close(self) -> None:
        """Wait a little for what is not written yet; `logging` itself calls this at exit."""
        self.way.close(FLUSH)
        super().close()


def _handlers() -> list[RecordHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, RecordHandler)]


def _outlet(writer: Writer, style: Format) -> Outlet:
    return Outlet(writer, lambda count: style(_dropped_record(count)))


def _dropped_record(count: int) -> Record:
    told = event(RECORDS_DROPPED, dropped=str(count))[ATTRIBUTE]
    return Record(
        level=logging.WARNING,
        message=f"{count} log records were dropped: more came than could be written",
        logger=__name__,
        kind=told.kind,
        fields=told.fields,
    )


def _style(log_format: LogFormat, stream: TextIO, *, is_under: bool) -> Format:
    if log_format == "json":
        return as_json_for_journal if is_under else as_json
    if is_under:
        return for_journal
    return for_terminal if stream.isatty() else for_file
