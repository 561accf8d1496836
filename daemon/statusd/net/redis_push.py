"""Listening to a Redis server that announces changes of keys: what is said on that connection, and in which time.

Client tracking in broadcasting mode (Redis 6 and later, and its kin):
https://redis.io/docs/latest/develop/reference/client-side-caching/. It needs nothing set up in the server, unlike
keyspace notifications. The server does not tell databases apart, so none is selected: a key of the same name in
another one is announced too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

import attrs

from statusd.errors import ProbeError
from statusd.net.redis_frames import Frame, FrameReader
from statusd.net.redis_replies import unauthorized, unavailable
from statusd.net.redis_wire import Wire

HEARTBEAT: Final = 5.0
"""Seconds from an answered PING to the next one. A connection that died without a word (a frozen server, a firewall
that forgot it) is noticed after these and the timeout; polling covers what is missed meanwhile."""

MAX_BEAT_BYTES: Final = 2 << 20
"""Bytes a server may send from one PING to the next: some 5,000 announcements a second, and at worst a sixth of a core
to read. Reading more slowly instead would make the server keep them in its memory; polling is better then."""

_UNAUTHORIZED: Final = frozenset({b"NOAUTH", b"WRONGPASS", b"DENIED"})
_UNAVAILABLE: Final = frozenset({b"LOADING", b"BUSY", b"MASTERDOWN", b"CLUSTERDOWN", b"TRYAGAIN"})


def prefixes(keys: Collection[bytes]) -> list[bytes]:
    """Return the shortest of `keys`, such that each key begins with exactly one; servers refuse overlapping ones."""
    found: list[bytes] = []
    for key in sorted(set(keys)):  # what a key begins with sorts before it, with nothing else between
        if not found or not key.startswith(found[-1]):
            found.append(key)
    return found


def encoded(*parts: bytes) -> bytes:
    """Return a command as it is sent."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


@attrs.define(eq=False)
class Listener:
    """One conversation with a server; every method blocks, and raises `ProbeError` when it cannot go on.

    Attributes:
        wire: the connection, just opened.
        peer: the server's name, for messages.
        keys: whose changes to hear of.
        changed: called when one of them was announced, perhaps once for several announcements.
    """

    wire: Wire
    peer: str
    keys: Collection[bytes]
    changed: Callable[[], None]
    _reader: FrameReader = attrs.field(
        default=attrs.Factory(lambda self: FrameReader(self.peer), takes_self=True), init=False
    )
    _frames: deque[Frame] = attrs.field(factory=deque, init=False)
    _received: int = attrs.field(default=0, init=False)  # bytes since the last command

    def begin(self, username: bytes, password: bytes, deadline: float) -> None:
        """Log in, and ask for announcements.

        Args:
            username: or empty.
            password: or empty; without either, nobody logs in.
            deadline: on the clock of ``time.monotonic``, for all of it.
        """
        # HELLO needs a name: without one the password is that of the user "default".
        credentials = (b"AUTH", username or b"default", password) if username or password else ()
        greeting = self._ask(deadline, b"HELLO", b"3", *credentials)
        if greeting.is_error:
            raise self._refused(greeting)
        if greeting.kind != b"%":  # RESP2 would give a list
            raise self._unable()
        wanted = [part for prefix in prefixes(self.keys) for part in (b"PREFIX", prefix)]
        answer = self._ask(deadline, b"CLIENT", b"TRACKING", b"ON", b"BCAST", *wanted)
        if answer.is_error:
            raise self._refused(answer)

    def listen(self, timeout: float, until: float) -> None:
        """Call `changed` at once, and after each announcement of one of the keys, until it is time to end.

        Args:
            timeout: seconds for the answer to a PING.
            until: when to end, on the clock of ``time.monotonic``; at the next heartbeat after it.
        """
        self.changed()
        while time.monotonic() < until:
            if self._reply(time.monotonic() + HEARTBEAT) is not None:
                raise ProbeError(
                    "protocol_error", f"{self.peer} sends replies to commands that were never sent."
                )
            # Any answer will do: a user who may not PING is told so by a server that lives.
            self._ask(time.monotonic() + timeout, b"PING")

    def _ask(self, deadline: float, *command: bytes) -> Frame:
        self._received = 0
        self.wire.deadline = deadline
        self.wire.sendall(encoded(*command))
        reply = self._reply(deadline)
        if reply is None:
            raise ProbeError("timeout", f"{self.peer} gave no complete answer in time.")
        return reply

    def _reply(self, until: float) -> Frame | None:
        """Hear announcements until a reply comes, and return it; None when none has come by `until`."""
        while True:
            while self._frames:
                frame = self._frames.popleft()
                if not frame.is_push:
                    return frame
                if self._concerns(frame):
                    self.changed()
            data = self.wire.receive(until)
            if not data:
                return None
            self._received += len(data)
            if self._received > MAX_BEAT_BYTES:
                raise ProbeError("too_large", f"{self.peer} announces more changes than can be listened to.")
            self._frames.extend(self._reader.feed(data))

    def _concerns(self, push: Frame) -> bool:
        match push.value:
            case [b"invalidate", None]:  # all keys of the server went
                return True
            case [b"invalidate", [*names]]:  # of each prefix, so others may be among them
                return any(name in self.keys for name in names if isinstance(name, bytes))
        return False  # of another kind: clients are told to pass over what they do not know

    def _refused(self, reply: Frame) -> ProbeError:
        text = reply.value if isinstance(reply.value, bytes) else b""
        word = text.partition(b" ")[0]
        if word == b"NOPERM":
            return ProbeError(
                "unauthorized", f"{self.peer} does not let this user listen: allow it +client|tracking."
            )
        if word in _UNAUTHORIZED:
            return unauthorized(self.peer)
        if word in _UNAVAILABLE or b"max number of clients" in text:
            return unavailable(self.peer)
        return self._unable()

    def _unable(self) -> ProbeError:
        return ProbeError(
            "unexpected_answer",
            f"{self.peer} does not announce changes: Redis does from version 6 on (client tracking).",
        )
