"""The table ``[http.limits]``: the bounds that connections and requests live within."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from statusd.config.common import within
from statusd.config.findings import Findings
from statusd.config.schema import structure
from statusd.config.wording import below, one_of
from statusd.plugin.options import option

PATH: Final = "http.limits"
MAX_CONNECTIONS: Final = 1_000_000
"""Above the descriptors that Linux gives a process unless told otherwise (fs.nr_open, proc(5))."""
MIN_HEADER: Final = 1024
MAX_HEADER: Final = 1024 * 1024
"""Bytes; below the least no browser is served, and each connection may take the most."""
MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes."""
MAX_REQUESTS: Final = 1_000_000_000
MIN_SECONDS: Final = 0.1
MAX_SECONDS: Final = 3_600.0
"""An hour."""


def _whole(least: int, most: int, unit: str) -> Callable[[object, object, int | None], None]:
    """Return a validator that wants None or `least` to `most` of `unit`."""

    def validate(_instance: object, _attribute: object, number: int | None) -> None:
        if number is not None and not least <= number <= most:
            raise ValueError(f"is out of range; expected {least} to {most} {unit}")

    return validate


_connections: Final = _whole(1, MAX_CONNECTIONS, "connections")
_seconds: Final = within(MIN_SECONDS, MAX_SECONDS)


@attrs.frozen(kw_only=True)
class LimitSettings:
    """The table ``[http.limits]``; None where the default depends on how many descriptors the process may have."""

    connections: int | None = option(
        None,
        help="Connections at a time; half of the descriptors that statusd may have if not set.",
        validator=_connections,
    )
    connections_per_peer: int = option(
        0,
        help="Connections at a time from one address; 0 = no bound: a load balancer is one address.",
        validator=_whole(0, MAX_CONNECTIONS, "connections, 0 for no bound"),
    )
    reserved: int = option(
        32,
        help="How many of `connections` only the probe endpoints are answered on, once all others are taken.",
        validator=_connections,
    )
    streams: int | None = option(
        None,
        help="Event streams at a time; half of `connections` if not set.",
        validator=_whole(1, MAX_CONNECTIONS, "event streams"),
    )
    waiting: int | None = option(
        None,
        help="Requests at a time that wait for news or for a probe; a quarter of `connections` if not set.",
        validator=_whole(1, MAX_CONNECTIONS, "requests"),
    )
    header_bytes: int = option(
        16 * 1024,
        help="Bytes of request line and header fields that are always taken; beyond them the answer is 431.",
        validator=_whole(MIN_HEADER, MAX_HEADER, "bytes"),
    )
    body_bytes: int = option(
        64 * 1024,
        help="Bytes of a request's body beyond which the answer is 413; no endpoint reads one.",
        validator=_whole(1, MAX_BODY, "bytes"),
    )
    requests: int = option(
        100_000,
        help="Requests after which a connection is closed.",
        validator=_whole(1, MAX_REQUESTS, "requests"),
    )
    handshake_timeout: float = option(5.0, help="Seconds for the TLS handshake.", validator=_seconds)
    header_timeout: float = option(
        5.0,
        help="Seconds from connecting, or from a request's first byte, to its complete header.",
        validator=_seconds,
    )
    body_timeout: float = option(
        5.0, help="Seconds for a request's body after its header; then the answer is 408.", validator=_seconds
    )
    request_timeout: float = option(
        90.0,
        help="Seconds from a request's complete header to the end of its answer; event streams are exempt.",
        validator=_seconds,
    )
    idle_timeout: float = option(
        15.0, help="Seconds between two requests of a connection.", validator=_seconds
    )
    send_timeout: float = option(
        5.0, help="Seconds in which the client must take each 64 KiB of an answer.", validator=_seconds
    )


def read_limits(table: Mapping[str, object], findings: Findings) -> LimitSettings:
    """Return what the table ``[http.limits]`` says; what is wrong goes into `findings`.

    Args:
        table: what the file says.
        findings: takes mistakes.
    """
    before = len(findings.mistakes)
    options = structure(LimitSettings, table, PATH, findings)
    if len(findings.mistakes) > before:
        return LimitSettings()
    limits = LimitSettings(**options)
    _expect_room(limits, findings)
    _expect_time(limits, findings)
    return limits


def _expect_room(limits: LimitSettings, findings: Findings) -> None:
    """Want connections that are left when all that may be held for long is."""
    if limits.connections is None:
        return
    held = {"streams": limits.streams, "waiting": limits.waiting, "reserved": limits.reserved}
    taken = sum(number for number in held.values() if number is not None)
    if taken < limits.connections:
        return
    parts = [f"{name} ({number})" for name, number in held.items() if number is not None]
    findings.mistake(
        below(PATH, "connections"),
        f"{limits.connections} leaves no room beside {_and(parts)}; "
        f"write at least {taken + 1}, or lower {_those(parts)}",
    )


def _expect_time(limits: LimitSettings, findings: Findings) -> None:
    """Want time in which an answer may wait for news and for probes, and still be sent."""
    least = limits.body_timeout + limits.send_timeout
    if limits.request_timeout > least:
        return
    findings.mistake(
        below(PATH, "request_timeout"),
        f"{limits.request_timeout:.10g} leaves no time beside body_timeout ({limits.body_timeout:.10g}) and "
        f"send_timeout ({limits.send_timeout:.10g}); write more than {least:.10g}, or lower those",
    )


def _and(parts: list[str]) -> str:
    return one_of(parts).replace(" or ", " and ")


def _those(parts: list[str]) -> str:
    return "those" if len(parts) > 1 else "that"
