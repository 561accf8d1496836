"""Tells systemd how the daemon is doing: sd_notify(3), one datagram of ``KEY=value`` lines."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final

STATUS_BYTES: Final = 1024
"""Bytes of STATUS at most; systemd drops a whole datagram above 4096."""


class Notifier:
    """Sends states to the service manager; does nothing where there is none, never blocks and never raises.

    A message that the manager's full queue does not take is kept, and goes out with the next one.

    Args:
        environ: the environment; ``NOTIFY_SOCKET`` holds a path, or ``@`` and an abstract name (unix(7)).
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._unsent: dict[str, str] = {}

    @property
    def is_enabled(self) -> bool:
        """Whether a service manager listens for states."""
        return self._address is not None

    def ready(self, status: str) -> bool:
        """Say that the sockets listen and the daemon serves; systemd then counts the service as started.

        Args:
            status: one sentence for ``systemctl status``.

        Returns:
            False when it is kept because the queue is full: call any method again later.
        """
        return self._send({"READY": "1", "STATUS": one_line(status)})

    def status(self, text: str) -> bool:
        """Show one sentence in ``systemctl status``; returns as `ready` does."""
        return self._send({"STATUS": one_line(text)})

    def stopping(self) -> bool:
        """Say that the stop has begun; returns as `ready` does."""
        return self._send({"STOPPING": "1"})

    def errno(self, number: int, status: str) -> bool:
        """Say why the daemon is about to fail; returns as `ready` does.

        Args:
            number: as in errno(3).
            status: one sentence for ``systemctl status``.
        """
        return self._send({"ERRNO": str(number), "STATUS": one_line(status)})

    def _send(self, states: Mapping[str, str]) -> bool:
        if self._address is None:
            return True
        self._unsent.update(states)
        payload = "\n".join(f"{key}={value}" for key, value in self._unsent.items()).encode()
        try:
            # A socket for each message, unconnected: it survives a re-executed manager and holds no descriptor.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendmsg([payload], [], socket.MSG_NOSIGNAL, self._address)
        except BlockingIOError:
            return False
        except OSError:
            # No manager listens any more, or there is no descriptor left: nobody to tell, and no reason to fail.
            return False
        self._unsent.clear()
        return True


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
