"""Who may ask for what: the token, the names of this host, other origins, and the listeners for probes alone."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
from collections.abc import Mapping
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

# Chromium takes each field for one challenge, and by its first word: so the scheme that browsers know comes first.
CHALLENGE: Final = 'Basic realm="statusd", Bearer realm="statusd"'
EXPOSED: Final = "ETag, Age, Cache-Status"
ALLOWED: Final = "Authorization, Cache-Control, If-None-Match, Last-Event-ID"
PREFLIGHT_AGE: Final = "600"
"""Seconds for which a browser remembers the answer to its preflight."""

_PORT: Final = re.compile(r":[0-9]*\Z")


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

    def knows_host_for(self, path: str, fields: Mapping[str, str]) -> bool:
        """Whether a request for `path` names a host that no stranger can have chosen, or asks for what anybody may see.

        Args:
            path: canonical.
            fields: of the request's header, names in lower case.
        """
        return not is_below(path, GUARDED) or self.knows_host(fields.get("host", ""))

    def knows_host(self, host: str) -> bool:
        """Whether a ``Host`` is one that only this host's own users can have chosen; the empty one is.

        Args:
            host: as in the request, with or without a port; the dot of a fully qualified name may stand at its end.
        """
        if not host:
            return True
        name = _PORT.sub("", host).lower().removesuffix(".")
        return name == LOCALHOST or name in self.hosts or _is_address(name)

    def admits(self, path: str, fields: Mapping[str, str]) -> bool:
        """Whether a request for `path` has the token, or needs none.

        Args:
            path: canonical.
            fields: of the request's header, names in lower case.
        """
        if self.token is None or is_below(path, PROBES):
            return True
        wanted = self.token.reveal().encode()
        given = _token(fields.get("authorization", ""))
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
            allowed = EVERY_ORIGIN  # whoever asks, so that no cache has to tell them apart
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
    """Whether the raw `path` is a probe endpoint's, however it is spelled; asked often, so long ones are not read whole."""
    if is_below(path, PROBES):
        return True
    if "%" not in path:  # all of them are spelled in letters, and those in one way only
        return False
    parts = path.split("/", 3)
    return is_below(canonical("/".join(parts[:3])) + "/" * (len(parts) > 3), PROBES)


def _is_address(name: str) -> bool:
    """Whether `name` is an IP address as it stands in URLs: one of version 6 in brackets."""
    is_bracketed = name.startswith("[") and name.endswith("]")
    try:
        if is_bracketed:
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _token(authorization: str) -> bytes:
    """Return the token in an ``Authorization`` field: RFC 6750's, or the password of RFC 7617, which browsers can ask for.

    Args:
        authorization: the field's value; what is of another form has the empty token.
    """
    scheme, _, credentials = authorization.strip().partition(" ")
    credentials = credentials.strip()
    if scheme.lower() == "bearer":
        return credentials.encode()
    if scheme.lower() != "basic":
        return b""
    try:
        pair = base64.b64decode(credentials, validate=True)
    except ValueError:
        return b""
    return pair.partition(b":")[2]
