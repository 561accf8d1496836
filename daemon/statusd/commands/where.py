"""Which running daemon a command asks."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from statusd.client import ClientError
from statusd.client.address import VARIABLE
from statusd.config.load import read
from statusd.config.mistakes import ConfigError


@attrs.frozen
class Where:
    """A daemon's address.

    Attributes:
        url: a URL, or an address as in ``[http] bind``.
        origin: who says so, in words.
    """

    url: str
    origin: str

    def blamed(self, error: ClientError) -> ClientError:
        """Return `error` with the place where the address can be corrected, if that may be of use."""
        if error.reason == "no_such_node":
            return error
        return ClientError(error.reason, f"{error.message} (The address is from {self.origin}.)")


def find_daemon(url: str | None, config: str | None, environ: Mapping[str, str]) -> Where:
    """Return the first of: `url`, ``$STATUSD_URL``, the first configured address that a client can connect to.

    Args:
        url: what ``--url`` says, or None.
        config: the configuration, or None for what `run` would use.
        environ: the environment.

    Raises:
        ConfigError: when the configuration cannot be read, or has a mistake in ``[http]``.
        ClientError: ``bad_address`` when it names no address to connect to.
    """
    if url is not None:
        return Where(url, "--url")
    if config is None and (named := environ.get(VARIABLE)):
        return Where(named, f"${VARIABLE}")
    settings = read(config, environ)
    if mistakes := [mistake for mistake in settings.mistakes if mistake.path.split(".")[0] == "http"]:
        raise ConfigError(mistakes, settings.origin)
    for bind in settings.http.bind:
        if bind.path or bind.port:
            return Where(str(bind), f"[http] bind in {settings.origin}; name another with --url")
    listed = ", ".join(str(bind) for bind in settings.http.bind)
    raise ClientError(
        "bad_address",
        f"{settings.origin} binds to {listed}, which says to no client where that is: name it with --url or "
        f"{VARIABLE}.",
    )
