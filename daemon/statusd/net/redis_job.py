"""What is asked of a Redis server: whom, and one command on its way."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
import trio

from statusd.net.tls import TlsTarget
from statusd.net.trace import Trace
from statusd.values import Secret

Address: TypeAlias = tuple[int, Any]
"""An address family and a socket address."""


@attrs.frozen(kw_only=True)
class Target:
    """A server as whom, and as which of its databases, to ask.

    Attributes:
        host: name or IP address; what a certificate must be for.
        port: of TCP.
        path: of a Unix socket; ``""`` for TCP.
        is_tls: whether TLS is spoken.
        database: its number.
        username: of the ACL user, or empty.
        password: or empty.
        ca_file: PEM file with the authorities to trust; ``""`` for the system's.
    """

    host: str
    port: int
    path: str
    is_tls: bool
    database: int
    username: Secret
    password: Secret
    ca_file: str

    @property
    def peer(self) -> str:
        """The server's name, for messages."""
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def username_bytes(self) -> bytes:
        """The user name as it is sent."""
        return _encoded(self.username)

    @property
    def password_bytes(self) -> bytes:
        """The password as it is sent."""
        return _encoded(self.password)


def _encoded(secret: Secret) -> bytes:
    # As bytes, because a text that cannot be encoded would end up in the exception's text.
    return secret.reveal().encode("utf-8", "surrogateescape")


@attrs.define(eq=False, kw_only=True)
class Job:
    """One command on its way through a server's thread.

    Attributes:
        command: its name and arguments.
        trace: where to note what happens, until the job is abandoned.
        deadline: on the clock of ``time.monotonic``.
        addresses: where to connect if need be; empty when not known yet.
        tls: whom to expect there, with TLS.
    """

    command: tuple[str | bytes | int, ...]
    trace: Trace
    deadline: float
    addresses: Sequence[Address] = ()
    tls: TlsTarget | None = None
    reply: Any = attrs.field(default=None, init=False)
    error: Exception | None = attrs.field(default=None, init=False)
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token, init=False)
    is_abandoned: bool = attrs.field(default=False, init=False)

    def deliver(self) -> None:
        """Tell the waiting task, from the thread."""
        with contextlib.suppress(trio.RunFinishedError):  # nobody is left to tell
            self.token.run_sync_soon(self.done.set)


class NotConnectedError(Exception):
    """Raised for a job without addresses when there is no connection."""
