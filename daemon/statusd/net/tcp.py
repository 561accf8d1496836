"""The TCP probe: does anything accept a connection there."""

from __future__ import annotations

import attrs

from statusd.net.names import Resolver
from statusd.net.streams import Endpoint, open_connection
from statusd.net.trace import Trace


@attrs.define(eq=False)
class TcpClient:
    """Plain connection attempts; one a source."""

    _resolver: Resolver
    _trace: Trace

    async def connect(self, host: str, port: int) -> None:
        """Connect and close.

        Raises:
            ProbeError: ``refused``, ``unreachable``, ``name_not_resolved``, ``permission_denied`` or ``timeout``.
        """
        connection = await open_connection(Endpoint(host=host, port=port), self._resolver, self._trace)
        connection.close()
