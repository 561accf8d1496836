"""Where a daemon listens: the addresses of ``[http] bind``, and HTTP URLs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import attrs

from statusd.client.faults import ClientError, said
from statusd.values import Bind, Secret, Url

DEFAULT: Final = "http://127.0.0.1:8000"
VARIABLE: Final = "STATUSD_URL"

_EXPECTED: Final = (
    'expected such as "http://127.0.0.1:8000", "https://status.example.org/prefix", "127.0.0.1:8000", '
    '"tls:127.0.0.1:8443" or "unix:/run/statusd/http.sock"'
)
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE: Final = "%!$&'()*+,;=:@"  # pchar of RFC 3986, section 3.3, besides what quote leaves


@attrs.frozen
class Address:
    """An address to connect to, TCP or a Unix socket, with or without TLS, and the credentials for it.

    Attributes:
        url: HTTP or HTTPS; for a Unix socket only what a request needs.
        socket: path of the Unix socket to connect to instead, or ``""``.
        token: bearer token for it, of visible ASCII characters; it goes nowhere else.
    """

    url: Url
    socket: str = ""
    token: Secret = attrs.field(factory=Secret)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read a URL, or what ``[http] bind`` takes; an address that means every one becomes this host's own.

        Raises:
            ClientError: ``bad_address`` with what is expected.
        """
        try:
            address = _from_url(text) if "://" in text else _from_bind(text.strip())
            address.headers()  # which a host name may be unfit for
        except ValueError as error:
            raise ClientError("bad_address", f"The address {error}; {_EXPECTED}.") from None
        return address

    @property
    def host(self) -> str:
        """The name or IP address to connect to."""
        return self.url.host

    @property
    def port(self) -> int:
        """The port to connect to."""
        return self.url.port or (443 if self.is_tls else 80)

    @property
    def is_tls(self) -> bool:
        """Whether to speak TLS."""
        return self.url.scheme == "https"

    @property
    def server_name(self) -> str:
        """The name that a certificate must be for, or ``""`` for a Unix socket, whose path no certificate is for."""
        if self.socket:
            return ""
        # Neither a zone nor the dot of a full name is part of it.
        return self.host.partition("%")[0].rstrip(".")

    def target(self, path: str, /, **query: str) -> str:
        """Return the request target (RFC 9112, section 3.2.1) of an already encoded `path` below the prefix."""
        prefix = quote(self.url.path.rstrip("/"), safe="/" + _PATH_SAFE)
        return prefix + path + (f"?{urlencode(query)}" if query else "")

    def headers(self) -> list[tuple[str, str]]:
        """Return what every request carries.

        Raises:
            ValueError: when the host name cannot stand in one.
        """
        # The zone of a link-local address means nothing to others (RFC 6874, section 1).
        host = self.host.partition("%")[0]
        try:
            encoded = host if ":" in host else host.encode("idna").decode()
        except UnicodeError:
            raise ValueError("has no valid host name") from None
        authority = attrs.evolve(self.url, host=encoded).authority
        headers = [("Host", authority), ("Connection", "close"), ("Accept-Encoding", "identity")]
        if self.token:
            headers.append(("Authorization", f"Bearer {self.token.reveal()}"))
        elif authorization := self.url.basic_authorization.reveal():
            headers.append(("Authorization", authorization))
        return headers

    def __str__(self) -> str:
        if self.socket:
            return said(f"{'tls:' if self.is_tls else ''}unix:{self.socket}")
        return said(str(self.url.bare).rstrip("/"))


def named_by(environ: Mapping[str, str]) -> str:
    """Return the address that the environment names, or the default one."""
    return environ.get(VARIABLE) or DEFAULT


def node_path(path: str) -> str:
    """Return `path` of a node with everything encoded that cannot stand in a request, and without outer slashes.

    Args:
        path: as in the tree: percent-encoded segments joined by ``/``.
    """
    return "/".join(_segment(part) for part in path.strip("/").split("/"))


def _segment(part: str) -> str:
    if part in {".", ".."}:
        return part.replace(".", "%2E")  # proxies resolve the plain ones away (RFC 3986, section 5.2.4)
    return quote(_STRAY_PERCENT.sub("%25", part), safe=_PATH_SAFE, errors="replace")


def _from_url(text: str) -> Address:
    url = Url.parse(text)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("is no HTTP URL with a host")
    if url.query:
        raise ValueError("has a query: name only where the daemon is")
    return Address(url)


def _from_bind(text: str) -> Address:
    try:
        bind = Bind.parse(text)
    except ValueError:
        raise ValueError("is neither a URL nor what [http] bind takes") from None
    scheme = "https" if bind.is_tls else "http"
    if bind.path:
        return Address(Url(scheme=scheme, host="localhost"), bind.path)
    if bind.port == 0:
        raise ValueError("has port 0")
    host = ipaddress.ip_address(bind.host)
    if host.is_unspecified:
        host = ipaddress.ip_address("127.0.0.1" if host.version == 4 else "::1")
    return Address(Url(scheme=scheme, host=str(host), port=bind.port))
