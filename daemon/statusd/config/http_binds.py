"""The addresses of ``[http]``: ``bind`` and ``bind_probes``, or what ``--bind`` says instead of the former."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN
from statusd.config.wording import described, item, quoted, shown
from statusd.values import Bind

MAX_ADDRESS: Final = 4096
"""Characters of an address that are looked at; Linux takes 107 for a Unix socket's path (unix(7))."""

MAX_ADDRESSES: Final = 1000
"""Addresses of a list; each is compared with those before it."""

_WILDCARD: Final = {False: "0.0.0.0", True: "::"}  # noqa: S104  # recognised, not bound to
"""Every address of this host, by whether it is one of IPv6."""


@attrs.frozen(kw_only=True)
class Listed:
    """An address where it stands.

    Attributes:
        bind: the address.
        path: the array's element that it is.
        text: as it is written, for messages.
    """

    bind: Bind
    path: str
    text: str = attrs.field(repr=False)

    def is_among(self, others: Iterable[Listed]) -> bool:
        """Whether one of `others` has this address, with TLS or without; a port of the system's choice is another."""
        if self.bind.host and not self.bind.port:
            return False
        return any(_place(self.bind) == _place(other.bind) for other in others)

    def rival(self, others: Iterable[Listed]) -> Listed | None:
        """Return the one of `others` with which it cannot be opened: the wildcard address has a port on every address."""
        for other in others:
            hosts = {self.bind.host, other.bind.host}
            is_same_port = self.bind.port == other.bind.port != 0
            if (
                is_same_port
                and len(hosts) > 1
                and any({each, _WILDCARD[":" in each]} == hosts for each in hosts)
            ):
                return other
        return None

    def expect_room(self, others: Iterable[Listed], findings: Findings) -> None:
        """Want to be opened beside each of `others`."""
        if rival := self.rival(others):
            findings.mistake(
                self.path,
                f"{quoted(self.text)} cannot be opened beside {quoted(rival.text)}, since one of them is every address "
                "of this host; choose another port",
            )


def _place(bind: Bind) -> tuple[str, int, str, int | None]:
    """Return what makes two addresses the same, with TLS or without."""
    return bind.host, bind.port, bind.path, bind.fd


def read_binds(value: object, path: str, findings: Findings) -> tuple[Listed, ...]:
    """Return the addresses in a key of the table.

    Args:
        value: what the file says.
        path: of the key.
        findings: takes mistakes.
    """
    if isinstance(value, list):
        return list_binds(value, path, findings)
    if value is not BROKEN:
        remedy = f"; write [{shown(value)}]" if isinstance(value, str) else ""
        findings.mistake(path, f"expected an array of strings, found {described(value)}{remedy}")
    return ()


def list_binds(entries: Iterable[object], path: str, findings: Findings) -> tuple[Listed, ...]:
    """Return the addresses that `entries` are.

    Args:
        entries: addresses as `Bind.parse` takes them.
        path: where they stand: a key of the table, or ``--bind``.
        findings: takes mistakes.
    """
    found: list[Listed] = []
    entries = list(entries)
    if len(entries) > MAX_ADDRESSES:
        findings.mistake(path, f"lists {len(entries)} addresses; list at most {MAX_ADDRESSES}")
    for index, entry in enumerate(entries[:MAX_ADDRESSES]):
        where = item(path, index)
        if entry is BROKEN:
            continue
        if not isinstance(entry, str):
            findings.mistake(where, f"expected a string, found {described(entry)}")
            continue
        try:
            bind = Bind.parse(str(entry)[:MAX_ADDRESS])
        except ValueError as error:
            findings.mistake(where, f"{quoted(entry)} {error}")
            continue
        listed = Listed(bind=bind, path=where, text=entry)
        if listed.is_among(found):
            findings.mistake(where, f"{quoted(entry)} is listed twice; remove one")
        listed.expect_room(found, findings)
        found.append(listed)
    return tuple(found)


def expect_apart(bind: Sequence[Listed], probes: Iterable[Listed], path: str, findings: Findings) -> None:
    """Want no address in both lists.

    Args:
        bind: where everything is served.
        probes: where only the probe endpoints are.
        path: where `bind` stands: ``http.bind`` or ``--bind``.
        findings: takes mistakes.
    """
    for one in probes:
        if one.is_among(bind):
            findings.mistake(one.path, f"{quoted(one.text)} is listed in {path} too; remove one")
        one.expect_room(bind, findings)


def expect_certificate(listed: Iterable[Listed], findings: Findings) -> None:
    """Want none of the addresses to be one with TLS; for a configuration without ``[http.tls]``."""
    for one in listed:
        if one.bind.is_tls:
            findings.mistake(
                one.path,
                f"{quoted(one.text)} wants a certificate; add the table [http.tls] with the keys certificate and "
                f'key, or write the address without "tls:"',
            )


def expect_tls(listed: Iterable[Listed], findings: Findings) -> None:
    """Want one of the addresses to be one with TLS; for a configuration with ``[http.tls]``."""
    if not any(one.bind.is_tls for one in listed):
        findings.mistake(
            "http.tls",
            'no address uses it; put "tls:" before one in http.bind, as in "tls:0.0.0.0:8443", or remove the table',
        )
