"""Sockets that systemd listens on and hands over, sd_listen_fds(3), and what is served on which of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

import attrs

from statusd.errors import StartError
from statusd.values import Bind

FIRST: Final = 3
"""The first descriptor that is handed over; 0 to 2 are the standard streams."""
MOST: Final = 1024
"""Descriptors that are looked at; more is no socket unit but a mistake."""
UNNAMED: Final = "unknown"
"""Name of a socket of which ``LISTEN_FDNAMES`` does not speak, as in sd_listen_fds(3)."""
VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")

_PROBES: Final = frozenset({"probes", "probes-https"})
"""Names of sockets where only the probe endpoints are served."""
_TLS: Final = frozenset({"https", "probes-https"})
"""Names of sockets where clients must speak TLS."""
_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6, socket.AF_UNIX})


@attrs.frozen
class Inherited:
    """A listening socket that systemd handed over.

    Attributes:
        fd: the descriptor.
        name: as ``FileDescriptorName=`` of the socket unit says, or else the unit's own name.
    """

    fd: int
    name: str

    @property
    def bind(self) -> Bind:
        """The address that this socket is: with TLS where its name says so."""
        return Bind(fd=self.fd, is_tls=self.name in _TLS)


def inherited(environ: Mapping[str, str]) -> tuple[Inherited, ...]:
    """Return the sockets that were handed to this process, and keep them from the programs that it will run.

    Ask once, before anything else opens descriptors; `forget` the variables then.

    Args:
        environ: the environment; ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES``.

    Raises:
        StartError: when one of them is no listening stream socket, or the variables contradict each other.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    count = _count(environ.get("LISTEN_FDS", ""))
    names = environ["LISTEN_FDNAMES"].split(":") if environ.get("LISTEN_FDNAMES") else [UNNAMED] * count
    if len(names) != count:
        raise StartError(
            f"LISTEN_FDNAMES has {len(names)} names for {count} sockets (LISTEN_FDS); "
            "have systemd set both, by a socket unit"
        )
    found = tuple(Inherited(FIRST + index, name) for index, name in enumerate(names))
    for one in found:
        _expect_listening(one)
        os.set_inheritable(one.fd, False)
    return found


def forget(environ: MutableMapping[str, str]) -> None:
    """Take out of `environ` what speaks of sockets: they are this process's, no other program's.

    Args:
        environ: ``os.environ``, or a copy for a program to run with.
    """
    for name in VARIABLES:
        environ.pop(name, None)


def activated(
    passed: Sequence[Inherited], bind: Sequence[Bind], probes: Sequence[Bind], *, has_certificate: bool
) -> tuple[tuple[Bind, ...], tuple[Bind, ...]]:
    """Return where everything is served, and where the probe endpoints alone, given what was handed over.

    Sockets that were handed over take the place of what is configured: those named ``probes`` or ``probes-https`` of
    `probes`, all others of `bind`; those named ``https`` or ``probes-https`` speak TLS. A socket that the configuration
    itself names as ``fd://N`` is served as it says there, and takes no other address's place.

    Args:
        passed: what `inherited` returned.
        bind: the addresses of ``[http] bind``, or of ``--bind``.
        probes: the addresses of ``[http] bind_probes``.
        has_certificate: whether there is a table ``[http.tls]``.

    Raises:
        StartError: when a socket is to speak TLS and there is no certificate, or when only such as do not would stand
            for addresses that all do: what was to be encrypted must not go out in the clear by an oversight.
    """
    named = {one.fd for one in (*bind, *probes) if one.fd is not None}
    free = [one for one in passed if one.fd not in named]
    for one in free:
        if one.name in _TLS and not has_certificate:
            raise StartError(
                f"the socket that systemd passed as {one.name} wants a certificate; add the table [http.tls] with "
                "the keys certificate and key, or give the socket another FileDescriptorName="
            )
    return (
        _in_place_of(bind, [one for one in free if one.name not in _PROBES], "https"),
        _in_place_of(probes, [one for one in free if one.name in _PROBES], "probes-https"),
    )


def _in_place_of(configured: Sequence[Bind], passed: Sequence[Inherited], secure: str) -> tuple[Bind, ...]:
    replaced = [one for one in configured if one.fd is None] if passed else []
    if replaced and all(one.is_tls for one in replaced) and not any(one.bind.is_tls for one in passed):
        raise StartError(
            f"the socket that systemd passed as {passed[0].name} would serve in the clear in the place of {replaced[0]}; "
            f"set FileDescriptorName={secure} in its socket unit, or take the address out of the configuration"
        )
    return (*(one.bind for one in passed), *(one for one in configured if one not in replaced))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6 or int(text) > MOST:
        raise StartError(
            f"LISTEN_FDS is no number from 0 to {MOST}; have systemd set it, by a socket unit, or unset LISTEN_PID"
        )
    return int(text)


def _expect_listening(one: Inherited) -> None:
    where = f"the socket that systemd passed as {one.name} (fd {one.fd})"
    try:
        sock = socket.socket(fileno=one.fd)
    except OSError as error:
        raise StartError(
            f"{where} is no open socket; pass one with ListenStream= in a socket unit"
        ) from error
    try:
        is_stream = sock.type == socket.SOCK_STREAM and sock.family in _FAMILIES
        is_listening = is_stream and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    finally:
        sock.detach()  # it stays open: `fd` is what is handed on
    if not is_stream:
        raise StartError(
            f"{where} carries no streams; pass one with ListenStream= in its socket unit, "
            "not ListenDatagram= or ListenSequentialPacket="
        )
    if not is_listening:
        raise StartError(f"{where} does not listen; set ListenStream= and Accept=no in its socket unit")
