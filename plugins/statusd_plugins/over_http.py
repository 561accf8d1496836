"""The base of the HTTP plugins: a Unix socket that the sandbox hides is not one that is missing."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from statusd import HttpResponse, HttpSource, ProbeError, Report, Status, Url
from statusd_plugins.sandbox import SANDBOXED, hiding_of


@attrs.frozen(kw_only=True)
class OverHttp(HttpSource):
    """Asks an HTTP server, and says so where the sandbox hides its socket."""

    async def get(
        self, url: Url, *, headers: Mapping[str, str] | None = None, max_body: int = 1 << 20
    ) -> HttpResponse:
        """Send one GET; raise ProbeError with reason ``sandboxed`` where there is no way to the socket."""
        try:
            return await super().get(url, headers=headers, max_body=max_body)
        except ProbeError as error:
            if (
                self.unix_socket
                and error.reason in {"not_found", "permission_denied"}
                and (hiding := await self.context.in_thread(hiding_of, self.unix_socket))
            ):
                raise ProbeError(SANDBOXED, hiding.message(f"The socket {self.unix_socket}")) from None
            raise

    def on_failure(self, failure: Report) -> Report:
        """Call what is hidden `unknown`."""
        hidden = failure.reason == SANDBOXED
        return attrs.evolve(failure, status=Status.UNKNOWN) if hidden else failure
