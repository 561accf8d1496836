"""TLS for probes: whom to trust, and what a failed handshake means."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Final

import attrs
import trio

from statusd.errors import ProbeError

_SYSTEM_LOCK: Final = threading.Lock()
_contexts: Final[dict[str, tuple[object, ssl.SSLContext]]] = {}
_limiter: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("statusd certificate authorities")
_LOADS_AT_A_TIME: Final = 4

_NOT_TLS: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "UNKNOWN_PROTOCOL",
    }
)
_OLD_TLS: Final = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE"}
)
# X509_verify_cert_error_string(3): no chain to an authority that is trusted
_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21, 24, 27})
_WRONG_NAME: Final = frozenset({62, 64})
_WRONG_TIME: Final = frozenset({9, 10})


async def client_context(ca_file: str = "") -> ssl.SSLContext:
    """Return the context for connections that trust `ca_file`, or the system's authorities when it is empty.

    Loading the system's takes some 20 ms, so it happens in a thread, once. A `ca_file` is loaded again when it changed.

    Raises:
        ProbeError: ``tls_failed`` when the file cannot be used.
    """
    if not ca_file and (known := _contexts.get("")):
        return known[1]
    return await trio.to_thread.run_sync(_load, ca_file, abandon_on_cancel=True, limiter=_loads())


def _loads() -> trio.CapacityLimiter:
    # its own limiter: a file on a network that hangs must not stop other work in threads
    try:
        return _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_LOADS_AT_A_TIME)
        _limiter.set(limiter)
        return limiter


def _load(ca_file: str) -> ssl.SSLContext:
    if not ca_file:
        with _SYSTEM_LOCK:
            if "" not in _contexts:
                _contexts[""] = (None, _new_context(ca_file))
            return _contexts[""][1]
    try:
        found = Path(ca_file).stat()
        version = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = _contexts.get(ca_file)
        if known is None or known[0] != version:
            known = _contexts[ca_file] = (version, _new_context(ca_file))
    except ssl.SSLError as error:
        raise ProbeError(
            "tls_failed", f"{ca_file} holds no certificate: ca_file must name a PEM file with authorities."
        ) from error
    except (OSError, ValueError) as error:
        raise ProbeError(
            "tls_failed", f"{ca_file} cannot be read: ca_file must name a PEM file that statusd may read."
        ) from error
    return known[1]


def _new_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Some Pythons set it, such as Debian 12's 3.11.2; an answer that was cut then looks whole.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    return context


def is_unexpected_end(error: ssl.SSLError) -> bool:
    """Whether the other end hung up without ending TLS."""
    # The same Pythons have no class of its own for it.
    return isinstance(error, ssl.SSLEOFError) or _reason(error) == "UNEXPECTED_EOF_WHILE_READING"


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "reason", None) or ""  # only errors that OpenSSL itself reports have one


def tls_error(error: ssl.SSLError, where: str) -> ProbeError:
    """Return what `error` means for the TLS connection to `where`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProbeError("tls_failed", _refused_certificate(error, where))
    reason = _reason(error)
    if reason in _NOT_TLS:
        sentence = f"{where} does not speak TLS: use the scheme without TLS, or another port."
    elif reason in _OLD_TLS:
        sentence = f"{where} offers no TLS version from 1.2 on: update the server."
    elif "CERTIFICATE_REQUIRED" in reason:
        sentence = f"{where} wants a client certificate, and statusd sends none."
    elif is_unexpected_end(error):
        sentence = f"{where} hung up during the TLS handshake: it may not speak TLS."
    else:
        sentence = f"The TLS handshake with {where} failed: look at the server's log for the cause."
    return ProbeError("tls_failed", sentence)


def _refused_certificate(error: ssl.SSLCertVerificationError, where: str) -> str:
    code = error.verify_code
    if code in _UNTRUSTED:
        return f"The certificate of {where} is signed by no trusted authority: name the authority's file in ca_file."
    if code in _WRONG_NAME:
        return f"The certificate of {where} is for another name: use the name it was issued for."
    if code in _WRONG_TIME:
        return f"The certificate of {where} has expired, or is not valid yet: renew it, or set the clock."
    return f"The certificate of {where} was refused: {error.verify_message}."


@attrs.frozen(kw_only=True)
class TlsTarget:
    """Whom to expect at the other end.

    Attributes:
        context: what is trusted.
        server_name: host name or IP address that the certificate must be for; sent as SNI when it is a name.
    """

    context: ssl.SSLContext
    server_name: str


async def tls_target(host: str, ca_file: str) -> TlsTarget:
    """Return the target for a connection to `host`.

    Raises:
        ProbeError: ``tls_failed`` when `ca_file` cannot be used.
    """
    # neither an interface nor the final dot of a full name is part of what a certificate holds
    server_name = host.partition("%")[0].rstrip(".")
    return TlsTarget(context=await client_context(ca_file), server_name=server_name)
