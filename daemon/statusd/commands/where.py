"""Which running daemon a command asks, with what token, and whose certificates it trusts."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from statusd.client import Client, ClientError, TrioClient
from statusd.client.access import CA_VARIABLE, TOKEN_VARIABLE
from statusd.client.address import VARIABLE
from statusd.commands.tokens import token_in
from statusd.config.load import read
from statusd.config.mistakes import ConfigError
from statusd.config.settings import Settings
from statusd.systemd.escaping import escape
from statusd.values import Secret


@attrs.frozen(kw_only=True)
class Where:
    """A daemon, and how to ask it.

    Attributes:
        url: a URL, or an address as in ``[http] bind``.
        origin: who says so, in words.
        token: what the daemon wants to hear; empty for none.
        token_origin: a sentence: who says that, or why there is none; ``""`` where nobody speaks of one.
        ca_file: PEM file with the authorities to trust; ``""`` for the system's.
    """

    url: str = attrs.field(repr=False)  # it may hold a password
    origin: str
    token: Secret = attrs.field(factory=Secret)
    token_origin: str = ""
    ca_file: str = ""

    def client(self) -> Client:
        """Return a client without an event loop.

        Raises:
            ClientError: ``bad_address``; ``bad_token``.
        """
        return Client(self.url, token=self.token.reveal(), ca_file=self.ca_file)

    def trio_client(self) -> TrioClient:
        """Return a client for trio.

        Raises:
            ClientError: as `client`.
        """
        return TrioClient(self.url, token=self.token.reveal(), ca_file=self.ca_file)

    def blamed(self, error: ClientError) -> ClientError:
        """Return `error` with the place where the address, or the token, can be corrected, if that may be of use."""
        if error.reason == "no_such_node":
            return error
        places = f"The address is from {self.origin}"
        if error.reason in {"unauthorized", "bad_token"} and self.token_origin:
            places += f". {self.token_origin}"
        return ClientError(error.reason, f"{error.message} ({places}.)", retry_after=error.retry_after)


def find_daemon(
    url: str | None,
    config: str | None,
    environ: Mapping[str, str],
    token_file: str | None = None,
    ca_file: str | None = None,
) -> Where:
    """Return the first of: `url`, ``$STATUSD_URL``, the first configured address that a client can connect to.

    The token is the first of: `token_file`, ``$STATUSD_TOKEN`` and, for an address that is configured, the configured
    one where this user can read it.

    Args:
        url: what ``--url`` says, or None.
        config: the configuration, or None for what `run` would use.
        environ: the environment.
        token_file: what ``--token-file`` says, or None.
        ca_file: what ``--ca-file`` says, or None for ``$STATUSD_CA_FILE``.

    Raises:
        ConfigError: when the configuration cannot be read, or has a mistake in ``[http]``.
        ClientError: ``bad_address`` when it names no address to connect to; ``bad_token`` when `token_file` holds none.
    """
    token, token_origin = _named_token(token_file, environ)
    trusted = environ.get(CA_VARIABLE, "") if ca_file is None else ca_file
    if url is None and config is None and (named := environ.get(VARIABLE)):
        url, origin = named, f"${VARIABLE}"
    else:
        origin = "--url"
    if url is None:
        settings = read(config, environ)
        url, origin = _configured_address(settings)
        if not token_origin:
            token, token_origin = _configured_token(settings)
    return Where(url=url, origin=origin, token=token, token_origin=token_origin, ca_file=trusted)


def _named_token(token_file: str | None, environ: Mapping[str, str]) -> tuple[Secret, str]:
    if token_file is not None:
        return token_in(token_file), f"The token is from {escape(token_file)}"
    if token := environ.get(TOKEN_VARIABLE):
        return Secret(token), f"The token is from ${TOKEN_VARIABLE}"
    return Secret(), ""


def _configured_token(settings: Settings) -> tuple[Secret, str]:
    """Return the token that the daemon wants to hear by its configuration, so far as this user can know it."""
    token, place = settings.http.token, f"[http] token in {settings.origin}"
    if token is None:
        return Secret(), ""
    if not token:
        return Secret(), f"None was sent: {place} refers to one that is not there for this user"
    return token, f"The token is from {place}"


def _configured_address(settings: Settings) -> tuple[str, str]:
    if mistakes := [mistake for mistake in settings.mistakes if mistake.path.split(".")[0] == "http"]:
        raise ConfigError(mistakes, settings.origin)
    for bind in settings.http.bind:
        if bind.path or bind.port:
            return str(bind), f"[http] bind in {settings.origin}; name another with --url"
    listed = ", ".join(str(bind) for bind in settings.http.bind)
    raise ClientError(
        "bad_address",
        f"{settings.origin} binds to {listed}, which says to no client where that is: name it with --url or "
        f"{VARIABLE}.",
    )
