"""Whom to trust over TLS."""

from __future__ import annotations

import ssl

from statusd.client.faults import ClientError


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in `ca_file`, or the system's when it is empty.

    Raises:
        ClientError: ``tls_failed`` when the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError):  # SSLError is an OSError
        raise ClientError(
            "tls_failed", f"{ca_file} cannot be used: ca_file must name a readable PEM file with authorities."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Some Pythons set it, such as Debian 12's 3.11.2; an answer that was cut then looks whole.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    return context
