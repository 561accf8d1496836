"""The first bytes of an answer: is it HTTP at all?"""

from __future__ import annotations

from typing import Final

import attrs

from statusd.errors import ProbeError

_HTTP: Final = b"HTTP/1."
_TLS_ALERT: Final = b"\x15\x03"


@attrs.define(eq=False)
class Greeting:
    """Looks at the first bytes, since parsers are lenient or late with them.

    llhttp takes ``RTSP/`` and ``ICE/`` as well, and blank lines first; h11 waits for a whole header before it looks.
    """

    _where: str
    _seen: bytes = b""

    def take(self, data: bytes) -> None:
        """Take what came; only the first bytes matter.

        Raises:
            ProbeError: ``protocol_error``: it is not HTTP/1.
        """
        if len(self._seen) == len(_HTTP):
            return
        self._seen += data[: len(_HTTP) - len(self._seen)]
        if _HTTP.startswith(self._seen):
            return
        if self._seen.startswith(_TLS_ALERT):
            raise ProbeError("protocol_error", f"{self._where} speaks TLS there: use the scheme with TLS.")
        raise ProbeError(
            "protocol_error",
            f"{self._where} does not answer in HTTP/1: another kind of server listens there.",
        )
