"""Secrets by reference: a variable's name, a systemd credential or a file; never the secret itself."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from typing import Final

from statusd.config.findings import Findings
from statusd.config.interpolate import BROKEN, Broken, Expanded
from statusd.config.wording import below, described, kind, one_of, quoted, suggestion, with_article
from statusd.values import Secret

FORMS: Final = '{ env = "NAME" }, { credential = "name" } or { file = "/path" }'
MAX_SIZE: Final = 64 * 1024
"""Bytes of a credential or file."""
WAYS: Final = ("env", "credential", "file")
"""The keys of a reference, of which it has one."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONLY_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-)?\}")


class _UnreadableError(Exception):
    """Raised with the message for people when the surroundings do not give the secret."""


def read_secret(value: object, path: str, findings: Findings) -> Secret | Broken:
    """Return the secret that `value` refers to; an unset variable and what is unreadable give the empty one.

    Args:
        value: a table such as ``{ env = "NAME" }``.
        path: where it stands in the configuration.
        findings: takes mistakes in the reference, the fault that it cannot be read, and the secret.
    """
    reference = _reference(value, path, findings)
    if reference is None:
        return BROKEN
    way, text = reference
    try:
        secret = _fetched(way, text, findings.environ)
    except _UnreadableError as error:
        findings.unreadable(path, str(error))
        return Secret()
    findings.secret(secret)
    return Secret(secret)


def _fetched(way: str, text: str, environ: Mapping[str, str]) -> str:
    if way == "env":
        return _from_variable(text, environ)
    if way == "credential":
        return _from_credential(text, environ)
    return _from_file(text, f"The file {quoted(text)}")


def _reference(value: object, path: str, findings: Findings) -> tuple[str, str] | None:
    """Return which of the three ways `value` goes and its argument, or None after taking the mistake."""
    if not isinstance(value, dict):
        findings.mistake(path, _not_a_reference(value))
        return None
    wrong = [key for key in value if key not in WAYS]
    for key in wrong:
        findings.mistake(below(path, key), f"unknown key; {suggestion(key, WAYS)}")
    if wrong:
        return None
    if len(value) != 1:
        found = one_of(quoted(key) for key in value).replace(" or ", " and ") if value else "none"
        findings.mistake(path, f"a secret wants exactly one of {FORMS}; found {found}")
        return None
    ((way, text),) = value.items()
    if text is BROKEN:
        return None
    if not isinstance(text, str):
        findings.mistake(below(path, way), f"expected a string, found {described(text)}")
        return None
    if remedy := _REMEDIES[way](text):
        findings.mistake(below(path, way), remedy)
        return None
    return way, str(text)


def _not_a_reference(value: object) -> str:
    """Return the message for a secret that stands in the file; it shows nothing of it."""
    if isinstance(value, Expanded) and (only := _ONLY_VARIABLE.fullmatch(value.written)):
        return f'a secret is given by reference; write {{ env = "{only[1]}" }}'
    return f"a secret is given by reference, found {with_article(kind(value))}; write {FORMS}"


def _wrong_variable(name: str) -> str:
    # The name is not shown: whoever takes `env` for the place of the secret itself has put it here.
    return (
        "" if _VARIABLE.fullmatch(name) else 'not the name of a variable; write one such as "OMNIRT_API_KEY"'
    )


def wrong_credential(name: str) -> str:
    if not name or name in {".", ".."} or "/" in name or not name.isprintable() or len(name) > 255:
        return 'not the name of a credential; write one without "/", as in LoadCredential= of the unit'
    return ""


def wrong_file(name: str) -> str:
    if not name.startswith("/") or "\0" in name:
        return 'not an absolute path; write it from "/" on'
    return ""


_REMEDIES: Final = {"env": _wrong_variable, "credential": wrong_credential, "file": wrong_file}


def _from_variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _UnreadableError(f"The value of the variable {name} is not UTF-8; correct it.") from None
    return value


def _from_credential(name: str, environ: Mapping[str, str]) -> str:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise _UnreadableError(
            f"The credential {quoted(name)} is not there, since $CREDENTIALS_DIRECTORY is not set; "
            f"add LoadCredential={name}:/path to the systemd unit."
        )
    return _from_file(os.path.join(directory, name), f"The credential {quoted(name)}")  # noqa: PTH118  # Path("x", "/y") and this differ in nothing but speed


def _from_file(name: str, subject: str) -> str:
    try:
        content = _read(name)
    except OSError as error:
        problem, remedy = _PROBLEMS.get(error.errno or 0, ("cannot be read", "correct the path"))
        raise _UnreadableError(f"{subject} {problem}; {remedy}.") from None
    if content is None:
        raise _UnreadableError(f"{subject} is no regular file; name the file that holds the secret.")
    if len(content) > MAX_SIZE:
        raise _UnreadableError(
            f"{subject} is over {MAX_SIZE} bytes; name the file that holds only the secret."
        )
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _UnreadableError(f"{subject} is not UTF-8; write the secret as text.") from None
    if not text:
        raise _UnreadableError(f"{subject} is empty; write the secret into it, or remove the key.")
    return text


_PROBLEMS: Final = {
    errno.ENOENT: ("does not exist", "create it, or correct the path"),
    errno.ENOTDIR: ("does not exist", "create it, or correct the path"),
    errno.EACCES: (
        "may not be read by statusd",
        "give the user it runs as the right to, or use a credential",
    ),
}


def _read(name: str) -> bytes | None:
    """Return at most one byte more than `MAX_SIZE`; None for what is no regular file (a FIFO would block)."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_SIZE + 1)
    finally:
        os.close(descriptor)
