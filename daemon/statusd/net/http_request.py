"""What a probe sends: request line and header fields that nothing in a URL or a value can break out of."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from statusd.errors import ProbeError
from statusd.net.streams import Endpoint
from statusd.values import Url

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
TLS_SCHEMES: Final = frozenset({"https", "wss"})

# RFC 9110, section 5: a name is a token; a value is visible characters, spaces and tabs
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile("[\t\x20-\x7e\x80-\xff]*")
_AS_WRITTEN: Final = "!$%&'()*+,-./:;=?@_~[]"

# These decide where a message ends and what connection it is; the client answers for them.
_OWN: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_SECRET: Final = re.compile(
    rb"^((?!sec-websocket-)[^\s:]*(?:authorization|cookie|key|token|secret|password)[^\s:]*):[^\r\n]*",
    re.IGNORECASE | re.MULTILINE,
)


def _user_agent() -> str:
    try:
        return "statusd/" + importlib.metadata.version("statusd")
    except importlib.metadata.PackageNotFoundError:
        return "statusd"  # run from a source tree that is not installed


USER_AGENT: Final = _user_agent()


def endpoint_of(url: Url, unix_socket: str = "") -> Endpoint:
    """Return where to connect for `url`.

    Raises:
        ProbeError: ``protocol_error``: a scheme that is neither HTTP's nor WebSocket's, or no host.
    """
    port = DEFAULT_PORTS.get(url.scheme)
    if port is None:
        expected = ", ".join(f"{scheme}://" for scheme in DEFAULT_PORTS)
        raise ProbeError(
            "protocol_error", f'The URL has the scheme "{url.scheme}"; expected one of {expected}.'
        )
    if not url.host and not unix_socket:
        raise ProbeError("protocol_error", "The URL has no host: correct it.")
    return Endpoint(host=url.host or "localhost", port=url.port or port, unix_socket=unix_socket)


def get_request(url: Url, headers: Mapping[str, str] | None) -> bytes:
    """Return the bytes of a GET.

    Raises:
        ProbeError: ``protocol_error``: a header field that cannot be sent.
    """
    fields = request_fields(url, headers)
    fields["accept-encoding"] = ("Accept-Encoding", "identity")
    lines = [f"GET {target(url)} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.values()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def request_fields(
    url: Url, headers: Mapping[str, str] | None, *, own: frozenset[str] = frozenset()
) -> dict[str, tuple[str, str]]:
    """Return the header fields, ``Host`` first, by name in lower case; `headers` replace the usual ones.

    Args:
        url: whose host and userinfo are sent.
        headers: what the plugin wants.
        own: further names, in lower case, that only the client may set.

    Raises:
        ProbeError: ``protocol_error``: a name or value with a character that does not belong there, or an own name.
    """
    fields = {
        "host": ("Host", _host(url)),
        "user-agent": ("User-Agent", USER_AGENT),
        "accept": ("Accept", "*/*"),
    }
    if credentials := url.basic_authorization.reveal():
        fields["authorization"] = ("Authorization", credentials)
    for name, value in (headers or {}).items():
        if name.lower() in _OWN | own:
            raise ProbeError(
                "protocol_error", f"The header field {name} is not for plugins to set: leave it out."
            )
        fields[name.lower()] = (name, value.strip(" \t"))
    for name, value in fields.values():
        if not _NAME.fullmatch(name):
            raise ProbeError("protocol_error", f"{name!r} cannot be the name of a header field: correct it.")
        if not _VALUE.fullmatch(value):
            raise ProbeError(
                "protocol_error",
                f"The header field {name} has a value with a line break or another character that cannot be sent, "
                "so nothing was: correct the value, or the file or variable that holds it.",
            )
    return fields


def target(url: Url) -> str:
    """Return the request target (RFC 9112, section 3.2.1): as written, and encoded what must not stand there."""
    text = url.target if url.target.startswith("/") else f"/{url.target}"
    return quote(text, safe=_AS_WRITTEN, errors="surrogateescape")


def masked(request: bytes) -> bytes:
    """Return `request` as it may be shown: the values of header fields that hold secrets are ``***``."""
    return _SECRET.sub(rb"\1: ***", request)


def _host(url: Url) -> str:
    host, _, _zone = url.host.partition("%")  # the interface of a link-local address is this host's business
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError as error:
            raise ProbeError("protocol_error", f"{host!r} cannot be a host name: correct the URL.") from error
    host = f"[{host}]" if ":" in host else host or "localhost"
    return host if url.port is None else f"{host}:{url.port}"
