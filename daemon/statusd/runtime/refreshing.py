"""Probes on request: one asker, several sources."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs
import trio

from statusd.runtime.hub import Hub
from statusd.runtime.supervisor import Supervisor


@attrs.define(eq=False)
class Refresher:
    """Has sources probed now.

    Attributes:
        hub: merges what they find.
    """

    hub: Hub
    _supervisors: Mapping[str, Supervisor] = attrs.field(factory=dict, init=False)

    def know(self, supervisors: Iterable[Supervisor]) -> None:
        """Take the supervisors of the sources that can be probed."""
        self._supervisors = {supervisor.prober.name: supervisor for supervisor in supervisors}

    async def refresh(self, sources: Collection[str]) -> None:
        """Return once each of `sources` was probed and the tree shows it, or the probe's own deadline has passed.

        Args:
            sources: names; one that is never probed is passed over.
        """
        known = [self._supervisors[name] for name in sources if name in self._supervisors]
        if not known:
            return
        async with trio.open_nursery() as nursery:
            for supervisor in known:
                nursery.start_soon(supervisor.probe_now)
        await self.hub.settled()
