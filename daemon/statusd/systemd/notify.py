"""Tells systemd how the daemon is doing: sd_notify(3), one datagram of ``KEY=value`` lines."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

STATUS_BYTES: Final = 1024
"""Bytes of STATUS at most; systemd drops a whole datagram above 4096."""
LONGEST_EXTENSION: Final = 86_400.0
"""Seconds by which a timeout is extended at most: a day."""

_ORDER: Final = ("RELOADING", "MONOTONIC_USEC", "READY", "STOPPING", "ERRNO", "STATUS")
"""Of what is kept until it could be sent.

Up to version 252 systemd heeds the last of RELOADING, READY and STOPPING in a datagram; from 253 on STOPPING goes before
READY, and RELOADING with READY is a reload that has ended. In this order both come to the same end.
"""


class Notifier:
    """Sends states to the service manager; does nothing where there is none, never blocks and never raises.

    What the manager's full queue does not take is kept, and goes out with the next message, or by `resend`: always what
    is true by then, never what has been overtaken. A ping for the watchdog and a longer timeout are about the moment, so
    they are not kept.

    Args:
        environ: the environment; ``NOTIFY_SOCKET`` holds a path, or ``@`` and an abstract name (unix(7)).
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._unsent: dict[str, str] = {}
        self._is_stopping = False

    @property
    def is_enabled(self) -> bool:
        """Whether a service manager listens for states."""
        return self._address is not None

    def ready(self, status: str) -> bool:
        """Say that the daemon serves: systemd then counts it as started, or a reload as ended.

        After `stopping` this says nothing, since a stop cannot be taken back.

        Args:
            status: one sentence for ``systemctl status``.

        Returns:
            False when it is kept because the queue is full: call any method again later.
        """
        if self._is_stopping:
            return True
        return self._send({"READY": "1", "STATUS": one_line(status)})

    def reloading(self) -> bool:
        """Say that a reload begins now; `ready` must follow, also when it failed. After `stopping` this says nothing.

        systemd 253 and later match it, by its time on the monotonic clock, with the reload that it asked for.

        Returns:
            as `ready` does.
        """
        if self._is_stopping:
            return True
        self._unsent.pop("READY", None)  # of before: what is true now is that it reloads
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send({"RELOADING": "1", "MONOTONIC_USEC": str(microseconds)})

    def status(self, text: str) -> bool:
        """Show one sentence in ``systemctl status``; returns as `ready` does."""
        return self._send({"STATUS": one_line(text)})

    def stopping(self) -> bool:
        """Say that the stop has begun; returns as `ready` does."""
        self._is_stopping = True
        for overtaken in ("READY", "RELOADING", "MONOTONIC_USEC"):
            self._unsent.pop(overtaken, None)
        return self._send({"STOPPING": "1"})

    def errno(self, number: int, status: str) -> bool:
        """Say why the daemon is about to fail; returns as `ready` does.

        Args:
            number: as in errno(3).
            status: one sentence for ``systemctl status``.
        """
        return self._send({"ERRNO": str(number), "STATUS": one_line(status)})

    def watchdog(self) -> bool:
        """Say that the daemon makes progress; see `watchdog_interval` for how often. False: not sent, and not kept."""
        return self._send({}, "WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for time to start or to stop beyond the unit's timeout. False: not sent, and not kept.

        Args:
            seconds: from now, within which this is said again, or the start or stop ends; a day at most.
        """
        bounded = min(max(0.0, seconds), LONGEST_EXTENSION)  # in this order NaN is 0, too
        return self._send({}, f"EXTEND_TIMEOUT_USEC={round(bounded * 1_000_000)}")

    def resend(self) -> bool:
        """Send what could not be sent before; True when nothing is left."""
        return not self._unsent or self._send({})

    def _send(self, states: Mapping[str, str], momentary: str = "") -> bool:
        if self._address is None:
            return True
        self._unsent.update(states)
        lines = [f"{key}={self._unsent[key]}" for key in _ORDER if key in self._unsent]
        payload = "\n".join([*lines, momentary] if momentary else lines).encode()
        try:
            # A socket for each message, unconnected: it survives a re-executed manager and holds no descriptor.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendmsg([payload], [], socket.MSG_NOSIGNAL, self._address)
        except OSError:
            # The queue is full, no manager listens any more, or there is no descriptor left: no reason to fail.
            return False
        self._unsent.clear()
        return True


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Return the seconds within which systemd wants a ping, sd_watchdog_enabled(3); None when it wants none.

    Args:
        environ: the environment; ``WATCHDOG_USEC``, and ``WATCHDOG_PID`` with the process that is meant.
    """
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isascii() or not text.isdigit() or len(text) > 20:  # 2**64 has 20 digits
        return None
    return int(text) / 1_000_000 or None


def one_line(text: str) -> str:
    """Return `text` as one line of at most `STATUS_BYTES` bytes of UTF-8, without control characters."""
    spaced = "".join(char if char.isprintable() else " " for char in text[: STATUS_BYTES * 4])
    line = " ".join(spaced.split())
    encoded = line.encode(errors="replace")
    if len(encoded) <= STATUS_BYTES:
        return encoded.decode()
    return encoded[: STATUS_BYTES - 3].decode(errors="ignore") + "…"


def _address(value: str) -> bytes | None:
    if len(value) < 2 or "\0" in value:
        return None
    if value.startswith("/"):
        return os.fsencode(value)
    if value.startswith("@"):
        return b"\0" + os.fsencode(value[1:])
    return None  # vsock: is for the manager of a virtual machine, never for a service inside it
