"""The token that a command is given in a file: a command line is seen by every user of the host."""

from __future__ import annotations

from typing import Final

from statusd.client import ClientError
from statusd.systemd.escaping import escape
from statusd.values import Secret

MAX_SIZE: Final = 16 * 1024
"""Bytes of the file; what is over the daemon's limit for a header is no token."""


def token_in(path: str) -> Secret:
    """Return the token in the file at `path`, which may be a pipe, without the line ends after it.

    Raises:
        ClientError: ``bad_token``, which shows nothing of it.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # takes the path as given, so that errors show it so
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise _useless(path, f"cannot be read ({(error.strerror or 'no reason given').lower()})") from None
    except ValueError:
        raise _useless(path, "is no path") from None
    if len(content) > MAX_SIZE:
        raise _useless(path, f"is over {MAX_SIZE} bytes")
    try:
        token = content.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        raise _useless(path, "holds more than visible ASCII characters") from None
    if not token:
        raise _useless(path, "is empty")
    return Secret(token)


def _useless(path: str, problem: str) -> ClientError:
    return ClientError(
        "bad_token",
        f'The file "{escape(path)}" {problem}: name one with --token-file that holds only the token.',
    )
