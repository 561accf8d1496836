"""Exceptions that nobody caught, and warnings, as log records."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


def log_uncaught_exceptions() -> None:
    """Log what nobody caught, in any thread or finalizer, so that these tracebacks lose their secrets too.

    Warnings are logged as well: Python would write them to standard error itself, in no format, unmasked, and however
    long that takes.
    """
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

    show = warnings.showwarning

    def on_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is not None:  # somebody wants it elsewhere
            show(message, category, filename, lineno, file, line)
            return
        logger.warning("%s, line %d: %s: %s", filename, lineno, category.__name__, message)

    sys.excepthook = on_exception
    threading.excepthook = on_thread_exception
    sys.unraisablehook = on_unraisable
    warnings.showwarning = on_warning
