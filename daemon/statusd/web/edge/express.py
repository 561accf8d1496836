"""The express way: what came with a new connection, and is its only request, is answered as it is accepted.

That takes no task, no deadline and no room, so many more of such clients are served; most health checks are some.
"""

from __future__ import annotations

import socket

import attrs

from statusd.web.access import is_probe
from statusd.web.edge.admission import Admission
from statusd.web.edge.plain import READ
from statusd.web.edge.shared import Edge


@attrs.frozen(kw_only=True)
class Express:
    """Answers at once what can be.

    Attributes:
        edge: has what answers, and counts.
        admission: knows for whom there is room: only probe endpoints are answered to anybody else.
        is_probes_only: whether it stands behind listeners for probe endpoints alone.
    """

    edge: Edge
    admission: Admission
    is_probes_only: bool

    def take(self, accepted: socket.socket, peer: str) -> tuple[bytes, bytes] | None:
        """Read what has come with a connection, and answer it when no more is to be done.

        Args:
            accepted: the connection, not blocking.
            peer: the address of the client; ``""`` when it has none.

        Returns:
            what was read, and is to be answered; and what is to be sent yet, as the only answer. None: it is closed.
        """
        front = self.edge.front_for(is_probes_only=self.is_probes_only)
        if front is None:
            return b"", b""
        try:
            data = accepted.recv(READ)
        except BlockingIOError:
            return b"", b""
        except OSError:
            data = b""
        if not data:  # it is gone, and has asked for nothing
            accepted.close()
            return None
        found = front.reply(data)
        if found is None:
            return data, b""
        reply, closes = found
        if is_probe(reply.asked.path):
            # In the reserve it would be the only request, too; and those who come together can take all of that.
            is_only = closes or self.admission.has_only_reserve
        else:
            is_only = closes and self.admission.has_room_for(peer)
        if not is_only:
            return data, b""
        if (
            reply.rest
        ):  # the kernel would take it whole, and keep it beyond every bound for whoever does not read
            return data, b""
        unsent = _sent(accepted, reply.closing)
        reply.count(self.edge.traffic, peer)
        if unsent:
            return b"", unsent
        # Without any delay: a client that says so sends no more, which could reset it (RFC 9112, section 9.6); another one
        # hardly ever does before it has the answer, and there is no place to wait for it in.
        accepted.close()
        return None


def _sent(accepted: socket.socket, data: bytes) -> bytes:
    """Send what of `data` the socket takes, and return the rest; none when nobody is there to take it."""
    try:
        return data[accepted.send(data) :]
    except BlockingIOError:
        return data
    except OSError:
        return b""
