"""Logging of the commands that are no daemon: what plugins have to say, on standard error."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from statusd.redaction import Redactor
from statusd.systemd.logs import configure_logging
from statusd.systemd.uncaught import log_uncaught_exceptions


def quiet_logging(environ: Mapping[str, str]) -> Redactor:
    """Let what plugins log and their tracebacks through; return what masks the secrets in them."""
    redactor = Redactor()
    configure_logging(environ, redact=redactor, level=logging.WARNING)
    log_uncaught_exceptions()
    for name in ("statusd.building", "statusd.parts", "statusd.plugin.loading"):
        # Without a traceback, it is what the command prints itself.
        logging.getLogger(name).addFilter(lambda record: record.exc_info is not None)
    return redactor
