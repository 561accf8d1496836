"""The table ``[http]``: where statusd listens, and how often requests may have sources probed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from statusd.config.common import within
from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN
from statusd.config.schema import structure
from statusd.config.wording import described, item, quoted, shown
from statusd.plugin.options import option
from statusd.values import Bind

DEFAULT_BIND: Final = Bind(host="127.0.0.1", port=8000)
DEFAULT_REFRESH_FLOOR: Final = 1.0
MIN_REFRESH_FLOOR: Final = 0.1
MAX_REFRESH_FLOOR: Final = 3_600.0
"""Seconds; an hour."""


@attrs.frozen(kw_only=True)
class HttpKeys:
    """The keys of ``[http]``, as the file has them."""

    bind: tuple[str, ...] = option(
        (str(DEFAULT_BIND),), help="Addresses to listen on; `--bind` replaces them."
    )
    refresh_floor: float = option(
        DEFAULT_REFRESH_FLOOR,
        help="Seconds that pass at least between two probes of one source that requests ask for.",
        validator=within(MIN_REFRESH_FLOOR, MAX_REFRESH_FLOOR),
    )


@attrs.frozen(kw_only=True)
class HttpSettings:
    """The table ``[http]``.

    Attributes:
        bind: the addresses to listen on.
        refresh_floor: seconds between two probes of a source that requests ask for.
    """

    bind: tuple[Bind, ...] = (DEFAULT_BIND,)
    refresh_floor: float = DEFAULT_REFRESH_FLOOR


def read_http(
    table: Mapping[str, object], findings: Findings, bind: Iterable[str] | None = None
) -> HttpSettings:
    """Return what the table ``[http]`` says; what is wrong goes into `findings`.

    Args:
        table: what the file says.
        findings: takes mistakes.
        bind: addresses that replace those of the table.
    """
    # Addresses have messages of their own.
    others = structure(HttpKeys, {k: v for k, v in table.items() if k != "bind"}, "http", findings)
    read = HttpSettings(bind=_configured(table.get("bind", BROKEN), findings), **others)
    return read if bind is None else attrs.evolve(read, bind=_binds(bind, "--bind", findings))


def _configured(bind: object, findings: Findings) -> tuple[Bind, ...]:
    if isinstance(bind, list):
        return _binds(bind, "http.bind", findings) or (DEFAULT_BIND,)
    if bind is not BROKEN:
        remedy = f"; write [{shown(bind)}]" if isinstance(bind, str) else ""
        findings.mistake("http.bind", f"expected an array of strings, found {described(bind)}{remedy}")
    return (DEFAULT_BIND,)


def _binds(entries: Iterable[object], path: str, findings: Findings) -> tuple[Bind, ...]:
    binds: list[Bind] = []
    entries = list(entries)
    if not entries:
        findings.mistake(path, 'names no address; write one such as "127.0.0.1:8000"')
    for index, entry in enumerate(entries):
        where = item(path, index)
        if entry is BROKEN:
            continue
        if not isinstance(entry, str):
            findings.mistake(where, f"expected a string, found {described(entry)}")
            continue
        try:
            bind = Bind.parse(str(entry)[:4096])
        except ValueError as error:
            findings.mistake(where, f"{quoted(entry)} {error}")
            continue
        if bind in binds and bind.port != 0:
            findings.mistake(where, f"{quoted(entry)} is listed twice; remove one")
        binds.append(bind)
    return tuple(binds)
