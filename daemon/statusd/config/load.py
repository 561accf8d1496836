"""Finding the configuration, reading it, parsing it."""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final

import attrs

from statusd.config.interpolate import expand_values
from statusd.config.mistakes import ConfigError, Mistake
from statusd.config.settings import Settings, read_settings

SYSTEM_PATH = "/etc/statusd/statusd.toml"
"""Where the configuration is looked for when nobody names one."""
VARIABLE: Final = "STATUSD_CONFIG"
BUILT_IN: Final = "the built-in configuration"
MAX_SIZE: Final = 1 << 20
"""Bytes of a configuration."""
PIPE: Final = 10.0
"""Seconds in which a pipe must give all of it: a read that nobody answers would hold its thread for ever."""

_PLACE: Final = re.compile(
    r"(?P<problem>.*) \(at (?P<place>line \d+, column \d+|end of document)\)", re.DOTALL
)


def read(path: str | None, environ: Mapping[str, str], bind: Sequence[str] | None = None) -> Settings:
    """Return the settings of the first of: `path`, ``$STATUSD_CONFIG``, the system's file, the built-in default.

    The mistakes that the text itself does not forbid to read on are in the settings; `resolve` raises them.

    Args:
        path: the file to read, or None.
        environ: the variables.
        bind: addresses that replace those of ``[http]``.

    Raises:
        ConfigError: when the file cannot be read or is not TOML.
    """
    found = find(path, environ)
    if found is None:
        return read_text(default_text(), BUILT_IN, environ, bind)
    if path is not None:
        remedy = "name an existing file with --config"
    else:
        remedy = f"correct the variable {VARIABLE}" if environ.get(VARIABLE) else "correct or remove it"
    return read_text(_read(found, remedy), _shown(found), environ, bind)


def find(path: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the file that `read` reads, there or not; None where it is the built-in configuration."""
    if path is not None:
        return path
    return environ.get(VARIABLE) or (SYSTEM_PATH if _exists(SYSTEM_PATH) else None)


def read_text(
    text: str, origin: str, environ: Mapping[str, str], bind: Sequence[str] | None = None
) -> Settings:
    """Return the settings in `text`, as `read` does.

    Args:
        text: a whole configuration in TOML 1.0.
        origin: what to call it in messages.
        environ: the variables.
        bind: addresses that replace those of ``[http]``.

    Raises:
        ConfigError: when it is not TOML.
    """
    mistakes: list[Mistake] = []
    table: Any = expand_values(_parse(text, origin), environ, "", mistakes)
    settings = read_settings(table, origin, environ, bind)
    return _with(settings, mistakes)


def default_text() -> str:
    """Return the built-in configuration."""
    return files("statusd.config").joinpath("default.toml").read_text(encoding="utf-8")


def _with(settings: Settings, mistakes: list[Mistake]) -> Settings:
    return attrs.evolve(settings, mistakes=(*mistakes, *settings.mistakes))


def _exists(path: str) -> bool:
    """Whether there is something at `path`, readable or not."""
    try:
        os.stat(path)  # noqa: PTH116  # Path.exists takes a directory without permission for an absent file
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _read(path: str, remedy: str) -> str:
    """Return the text of the file.

    Raises:
        ConfigError: with `remedy`, when it cannot be had.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise _unreadable(path, _PROBLEMS.get(error.errno or 0, "cannot be read"), remedy) from None
    except ValueError:
        raise _unreadable(path, "is no path: it contains a NUL character", remedy) from None
    if len(content) > MAX_SIZE:
        raise _unreadable(path, f"is over {MAX_SIZE} bytes", remedy)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Mistake(f"line {line}", "not UTF-8; save the file as UTF-8")], _shown(path)
        ) from None


def _content(path: str) -> bytes:
    """Return what the file holds; where that is more than `MAX_SIZE`, more than that."""
    with open(path, "rb", opener=_at_once) as file:  # takes the path as given, so that errors show it so
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            return _piped(file.fileno())
        os.set_blocking(file.fileno(), True)
        return file.read(MAX_SIZE + 1)


def _at_once(path: str, flags: int) -> int:
    """Open it without waiting until somebody writes where it is a pipe (fifo(7))."""
    return os.open(path, flags | os.O_NONBLOCK)


def _piped(descriptor: int) -> bytes:
    """Return what comes through a pipe until its end."""
    content, deadline, poll = b"", time.monotonic() + PIPE, select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(content) <= MAX_SIZE:
        with suppress(BlockingIOError):  # somebody has it open, and has not written any more yet
            piece = os.read(descriptor, MAX_SIZE)
            content += piece
            if content and not piece:
                break
            if piece:
                continue
        found = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not found:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        if not content and found[0][1] == select.POLLHUP:  # its writer is done, or it was read before
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
    return content


_PROBLEMS: Final = {
    errno.ETIMEDOUT: f"is a pipe that nobody has written to its end within {PIPE:g} s",
    errno.ENODATA: "is a pipe through which nothing comes, or nothing more: it can be read only once",
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist",
    errno.EISDIR: "is a directory",
    errno.EACCES: "may not be read by this user",
    errno.ENAMETOOLONG: "is too long a path",
}


def _unreadable(path: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError([Mistake("", f"{problem}; {remedy}")], _shown(path))


def _shown(path: str) -> str:
    """Return `path` as text that can be sent: what in it is no UTF-8 stands as an escape."""
    return path.encode(errors="backslashreplace").decode()


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        problem = "nested too deeply; write it flatter"
        raise ConfigError([Mistake("syntax", problem)], origin) from None
    except ValueError as error:  # TOMLDecodeError is one; int() raises another for thousands of digits
        raise ConfigError([_syntax(error)], origin) from None


def _syntax(error: ValueError) -> Mistake:
    found = _PLACE.fullmatch(str(error))
    if found is None:
        return Mistake("syntax", "not TOML: a number or date is out of range; correct it")
    problem = found["problem"]
    return Mistake(
        found["place"], f"not TOML: {problem[:1].lower()}{problem[1:200]}; correct it (see https://toml.io)"
    )
