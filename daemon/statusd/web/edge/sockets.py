"""The sockets to listen on: opened all or none, and opened anew for other addresses while the old ones listen still."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import trio

from statusd.errors import StartError
from statusd.socket_files import SocketFile
from statusd.values import Bind
from statusd.web.edge import opening

SOCKET_MODE: Final = 0o666
"""File mode of a Unix socket: everyone on this host may connect, as to a loopback port; its directory can narrow that."""

SO_BINDTOIFINDEX: Final = 62
"""Option of Linux from 5.1 on; Python has no name for it before 3.14."""
NO_INTERFACE: Final = 0x7FFFFFFE
"""Index of a network interface that there is not."""

_Wanted: TypeAlias = tuple[Bind, bool]
"""An address, and whether it is for probe endpoints alone."""


@attrs.define(eq=False, kw_only=True)
class Listener:
    """A socket that listens.

    Attributes:
        accepting: accepts connections.
        address: where, as people write it: ``http://127.0.0.1:8000``, ``https://...``, ``unix:/run/statusd/http.sock``
            or ``tls:unix:/...``.
        bind: for which address it was opened, or None.
        path: of a Unix socket that `close` removes, or None.
        is_tls: whether clients must speak TLS there.
        is_probes_only: whether only the probe endpoints are served there.
        is_exposed: whether other hosts may reach it.
        is_inherited: whether another process opened it, and goes on listening when it is closed here.
    """

    accepting: trio.abc.Listener[trio.SocketStream]
    address: str
    bind: Bind | None = None
    path: Path | None = None
    is_tls: bool = False
    is_probes_only: bool = False
    is_exposed: bool = False
    is_inherited: bool = False
    _file: SocketFile | None = None

    def __attrs_post_init__(self) -> None:
        if self._file is None and self.path is not None:
            self._file = SocketFile(self.path)

    @property
    def socket(self) -> Any:
        """The socket itself; None where there is none, or none any more."""
        found = getattr(self.accepting, "socket", None)
        return None if found is None or found.fileno() < 0 else found

    @property
    def can_be_found(self) -> bool:
        """Whether clients can still come: the file of a Unix socket may be gone."""
        return self._file is None or self._file.is_ours

    def anew(self, bind: Bind, *, is_probes_only: bool) -> Listener:
        """Return a listener with the same socket, for `bind` at the same address."""
        return attrs.evolve(
            self,
            address=_address(self.socket, is_tls=bind.is_tls),
            bind=bind,
            is_tls=bind.is_tls,
            is_probes_only=is_probes_only,
        )

    def mute(self) -> bool:
        """Let nobody come any more, and those who have connected wait to be accepted; return whether it is so.

        Whom the address concerns besides is heard at once: a socket that listens at an overlapping address gets all
        that come from now on. It is not done to a socket that another process listens with, too.
        """
        sock = self.socket
        if sock is None or self.is_inherited:
            return False
        try:
            if sock.family == socket.AF_UNIX:
                if self._file is not None:
                    self._file.remove()
                sock.shutdown(socket.SHUT_RD)
            else:  # connections begin on an interface; handshakes that have begun are finished all the same
                sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
        except OSError:  # Linux before 5.7 wants CAP_NET_RAW
            return False
        return True

    async def close(self) -> None:
        """Stop listening; remove the Unix socket, unless another process has put its own there since."""
        if self._file is not None:
            self._file.remove()
        await trio.aclose_forcefully(self.accepting)


def open_listeners(
    binds: Sequence[Bind], probes: Sequence[Bind] = (), *, mode: int = SOCKET_MODE
) -> list[Listener]:
    """Open a listening socket for each of `binds`, then of `probes`; all of them or none.

    Args:
        binds: where everything is served.
        probes: where only the probe endpoints are.
        mode: file mode of Unix sockets that are made.

    Raises:
        StartError: with the address, the cause and the remedy.
    """
    return reopen((), binds, probes, mode=mode)


def reopen(
    old: Sequence[Listener],
    binds: Sequence[Bind],
    probes: Sequence[Bind] = (),
    *,
    mode: int = SOCKET_MODE,
) -> list[Listener]:
    """Return a listener for each of `binds`, then of `probes`: with the socket of `old` that has the address, or a new one.

    Those of `old` are left as they are, and go on listening also where a new address overlaps theirs: clients may come
    to either from now on. Hand the result to `Server.change`, with nothing in between that may fail.

    Args:
        old: what listens now.
        binds: where everything is to be served.
        probes: where only the probe endpoints are.
        mode: file mode of Unix sockets.

    Raises:
        StartError: with the address, the cause and the remedy; then nothing has been opened.
    """
    wanted = [*((bind, False) for bind in binds), *((bind, True) for bind in probes)]
    kept = _kept(old, wanted)
    going = [one for one in old if not any(one is other for other in kept.values())]
    missing = [(index, bind) for index, (bind, _) in enumerate(wanted) if index not in kept]
    opened = _opened(missing, old, going, mode)
    try:
        for one in kept.values():
            if one.path is not None:
                opening.set_mode(one.path, mode)
    except BaseException:
        for index, bind in missing:
            opening.give_back(bind, opened[index])
        raise
    return [
        kept[index].anew(bind, is_probes_only=is_probes_only)
        if index in kept
        else _listener(bind, opened[index], is_probes_only=is_probes_only)
        for index, (bind, is_probes_only) in enumerate(wanted)
    ]


def _kept(old: Sequence[Listener], wanted: Sequence[_Wanted]) -> dict[int, Listener]:
    """Return which of `wanted`, by index, has which of `old`: the more alike, the sooner."""
    alike: tuple[Callable[[Listener, Bind, bool], bool], ...] = (
        lambda one, bind, is_probes_only: one.bind == bind and one.is_probes_only is is_probes_only,
        lambda one, bind, _: one.bind is not None and one.bind.plain == bind.plain,
        lambda one, bind, _: bind.plain == _real(one.socket),
    )
    left = [one for one in old if one.socket is not None and one.can_be_found]
    kept: dict[int, Listener] = {}
    for is_alike in alike:
        for index, (bind, is_probes_only) in enumerate(wanted):
            found = next((one for one in left if is_alike(one, bind, is_probes_only)), None)
            if found is not None and index not in kept:
                kept[index] = found
                left.remove(found)
    return kept


def _opened(
    missing: Sequence[tuple[int, Bind]], old: Sequence[Listener], going: Sequence[Listener], mode: int
) -> Mapping[int, socket.socket]:
    """Return a new socket for each of `missing`, by index; all of them have their address before one listens."""
    ours = {one.socket.fileno() for one in old if one.socket is not None}
    for _, bind in missing:
        if bind.fd in ours:  # the number was free once, and is another socket's now
            raise StartError(f"{bind} is in use by statusd itself; name a socket that was handed over")
    yielding = {index: [one.socket for one in going if _overlaps(bind, one)] for index, bind in missing}
    bound: dict[int, socket.socket] = {}
    try:
        for index, bind in missing:
            bound[index] = opening.bound(bind, mode, yielding[index])
        # Those to whom clients would come from an old one are the last: nothing fails once somebody may have come.
        for index, bind in sorted(missing, key=lambda one: bool(yielding[one[0]])):
            opening.listen(bind, bound[index], yielding[index])
    except BaseException:
        for index, bind in missing:
            if index in bound:
                opening.give_back(bind, bound[index])
        raise
    return bound


def _overlaps(bind: Bind, going: Listener) -> bool:
    """Whether one of both is the wildcard address to the other's port; a socket handed over never yields."""
    there = None if going.is_inherited or going.socket is None else _real(going.socket)
    if there is None or not there.host or not bind.host or not bind.port or there.port != bind.port:
        return False
    mine, theirs = ipaddress.ip_address(bind.host), ipaddress.ip_address(there.host)
    return mine.version == theirs.version and mine.is_unspecified is not theirs.is_unspecified


def _listener(bind: Bind, sock: socket.socket, *, is_probes_only: bool) -> Listener:
    return Listener(
        accepting=trio.SocketListener(trio.socket.from_stdlib_socket(sock)),
        address=_address(sock, is_tls=bind.is_tls),
        bind=bind,
        path=Path(bind.path) if bind.path else None,
        is_tls=bind.is_tls,
        is_probes_only=is_probes_only,
        is_exposed=_is_exposed(sock),
        is_inherited=bind.fd is not None,
    )


def _real(sock: Any) -> Bind | None:
    """Return the address of `sock`, which the system may have chosen; None for a Unix socket without a path."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Bind(path=name) if isinstance(name, str) and name else None
    return Bind(host=name[0], port=name[1])


def _address(sock: Any, *, is_tls: bool) -> str:
    name = sock.getsockname()
    scheme = "https" if is_tls else "http"
    if sock.family == socket.AF_INET:
        return f"{scheme}://{name[0]}:{name[1]}"
    if sock.family == socket.AF_INET6:
        return f"{scheme}://[{name[0]}]:{name[1]}"
    prefix = "tls:unix:" if is_tls else "unix:"
    if isinstance(name, bytes):  # abstract: a name after a zero byte (man 7 unix)
        return f"{prefix}@{name[1:].decode(errors='replace')}"
    return f"{prefix}{name}"


def _is_exposed(sock: socket.socket) -> bool:
    """Whether other hosts may reach it; the wildcard address is each of this host's."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    address = ipaddress.ip_address(sock.getsockname()[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (mapped or address).is_loopback
