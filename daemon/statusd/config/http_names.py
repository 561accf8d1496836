"""``hosts`` and ``cors_origins`` of ``[http]``: names as a request's ``Host`` and ``Origin`` have them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final

from statusd.config.findings import Findings
from statusd.config.interpolate import Expanded
from statusd.config.wording import item, quoted

ANY_ORIGIN: Final = "*"
"""Stands for every origin."""
MAX_ENTRY: Final = 1024
"""Characters of an entry."""
MAX_NAME: Final = 253
"""Characters of a host name (RFC 1035, section 2.3.4, without the root's dot)."""

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# RFC 3986, section 3.2.3 and 3.1.
_PORT: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*):(?P<port>[0-9]*)")
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#@]*)(?P<rest>[/?#].*)?", re.DOTALL
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_DEVIATING: Final = frozenset("ßς\u200c\u200d")
"""What IDNA 2003 and 2008 encode differently (UTS #46, section 7): only the name's owner knows which is meant."""


def read_hosts(entries: object, findings: Findings) -> tuple[str, ...]:
    """Return the names in ``hosts``: in lower case and A-labels, an IPv6 address without brackets.

    Args:
        entries: what the file says; what is no array of strings is somebody else's mistake.
        findings: takes mistakes.
    """
    return _each(entries, "http.hosts", _host, findings)


def read_origins(entries: object, findings: Findings) -> tuple[str, ...]:
    """Return the origins in ``cors_origins``, serialised as RFC 6454, section 6.2, has it, or ``*`` alone.

    Args:
        entries: what the file says; what is no array of strings is somebody else's mistake.
        findings: takes mistakes.
    """
    origins = _each(entries, "http.cors_origins", _origin, findings)
    if ANY_ORIGIN in origins and len(origins) > 1:
        findings.mistake("http.cors_origins", '"*" stands for every origin; write it alone, or remove it')
    return origins


def _each(entries: object, path: str, read: Callable[[str], str], findings: Findings) -> tuple[str, ...]:
    names: list[str] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, str):
            continue
        where = item(path, index)
        try:
            name = read(entry)
        except ValueError as error:
            findings.mistake(where, f"{quoted(entry)} {error}")
            continue
        if name in seen:
            findings.mistake(where, f"{quoted(entry)} is listed twice; remove one")
        names.append(name)
        seen.add(name)
    return tuple(names)


def _host(entry: str) -> str:
    """Return the name or address that `entry` is.

    Raises:
        ValueError: with what is wrong and how to write it.
    """
    text = _bounded(entry)
    if "*" in text:
        raise ValueError("is a pattern; list each name by itself")
    if (origin := _ORIGIN.fullmatch(text)) is not None:
        raise ValueError(f"is a URL; write {_instead(entry, origin['authority'], 'only its host')}")
    if (with_port := _PORT.fullmatch(text)) is not None:
        raise ValueError(f"has a port; write {_instead(entry, with_port['host'], 'it without')}")
    name = _name_or_address(text)
    if name is None and not text.isascii():
        raise ValueError(
            'cannot be encoded for certain; write it as browsers send it, in A-labels ("xn--...")'
        )
    if name is None:
        raise ValueError('is no host name; write one such as "status.example.org"')
    return name


def _origin(entry: str) -> str:
    """Return the origin that `entry` is.

    Raises:
        ValueError: with what is wrong and how to write it.
    """
    text = _bounded(entry)
    if text == ANY_ORIGIN:
        return text
    if text == "null":
        raise ValueError(
            "is what pages without an origin send, hostile ones too; name the origins that are meant"
        )
    serialised = _serialised(text)
    if serialised is None:
        raise ValueError('is no origin; write one such as "https://status.example.org:8443"')
    if serialised != text:
        raise ValueError(
            "is not the origin as browsers send it; write "
            + _instead(
                entry, serialised, "it in lower case, without a path and without the scheme's own port"
            )
        )
    return text


def _bounded(entry: str) -> str:
    if len(entry) > MAX_ENTRY:
        raise ValueError(f"is over {MAX_ENTRY} characters; shorten it")
    return str(entry)


def _serialised(text: str) -> str | None:
    """Return the origin of the URL `text`, or None where it has none."""
    parts = _ORIGIN.fullmatch(text)
    if parts is None:
        return None
    scheme, authority = parts["scheme"].lower(), parts["authority"]
    with_port = _PORT.fullmatch(authority)
    host, port = (with_port["host"], with_port["port"]) if with_port else (authority, "")
    name = _name_or_address(host)
    if name is None or (":" in name) is not host.startswith("["):
        return None
    if port and not (len(port.lstrip("0")) <= 5 and 0 < int(port) <= 65535):
        return None
    host = f"[{name}]" if ":" in name else name
    is_default = not port or int(port) == _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}" if is_default else f"{scheme}://{host}:{int(port)}"


def _name_or_address(text: str) -> str | None:
    """Return `text` as an IP address without brackets, or as a host name in lower case, or None."""
    is_bracketed = text.startswith("[") and text.endswith("]")
    try:
        address = ipaddress.ip_address(text[1:-1] if is_bracketed else text)
    except ValueError:
        return None if is_bracketed else _name(text)
    # A zone means something on one host only (RFC 6874), and no browser sends one.
    if (is_bracketed and address.version == 4) or getattr(address, "scope_id", None):
        return None
    return str(address)


def _name(text: str) -> str | None:
    text = text.removesuffix(".")
    if not text.isascii():
        if _DEVIATING & set(text):
            return None
        try:
            text = text.encode("idna").decode()
        except UnicodeError:
            return None
    name = text.lower()
    labels = name.split(".")
    # What ends in a number is an address to browsers (URL standard, "ends in a number checker"), and this is none.
    is_sound = len(name) <= MAX_NAME and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
    return name if is_sound else None


def _instead(entry: str, text: str, otherwise: str) -> str:
    """Return `text` in quotes, unless what it is made of came from the environment or is nothing."""
    return otherwise if isinstance(entry, Expanded) or not text else quoted(text)
