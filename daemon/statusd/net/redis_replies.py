"""What comes back from a Redis server: conversions, refusals, and short texts for the trace."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import redis
from redis import exceptions

from statusd.errors import ProbeError
from statusd.net.trace import Trace

_SECRET: Final = {b"AUTH", b"HELLO", b"ACL", b"CONFIG", b"MIGRATE", b"REPLICAOF", b"SENTINEL"}
_UNAVAILABLE: Final = (
    exceptions.BusyLoadingError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)


@functools.cache
def callbacks() -> Mapping[str, Callable[[Any], Any]]:
    """Return redis-py's conversions by command name, with a strict one for ``HGETALL``."""
    client = redis.Redis(protocol=2)  # never connects
    client.set_response_callback("HGETALL", _pairs)
    return client.response_callbacks


def _pairs(reply: Any) -> dict[bytes, bytes]:
    # redis-py's own takes null, a number or half a pair for an empty or shorter hash.
    if not isinstance(reply, list) or len(reply) % 2 or not all(isinstance(item, bytes) for item in reply):
        raise TypeError("not pairs of strings")
    return dict(zip(reply[::2], reply[1::2], strict=True))


def refusal(error: redis.RedisError, peer: str) -> ProbeError:
    """Return what an error reply, or a reply that is none, means for the probe of `peer`."""
    text = str(error)
    code = re.match(r"[A-Z]{2,20}(?= |$)", text)
    word = code.group() if code else "ERR"
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError) or word == "DENIED":
        return unauthorized(peer)
    if isinstance(error, exceptions.InvalidResponse):
        return ProbeError("protocol_error", f"{peer} does not answer as a Redis server does.")
    if "DB index" in text:
        return ProbeError(
            "unexpected_answer", f"{peer} has no database of that number: correct it in the URL."
        )
    if word == "WRONGTYPE":
        return ProbeError("wrong_type", f"{peer} holds another type of value under the key.")
    if isinstance(error, _UNAVAILABLE) or word == "BUSY" or "max number of clients" in text:
        return unavailable(peer)
    return ProbeError("unexpected_answer", f"{peer} answered with the error {word}.")


def unauthorized(peer: str) -> ProbeError:
    """Return what a refusal means that credentials could change."""
    return ProbeError(
        "unauthorized", f"{peer} refuses: user name, password or permission is missing or wrong."
    )


def unavailable(peer: str) -> ProbeError:
    """Return what a refusal means that time may change."""
    return ProbeError("unavailable", f"{peer} answers that it cannot serve now: it loads, or is overloaded.")


def may_hold_secret(command: Sequence[str | bytes | int]) -> bool:
    """Whether an argument of `command` may be a secret, which an error reply may then quote."""
    name = command[0] if isinstance(command[0], bytes) else str(command[0]).encode("utf-8", "replace")
    return len(command) > 1 and name.upper().split(b" ")[0] in _SECRET


def shown(command: Sequence[str | bytes | int]) -> bytes:
    """Return `command` as text for the trace, without what may be a secret."""
    parts = [part if isinstance(part, bytes) else str(part).encode("utf-8", "replace") for part in command]
    if may_hold_secret(parts):
        return parts[0] + b" ***"
    return b" ".join(parts)


def preview(reply: Any, trace: Trace) -> bytes:
    """Return the beginning of `reply` as text, about as much of it as `trace` keeps."""
    if not trace.is_recording:
        return b""
    pieces: list[bytes] = []
    left = trace.keep + 1
    stack = [reply]
    while stack and left > 0:
        item = stack.pop()
        if isinstance(item, list):
            pieces.append(b"[%d]" % len(item))
            stack.extend(reversed(item[:left]))
        else:
            pieces.append(item[:left] if isinstance(item, bytes) else str(item).encode("utf-8", "replace"))
        left -= len(pieces[-1]) + 1
    return b" ".join(pieces)
