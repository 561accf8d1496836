"""The certificate that TLS begins with: loaded at the start, and anew when its files change."""

from __future__ import annotations

import logging
import os
import ssl
import stat
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import attrs
import trio

from statusd.errors import StartError
from statusd.events import CERTIFICATE as ABOUT_CERTIFICATE
from statusd.events import event
from statusd.model.report import Json, Report
from statusd.web.bodies import timestamp
from statusd.web.edge.x509 import About, about

log = logging.getLogger("statusd.web")

LOOK: Final = 10.0
"""Seconds between two looks at the files."""
TRIES: Final = 3
"""Looks in a row that find the pair unusable before it is said: the two files are replaced one after the other."""
SOON: Final = 7 * 86_400.0
"""Seconds before it expires at which that is said, for a certificate that is valid for long."""
SHARE: Final = 0.1
"""Share of its life that is left when it is said of one that is valid for less."""
NAMES: Final = 20
"""Names that are shown."""
PROTOCOLS: Final = ("h2", "http/1.1")
"""What is offered by ALPN (RFC 7301), best first."""
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: what has forward secrecy and is authenticated, as HTTP/2 wants it (RFC 9113, section 9.2.2)."""

BOTH: Final = "http.tls"
CERTIFICATE: Final = "http.tls.certificate"
OUT_OF_TIME: Final = frozenset({"certificate_expired", "certificate_not_yet_valid"})
"""Reasons for which clients refuse it."""
KEY: Final = "http.tls.key"
CREDENTIALS: Final = "/run/credentials/"
"""Where systemd alone puts files (systemd.exec(5))."""
_PEM_FORM: Final = 'name a file with a line that begins with "-----BEGIN"'
_LARGEST: Final = 1 << 20
_ANOTHERS: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
_WEAK: Final = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})

_File: TypeAlias = tuple[int, int, int, int] | None
Say: TypeAlias = Callable[[Report], Awaitable[None]]


class CertificateError(StartError):
    """Raised when a certificate or its key cannot be used.

    Args:
        path: the key of the configuration to blame.
        message: what is wrong and the remedy, to be read after the key; nothing of what is in the files.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@attrs.frozen
class _Pair:
    """A certificate with its key, loaded."""

    context: ssl.SSLContext
    about: About | None
    files: tuple[_File, _File]


@attrs.define(eq=False)
class Certificates:
    """A certificate and its key, loaded from their files, and loaded anew when these change.

    Attributes:
        certificate: path of the PEM file with the certificate and what leads to its authority.
        key: path of the PEM file with the private key.
        now: returns the wall clock, in seconds since 1970.

    Raises:
        CertificateError: when they cannot be used.
    """

    certificate: str
    key: str
    now: Callable[[], float] = time.time
    _pair: _Pair = attrs.field(init=False)
    _problem: str = attrs.field(default="", init=False)
    _failures: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._pair = _load(self.certificate, self.key)

    @property
    def context(self) -> ssl.SSLContext:
        """What a handshake that begins now begins with; connections that are open keep what they began with."""
        return self._pair.context

    @property
    def is_newest(self) -> bool:
        """Whether the files are still those that were loaded."""
        return _files(self.certificate, self.key) == self._pair.files

    def report(self) -> Report:
        """Return how the certificate is doing."""
        about, now = self._pair.about, self.now()
        facts: dict[str, Json] = {}
        if about is not None:
            facts["names"] = list(about.names[:NAMES])
            facts["not_after"] = timestamp(about.not_after)
        say = partial(Report.degraded, facts=facts)
        until = timestamp(about.not_after) if about is not None else ""
        if about is not None and now >= about.not_after:
            newer = f" What its files hold now cannot be used: {self._problem}." if self._problem else ""
            return say("certificate_expired", f"It expired at {until}: renew it, or set the clock.{newer}")
        if self._problem:
            meanwhile = f"stays in use, until {until} at most" if until else "stays in use"
            return say("certificate_unusable", f"{self._problem}. The one loaded before {meanwhile}.")
        if about is None:
            return Report.ok(facts=facts)
        if now < about.not_before:
            since = timestamp(about.not_before)
            return say("certificate_not_yet_valid", f"It is valid from {since} on: set the clock, or wait.")
        if about.not_after - now < min(SOON, SHARE * (about.not_after - about.not_before)):
            return say("certificate_expires_soon", f"It expires at {until}: renew it.")
        return Report.ok(facts=facts)

    async def watch(
        self, say: Say, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Look at the files for ever.

        Args:
            say: takes the report whenever it is another one, at first at once.
            task_status: started once the first report is said.
        """
        said: Report | None = None
        limiter = trio.CapacityLimiter(1)  # its own: files on a network that hangs must not stop other work
        while True:
            report = self.report()
            if report != said:
                await say(report)
                if said is not None and said.status is report.status and said.reason != report.reason:
                    # No transition tells it: that it expires soon was said a week before it does.
                    extra = event(
                        ABOUT_CERTIFICATE, path="daemon/tls", after=report.status, reason=report.reason
                    )
                    text = "daemon/tls: still %s (%s): %s"
                    log.warning(text, report.status, report.reason, report.message, extra=extra)
                said = report
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(LOOK)
            await self._look(limiter)

    async def _look(self, limiter: trio.CapacityLimiter) -> None:
        """Load what has changed; what cannot be loaded is tried again, changed or not."""
        run = partial(trio.to_thread.run_sync, abandon_on_cancel=True, limiter=limiter)
        if await run(_files, self.certificate, self.key) == self._pair.files:
            self._problem, self._failures = "", 0
            return
        try:
            self._pair = await run(_load, self.certificate, self.key)
        except CertificateError as error:
            self._failures += 1
            if self._failures >= TRIES:
                self._problem = str(error)
        else:
            self._problem, self._failures = "", 0
            found = self._pair.about
            until = f", valid until {timestamp(found.not_after)}" if found is not None else ""
            extra = event(ABOUT_CERTIFICATE, path="daemon/tls", file=str(self.certificate))
            log.info("The certificate was loaded anew from %s%s.", self.certificate, until, extra=extra)


def _files(*paths: str) -> tuple[_File, _File]:
    """Return what tells whether the files are still the same, symbolic links followed."""
    first, second = map(_file, paths)
    return first, second


def _file(path: str) -> _File:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _load(certificate: str, key: str) -> _Pair:
    files = _files(certificate, key)  # first: a change while they are read is then seen at the next look
    pem = _read(CERTIFICATE, certificate)
    if b"CERTIFICATE-----" not in pem:
        raise CertificateError(CERTIFICATE, f"{certificate} holds no certificate in PEM form; {_PEM_FORM}")
    if b"PRIVATE KEY-----" not in _read(KEY, key):
        raise CertificateError(KEY, f"{key} holds no private key in PEM form; {_PEM_FORM}")
    try:
        return _Pair(_context(certificate, key), about(pem), files)
    except _EncryptedError:
        raise CertificateError(
            KEY,
            f"{key} is encrypted, and nobody is there to enter its passphrase; "
            "take it off with `openssl pkey -in KEY -out NEW`, and let nobody but statusd read the new file",
        ) from None
    except ssl.SSLError as error:
        raise _in_words(error, certificate, key) from None
    except OSError as error:
        wrong = f"{certificate} or {key} cannot be read any more: {error.strerror}; name PEM files"
        raise CertificateError(BOTH, wrong) from None


class _EncryptedError(Exception):
    """Raised where OpenSSL would ask on the terminal."""


def _no_passphrase() -> NoReturn:
    raise _EncryptedError


def _context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(PROTOCOLS))
    context.load_cert_chain(certificate, key, password=_no_passphrase)
    return context


def _read(option: str, path: str) -> bytes:
    """Return what is in the file `path`, which is to be a plain one: reading others might never end."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(_LARGEST)
        wrong = "is no plain file; name a PEM file"
    except FileNotFoundError:
        is_handed_over = path.startswith(CREDENTIALS)
        remedy = (
            "hand it over with LoadCredential=" if is_handed_over else "put it there, or correct the path"
        )
        wrong = f"does not exist; {remedy}"
    except PermissionError:
        wrong = (
            "may not be read by statusd; let its user or group read it, or hand it over with LoadCredential="
        )
    except OSError as error:
        wrong = f"cannot be read: {error.strerror}; name a PEM file"
    raise CertificateError(option, f"{path} {wrong}")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would wait for somebody who writes


def _in_words(error: ssl.SSLError, certificate: str, key: str) -> CertificateError:
    reason = getattr(error, "reason", None) or ""
    if reason in _ANOTHERS:
        return CertificateError(
            KEY,
            f"{key} is not the key of the first certificate in {certificate}; name two that belong together, "
            "and put the daemon's own certificate first",
        )
    if reason in _WEAK:
        return CertificateError(
            CERTIFICATE,
            f"{certificate} is too weak for the OpenSSL of this host ({reason}); "
            "have one issued for a key on P-256, or for one of RSA with 2048 bits",
        )
    wrong = f"{certificate} and {key} are damaged, or of a kind that OpenSSL does not know; make them anew"
    return CertificateError(BOTH, wrong)
