"""Whom a client asks, and what it brings along: the address, the token, and whose certificates it trusts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from statusd.client.address import Address, named_by
from statusd.client.faults import ClientError
from statusd.values import Secret

TOKEN_VARIABLE: Final = "STATUSD_TOKEN"  # noqa: S105  # the name of a variable
CA_VARIABLE: Final = "STATUSD_CA_FILE"

_TOKEN: Final = re.compile(r"[!-~]*")


@attrs.frozen
class Access:
    """What every connection of a client needs.

    Attributes:
        address: of the daemon, with the token for it.
        ca_file: PEM file with the authorities to trust; ``""`` for the system's.
    """

    address: Address
    ca_file: str

    @classmethod
    def given(
        cls, url: str | None, token: str | None, ca_file: str | None, environ: Mapping[str, str]
    ) -> Access:
        """Return what a caller says, and what the environment says where the caller names no daemon.

        The environment's token is for the environment's daemon: it goes to no address that a program names itself.

        Args:
            url: of the daemon, or None.
            token: a bearer token; None or ``""`` for none.
            ca_file: PEM file with authorities; None or ``""`` for the system's.
            environ: the environment.

        Raises:
            ClientError: ``bad_address``; ``bad_token``.
        """
        if url is None:
            url = named_by(environ)
            token = environ.get(TOKEN_VARIABLE) if token is None else token
            ca_file = environ.get(CA_VARIABLE) if ca_file is None else ca_file
        return cls(with_token(Address.parse(url), Secret(token or "")), ca_file or "")


def with_token(address: Address, token: Secret) -> Address:
    """Return `address` with the bearer token that goes there (RFC 6750, section 2.1).

    Raises:
        ClientError: ``bad_token``, which shows nothing of it.
    """
    if not token:
        return address
    if not _TOKEN.fullmatch(token.reveal()):
        raise ClientError(
            "bad_token",
            f"The token for {address} has a space, a line end or another character that no request can carry: it is "
            "made of visible ASCII characters; correct it.",
        )
    if address.url.basic_authorization:
        raise ClientError(
            "bad_token",
            f"There is a user or password in the address {address}, and a token besides: a request carries one of the "
            "two, so take one away.",
        )
    return attrs.evolve(address, token=token)
