"""The bounds that every connection lives within."""

from __future__ import annotations

import resource

import attrs


def half_of_descriptors() -> int:
    """Return half of the file descriptors this process may have (getrlimit(2)); the other half is the probes'."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 15 if soft == resource.RLIM_INFINITY else max(soft // 2, 1)


@attrs.frozen(kw_only=True)
class Limits:
    """What one connection may take; the defaults suit a status server, whose answers are small and ready.

    Attributes:
        header_bytes: request line and header fields that are always accepted; one read beyond is 431.
        body_bytes: request body beyond which the answer is 413; no endpoint reads one.
        header_timeout: seconds from connecting, or from a request's first byte, to its complete header.
        body_timeout: seconds for a request's body after its header; then 408.
        request_timeout: seconds from a request's complete header to the end of its answer; a long poll takes 60 of them.
            Event streams are exempt, as from the next two.
        send_timeout: seconds in which the client must take each 64 KiB of an answer.
        idle_timeout: seconds between two requests.
        linger_timeout: seconds in which unread input is drained after the last answer, so that closing does not
            reset the connection before the client has read it.
        handshake_timeout: seconds for the TLS handshake.
        streams: event streams at a time; half of `connections` if not given.
        waiting: requests that wait for news or for probes at a time; a quarter of `connections` if not given.
        requests: requests after which a connection is closed.
        connections: connections at a time; without a bound, clients could take the descriptors that probes need,
            and make every backend look away.
        connections_per_peer: connections at a time from one IP address; 0 = no bound, since a load balancer is one.
        reserved: how many of `connections` only the probe endpoints are answered on, once all others are taken; half
            of `connections` at most. Listeners for probe endpoints alone have as many again, of their own.
    """

    header_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    handshake_timeout: float = 5.0
    header_timeout: float = 5.0
    body_timeout: float = 5.0
    request_timeout: float = 90.0
    send_timeout: float = 5.0
    idle_timeout: float = 15.0
    linger_timeout: float = 1.0
    requests: int = 100_000
    connections: int = attrs.field(factory=half_of_descriptors)
    streams: int = attrs.field(
        default=attrs.Factory(lambda self: max(1, self.connections // 2), takes_self=True)
    )
    waiting: int = attrs.field(
        default=attrs.Factory(lambda self: max(1, self.connections // 4), takes_self=True)
    )
    connections_per_peer: int = 0
    reserved: int = 32

    @property
    def waiting_time(self) -> float:
        """Seconds that an answer may wait for news and for probes, so that it is sent before its time is over."""
        return max(0.0, self.request_timeout - self.body_timeout - self.send_timeout)
