"""What is mounted where, as this process sees it: ``/proc/self/mountinfo``, proc_pid_mountinfo(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Final

import attrs

_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")


@attrs.frozen(kw_only=True)
class Mount:
    """One line of the table.

    Attributes:
        number: the mount's own id.
        parent: the id of the mount that it stands on.
        root: what of its file system is shown, ``/`` for the whole.
        point: where it is shown.
        kind: the file system's type, ``tmpfs`` say.
        options: of the file system as a whole, not of this mount.
        is_inherited: whether it came from another mount namespace that still passes mounts on to it, as the host's
            mounts do for a service of systemd; what was mounted for the service alone has none.
    """

    number: int
    parent: int
    root: str
    point: str
    kind: str
    options: frozenset[str]
    is_inherited: bool


def parse_mounts(table: bytes) -> tuple[Mount, ...]:
    """Return the mounts of `table`, in its order; lines of a shape that the manual does not know are left out."""
    # Not splitlines(): the kernel escapes a line feed in a name, and no carriage return.
    return tuple(mount for line in table.split(b"\n") if (mount := _parsed(line)) is not None)


def _parsed(line: bytes) -> Mount | None:
    before, dash, after = line.partition(b" - ")
    fields, rest = before.split(b" "), after.split(b" ")
    if not dash or len(fields) < 6 or len(rest) < 3 or not (fields[0].isdigit() and fields[1].isdigit()):
        return None
    return Mount(
        number=int(fields[0]),
        parent=int(fields[1]),
        root=_text(fields[3]),
        point=_text(fields[4]),
        kind=_text(rest[0]),
        options=frozenset(_text(rest[2]).split(",")),
        is_inherited=any(field.startswith(b"master:") for field in fields[6:]),
    )


def _text(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda escape: bytes([int(escape[1], 8) & 0xFF]), field))


def covering(mounts: Iterable[Mount], path: str) -> Mount | None:
    """Return the mount in which the kernel ends when it walks to `path`, which has no links and no ``..``.

    The deepest one in the table may be out of reach: another one was mounted over a directory above it later.
    """
    standing: dict[int, list[Mount]] = {}
    numbers = set()
    for mount in mounts:
        standing.setdefault(mount.parent, []).append(mount)
        numbers.add(mount.number)
    roots = [mount for parent, those in standing.items() if parent not in numbers for mount in those]
    reached = next((mount for mount in roots if mount.point == "/"), None)
    passed: set[int] = set()
    while (
        reached is not None and reached.number not in passed
    ):  # a table that was read in pieces may have a circle
        passed.add(reached.number)
        ahead = [
            mount
            for mount in standing.get(reached.number, ())
            if is_below(path, mount.point) and is_below(mount.point, reached.point)
        ]
        if not ahead:
            return reached
        reached = min(ahead, key=lambda mount: len(mount.point))  # the walk comes from the top
    return reached


def is_below(path: str, top: str) -> bool:
    """Whether `path` is `top` or something below it."""
    return path == top or path.startswith(top.rstrip("/") + "/")
