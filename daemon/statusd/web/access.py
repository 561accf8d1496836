"""Who may ask for what: the token, the names of this host, other origins, and the listeners for probes alone."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from statusd.values import Secret
from statusd.web.target import canonical

LOCALHOST: Final = "localhost"
EVERY_ORIGIN: Final = "*"

SECURITY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
    }
)
"""What every answer carries, so that no browser takes it for what it is not: in a frame, as a script, as a page."""

PROBES: Final = (
    *("/health", "/healthz", "/livez", "/readyz", "/readyz/*"),
    *("/status", "/status/*", "/queue/status", "/models"),
)
"""The probe endpoints, with ``/*`` at the end for all below: what load balancers and monitoring ask."""

GUARDED: Final = ("/", "/state", "/state/*", "/events", "/explain", "/explain/*")
"""What a web page of strangers must not read by giving its own name this host's address (DNS rebinding)."""

CHALLENGE: Final = 'Bearer realm="statusd", Basic realm="statusd"'
EXPOSED: Final = "ETag, Age, Cache-Status"
ALLOWED: Final = "Authorization, Cache-Control, If-None-Match, Last-Event-ID"
PREFLIGHT_AGE: Final = "600"
"""Seconds for which a browser remembers the answer to its preflight."""


@attrs.frozen(kw_only=True)
class Access:
    """The rules; by default everybody may ask for everything by a name that no stranger can choose.

    Attributes:
        token: wanted for all but the probe endpoints; None: none is. The empty one lets nobody in.
        hosts: names in lower case that may stand in ``Host`` besides IP addresses and localhost.
        origins: whose scripts may read the answers (the Fetch standard's CORS); ``*``: everybody's.
    """

    token: Secret | None = None
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def refuses(self, path: str, fields: Mapping[str, str]) -> int:
        """Return the status code that refuses a request for `path`, or 0.

        Args:
            path: canonical.
            fields: of the request's header, names in lower case.
        """
        if is_below(path, GUARDED) and not self.knows_host(fields.get("host", "")):
            return 421
        if self.token is not None and not is_below(path, PROBES):
            return 0 if self._is_token(fields.get("authorization", "")) else 401
        return 0

    def knows_host(self, host: str) -> bool:
        """Whether a ``Host`` is one that only this host's own users can have chosen; the empty one is.

        Args:
            host: as in the request, with or without a port.
        """
        name = _without_port(host).lower()
        if not name or name == LOCALHOST or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def _is_token(self, authorization: str) -> bool:
        assert self.token is not None
        wanted = self.token.reveal().encode()
        given = b"".join(_tokens(authorization))
        # Compared although nobody gets in, so that the time tells nothing either.
        return hmac.compare_digest(given, wanted) and bool(wanted)

    def cors(self, origin: str, *, is_preflight: bool = False) -> dict[str, str]:
        """Return the fields by which a browser lets a script of `origin` read an answer (Fetch, section 3.2).

        Args:
            origin: of the request; ``""`` when it says none.
            is_preflight: whether the browser asks what a script may ask for.
        """
        if not self.origins:
            return {}
        fields = {}
        if EVERY_ORIGIN in self.origins:
            allowed = EVERY_ORIGIN if origin else ""
        else:
            fields["vary"] = "Origin"
            allowed = origin if origin in self.origins else ""
        if allowed:
            fields["access-control-allow-origin"] = allowed
            fields["access-control-expose-headers"] = EXPOSED
            if is_preflight:
                fields["access-control-allow-methods"] = "GET, HEAD, OPTIONS"
                fields["access-control-allow-headers"] = ALLOWED
                fields["access-control-max-age"] = PREFLIGHT_AGE
        return fields


def is_below(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of `patterns` means `path`.

    Args:
        path: canonical.
        patterns: paths, with ``/*`` at the end for all below.
    """
    return any(path == one or (one.endswith("/*") and path.startswith(one[:-1])) for one in patterns)


def is_probe(path: str) -> bool:
    """Whether the raw `path` is a probe endpoint's."""
    return is_below(path, PROBES) or is_below(canonical(path), PROBES)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) and not name.endswith(":") else host


def _tokens(authorization: str) -> Iterator[bytes]:
    """Yield the token of an ``Authorization`` field: RFC 6750's, or the password of RFC 7617, which browsers can ask for."""
    scheme, _, credentials = authorization.strip().partition(" ")
    credentials = credentials.strip()
    if scheme.lower() == "bearer":
        yield credentials.encode()
    elif scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credentials, validate=True)
        except (binascii.Error, ValueError):
            return
        yield pair.partition(b":")[2]
