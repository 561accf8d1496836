"""The table ``[http]``: where statusd listens, who may ask, and how often requests may have sources probed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from statusd.config.common import within
from statusd.config.findings import Findings
from statusd.config.http_binds import (
    Listed,
    expect_apart,
    expect_certificate,
    expect_tls,
    list_binds,
    read_binds,
)
from statusd.config.http_limits import LimitSettings, read_limits
from statusd.config.http_names import read_hosts, read_origins
from statusd.config.http_tls import TlsFiles, TlsKeys, read_tls
from statusd.config.http_token import read_token
from statusd.config.interpolate import Expanded
from statusd.config.schema import keys_of, structure
from statusd.config.tables import inner_table
from statusd.config.wording import below, described, quoted
from statusd.plugin.options import option
from statusd.values import Bind, Secret

DEFAULT_BIND: Final = Bind(host="127.0.0.1", port=8000)
DEFAULT_REFRESH_FLOOR: Final = 1.0
MIN_REFRESH_FLOOR: Final = 0.1
MAX_REFRESH_FLOOR: Final = 3_600.0
"""Seconds; an hour."""
DEFAULT_SOCKET_MODE: Final = 0o666
"""Everyone on this host may connect, as to a loopback port; the socket's directory can narrow that."""
COMMAND_LINE: Final = "--bind"

_OCTAL: Final = re.compile(r"(0o?)?(?P<digits>[67][0-7]{2})")
"""A mode as people write it, of which the owner has what it needs."""
_OWNER: Final = 0o600
_MOST: Final = 0o777


def _mode(_instance: object, _attribute: object, mode: int) -> None:
    if not 0 <= mode <= _MOST:
        # A mode with its "0o" forgotten is read as decimal.
        meant = _OCTAL.fullmatch(str(mode))
        remedy = f"write 0o{meant['digits']}" if meant else "expected 0o600 to 0o777, such as 0o660"
        raise ValueError(f"is out of range; {remedy}")
    if mode & _OWNER != _OWNER:
        raise ValueError(
            f"is 0o{mode:03o}, with which not even its owner can connect; write one in octal, such as 0o660"
        )


def _share(_instance: object, _attribute: object, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError("is out of range; expected 0 for no request to 1 for each")


@attrs.frozen(kw_only=True)
class HttpKeys:
    """The keys of ``[http]``, as the file has them."""

    bind: tuple[str, ...] = option(
        (str(DEFAULT_BIND),),
        help="Addresses to listen on; `--bind` replaces them, and so do sockets that systemd hands over.",
    )
    bind_probes: tuple[str, ...] = option(
        (),
        help="Further addresses to listen on, where only the probe endpoints are answered, all else with 404.",
    )
    refresh_floor: float = option(
        DEFAULT_REFRESH_FLOOR,
        help="Seconds that pass at least between two probes of one source that requests ask for.",
        validator=within(MIN_REFRESH_FLOOR, MAX_REFRESH_FLOOR),
    )
    front_stage: bool = option(
        True,
        help="Whether requests for rendered documents are answered before the ASGI application is asked.",
    )
    socket_mode: int = option(
        DEFAULT_SOCKET_MODE, help="File mode of the Unix sockets that are listened on.", validator=_mode
    )
    token: Secret | None = option(
        None, help="Wanted from clients for everything but the probe endpoints; absent = nothing is wanted."
    )
    hosts: tuple[str, ...] = option(
        (), help="Names besides localhost by which browsers may ask for the page and the tree."
    )
    cors_origins: tuple[str, ...] = option(
        (), help='Origins whose pages may read the answers, such as "https://status.example.org"; "*" = all.'
    )
    access_log: float = option(
        0.0, help="Share of requests that are written to the log, 0 = none, 1 = each.", validator=_share
    )


@attrs.frozen(kw_only=True)
class HttpSettings:
    """The table ``[http]``.

    Attributes:
        bind: the addresses to listen on.
        bind_probes: further ones, where only the probe endpoints are served.
        refresh_floor: seconds between two probes of a source that requests ask for.
        front_stage: whether rendered documents are answered before the ASGI application is asked.
        socket_mode: file mode of Unix sockets.
        token: wanted from clients; None = no token is wanted; the empty one = it is configured and not there, so nobody
            gets in.
        hosts: names that may stand in ``Host``: lower case, A-labels, no port, no dot at the end.
        cors_origins: origins as browsers send them, or ``*`` alone.
        access_log: share of requests that are logged, from 0 to 1.
        tls: where the certificate is, or None; it is there where an address wants TLS.
        limits: the table ``[http.limits]``.
    """

    bind: tuple[Bind, ...] = (DEFAULT_BIND,)
    bind_probes: tuple[Bind, ...] = ()
    refresh_floor: float = DEFAULT_REFRESH_FLOOR
    front_stage: bool = True
    socket_mode: int = DEFAULT_SOCKET_MODE
    token: Secret | None = None
    hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    access_log: float = 0.0
    tls: TlsFiles | None = None
    limits: LimitSettings = attrs.field(factory=LimitSettings)


def read_http(
    table: Mapping[str, object], findings: Findings, bind: Iterable[str] | None = None
) -> HttpSettings:
    """Return what the table ``[http]`` says; what is wrong goes into `findings`.

    Args:
        table: what the file says.
        findings: takes mistakes, faults and the token.
        bind: addresses that replace those of the table.
    """
    token = read_token(table, findings)  # before all else, so that no message shows it
    others = {key: value for key, value in table.items() if key not in _READ_HERE | _TABLES}
    _expect_plain_numbers(others, findings)
    _expect_inner_keys_inside(others, findings)
    options = structure(HttpKeys, others, "http", findings, also=_TABLES)
    options["hosts"] = read_hosts(table.get("hosts"), findings)
    options["cors_origins"] = read_origins(table.get("cors_origins"), findings)
    tls = inner_table(table, "tls", findings, "http")
    files = read_tls(tls, findings) if isinstance(table.get("tls"), dict) else None
    limits = read_limits(inner_table(table, "limits", findings, "http"), findings)
    binds = _addresses(table, bind, findings)
    return HttpSettings(**binds, **options, token=token, tls=files, limits=limits)


_READ_HERE: Final = frozenset({"bind", "bind_probes", "token"})
"""Keys that have messages of their own."""
_TABLES: Final = frozenset({"tls", "limits"})


def _addresses(
    table: Mapping[str, object], replaced: Iterable[str] | None, findings: Findings
) -> dict[str, Any]:
    """Return the addresses of both kinds; what they want of each other and of ``[http.tls]`` is wanted here."""
    before = len(findings.mistakes)
    bind = _main(table, replaced, findings)
    probes = read_binds(table["bind_probes"], "http.bind_probes", findings) if "bind_probes" in table else ()
    if len(findings.mistakes) == before:
        expect_apart(bind, probes, "http.bind" if replaced is None else COMMAND_LINE, findings)
        listed = (*bind, *probes)
        if "tls" not in table:
            expect_certificate(listed, findings)
        elif replaced is None and isinstance(table["tls"], dict):
            expect_tls(listed, findings)
    return {
        "bind": tuple(one.bind for one in bind) or (DEFAULT_BIND,),
        "bind_probes": tuple(one.bind for one in probes),
    }


def _main(
    table: Mapping[str, object], replaced: Iterable[str] | None, findings: Findings
) -> tuple[Listed, ...]:
    default = Listed(bind=DEFAULT_BIND, path="http.bind", text=str(DEFAULT_BIND))
    written = read_binds(table["bind"], "http.bind", findings) if "bind" in table else (default,)
    if table.get("bind") == []:
        findings.mistake("http.bind", _NONE)
    if replaced is None:
        return written
    entries = [*replaced]
    if not entries:
        findings.mistake(COMMAND_LINE, _NONE)
    return list_binds(entries, COMMAND_LINE, findings)


def _expect_inner_keys_inside(table: dict[str, Any], findings: Findings) -> None:
    """Take out of `table`, with where they belong, keys of the tables in it."""
    for inner, keys in (("limits", LimitSettings), ("tls", TlsKeys)):
        for name in sorted(table.keys() & {key.name for key in keys_of(keys)}):
            findings.mistake(below("http", name), f"belongs into [http.{inner}]; move it there")
            del table[name]


_NONE: Final = 'names no address; write one such as "127.0.0.1:8000"'


def _expect_plain_numbers(table: dict[str, Any], findings: Findings) -> None:
    """Take out of `table`, with their remedies, values that are written as people think of them and TOML does not."""
    mode = table.get("socket_mode")
    if isinstance(mode, str) and not isinstance(mode, Expanded) and (meant := _OCTAL.fullmatch(mode)):
        message = f"expected an integer, found the string {quoted(mode)}; write 0o{meant['digits']}"
        findings.mistake("http.socket_mode", message)
        del table["socket_mode"]
    share = table.get("access_log")
    if isinstance(share, bool):
        message = f"expected a number, found {described(share)}; write {'1' if share else '0'}"
        findings.mistake("http.access_log", message)
        del table["access_log"]
