"""Where a daemon listens: the addresses of ``[http] bind``, and HTTP URLs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import attrs

from statusd.client.faults import ClientError, said
from statusd.values import Bind, Url

DEFAULT: Final = "http://127.0.0.1:8000"
VARIABLE: Final = "STATUSD_URL"

_EXPECTED: Final = (
    'expected such as "http://127.0.0.1:8000", "https://status.example.org/prefix", "127.0.0.1:8000" or '
    '"unix:/run/statusd/http.sock"'
)
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE: Final = "%!$&'()*+,;=:@"  # pchar of RFC 3986, section 3.3, besides what quote leaves


@attrs.frozen(kw_only=True)
class Address:
    """An address to connect to: TCP (`host`, `port`), with or without TLS, or a Unix socket (`socket`).

    Attributes:
        host: name or IP address; ``""`` for a Unix socket.
        port: of `host`.
        socket: path of a Unix socket, or ``""``.
        is_tls: whether to speak TLS.
        url: for the ``Host`` header, the prefix of every path, and the credentials.
        text: as people write it, without credentials.
    """

    host: str = ""
    port: int = 0
    socket: str = ""
    is_tls: bool = False
    url: Url
    text: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read a URL, or what ``[http] bind`` takes; an address that means every one becomes this host's own.

        Raises:
            ClientError: ``bad_address`` with what is expected.
        """
        text = text.strip()
        if text.startswith("fd://"):
            raise ClientError("bad_address", f"fd:// is a socket of the daemon's own: {_EXPECTED}.")
        return _from_url(text) if "://" in text else _from_bind(text)

    @property
    def server_name(self) -> str:
        """The name that a certificate must be for: neither a zone nor the dot of a full name is part of it."""
        return self.host.partition("%")[0].rstrip(".")

    def target(self, path: str, /, **query: str) -> str:
        """Return the request target (RFC 9112, section 3.2.1) of an already encoded `path` below the prefix."""
        prefix = quote(self.url.path.rstrip("/"), safe="/" + _PATH_SAFE)
        return prefix + path + (f"?{urlencode(query)}" if query else "")

    def headers(self) -> list[tuple[str, str]]:
        """Return what every request carries."""
        headers = [("Host", self.url.authority), ("Connection", "close"), ("Accept-Encoding", "identity")]
        if authorization := self.url.basic_authorization.reveal():
            headers.append(("Authorization", authorization))
        return headers

    def __str__(self) -> str:
        return self.text


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
    try:
        url = Url.parse(text)
    except ValueError as error:
        raise ClientError("bad_address", f"The address {error}; {_EXPECTED}.") from None
    shown = said(str(url.bare))
    if url.scheme not in {"http", "https"} or not url.host:
        raise ClientError("bad_address", f"{shown} is no address of a daemon: {_EXPECTED}.")
    if url.query:
        raise ClientError("bad_address", f"{shown} has a query: name only where the daemon is, {_EXPECTED}.")
    is_tls = url.scheme == "https"
    return Address(
        host=url.host,
        port=url.port or (443 if is_tls else 80),
        is_tls=is_tls,
        url=attrs.evolve(url, host=_header_host(url.host, shown)),
        text=shown.rstrip("/"),
    )


def _header_host(host: str, shown: str) -> str:
    host = host.partition("%")[
        0
    ]  # the zone of a link-local address means nothing to others (RFC 6874, section 1)
    if ":" in host:
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        raise ClientError("bad_address", f"{shown} has no valid host name; {_EXPECTED}.") from None


def _from_bind(text: str) -> Address:
    try:
        bind = Bind.parse(text)
    except ValueError:
        raise ClientError("bad_address", f'"{said(text)}" is no address of a daemon: {_EXPECTED}.') from None
    if bind.path:
        return Address(
            socket=bind.path, url=Url(scheme="http", host="localhost"), text=f"unix:{said(bind.path)}"
        )
    if bind.port == 0:
        raise ClientError("bad_address", f'The address "{said(text)}" has port 0; {_EXPECTED}.')
    url = Url(scheme="http", host=_own(bind.host), port=bind.port)
    return Address(host=url.host, port=bind.port, url=url, text=str(url))


def _own(host: str) -> str:
    """Return this host's loopback address where `host` means every address."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
