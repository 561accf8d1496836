"""The exceptions statusd raises; every message says what, where and the remedy."""

from __future__ import annotations


class StatusdError(Exception):
    """Base of all errors that statusd raises on purpose."""


class StartError(StatusdError):
    """Raised when the daemon cannot start although the configuration is well-formed: a port in use, say."""


class OptionError(StatusdError, ValueError):
    """Raised by the constructor of a source, view or sink when its options do not go together.

    It is reported as a mistake in the configuration; any other exception there is the plugin's own fault.

    Args:
        option: the key to blame.
        message: what is wrong and the remedy, to be read after the key.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option
        self.message = message


class ProbeError(StatusdError):
    """Raised by probe clients and by plugins when a probe could not be completed.

    The supervisor turns it into a report about the source, so a plugin may simply let it pass.

    Args:
        reason: a lower_snake_case word for programs, such as ``refused`` (see ``statusd.REASONS``).
        message: one sentence for people, without secrets and without raw exception text.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ReportError(StatusdError):
    """Raised when what a probe returned is not a report within the documented limits.

    Args:
        message: what is wrong and where in the report.
        reason: ``bad_report`` or ``report_too_large``.
    """

    def __init__(self, message: str, reason: str = "bad_report") -> None:
        super().__init__(message)
        self.reason = reason


class PluginError(StatusdError):
    """Raised when a plugin could not be found, imported or registered.

    Args:
        reason: ``plugin_missing``, ``plugin_disabled`` or ``plugin_failed``.
        message: one sentence for people with the remedy.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def only(error: BaseException) -> BaseException:
    """Return the one exception that groups of nurseries wrap; `error` itself when there are none, or several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def place_of(error: BaseException) -> str:
    """Return the file and line that raised `error`; ``""`` for one that was never raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
