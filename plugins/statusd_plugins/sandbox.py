"""What the sandbox of statusd's own unit hides, told from the kernel's tables and never guessed.

systemd.exec(5) says what each directive does; how systemd does it shows in ``/proc/self/mountinfo``. Outside of such a
sandbox nothing is ever hidden, and everything here answers so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

from statusd import Report
from statusd_plugins.mounts import Mount, covering, parse_mounts

SANDBOXED: Final = "sandboxed"
HOMES: Final = ("/home", "/root", "/run/user")
"""What ``ProtectHome=`` is about."""

_INACCESSIBLE: Final = re.compile(r"(?:^|/)systemd/inaccessible/(?:dir|reg|chr|blk|fifo|sock)")
_PRIVATE_TMP: Final = re.compile(r"/systemd-private-[0-9a-f]{32}-[^/]+-[^/]{6}/tmp|(?:^|/)systemd/empty")
_PROPAGATED: Final = re.compile(r"(?:^|/)systemd/propagate/[^/]+")
_PROCESS: Final = re.compile(r"/proc/[0-9]+(?:/|$)")
_HIDEPID: Final = frozenset(
    {"hidepid=invisible", "hidepid=2", "hidepid=ptraceable", "hidepid=4", "hidepid=noaccess", "hidepid=1"}
)
_BY_POINT: Final = {
    "/lib/modules": ("ProtectKernelModules=", "ProtectKernelModules=no"),
    "/usr/lib/modules": ("ProtectKernelModules=", "ProtectKernelModules=no"),
    "/dev/kmsg": ("ProtectKernelLogs=", "ProtectKernelLogs=no"),
    "/proc/kmsg": ("ProtectKernelLogs=", "ProtectKernelLogs=no"),
    "/proc/kallsyms": ("ProtectKernelTunables=", "ProtectKernelTunables=no"),
    "/proc/kcore": ("ProtectKernelTunables=", "ProtectKernelTunables=no"),
    "/run/credentials": ("LoadCredential=", "LoadCredential= for it"),
}
_TMP: Final = ("/tmp", "/var/tmp")  # noqa: S108  # looked for in the table, never written to
_PRIVATE: Final = ("/var/lib/private", "/var/cache/private", "/var/log/private")


@attrs.frozen
class Hiding:
    """Why something cannot be seen.

    Attributes:
        directive: of the unit, that hides it.
        opening: what a drop-in sets to show it.
    """

    directive: str
    opening: str

    def report(self, thing: str, path: str = "") -> Report:
        """Return the report that the truth about `thing` is not known."""
        return Report.unknown(SANDBOXED, self.message(thing), path=path, facts={"opened_by": self.opening})

    def message(self, thing: str) -> str:
        """Return the sentence for people."""
        return f"{thing} is hidden by {self.directive} of statusd's unit: a drop-in with {self.opening} shows it."


@attrs.frozen(kw_only=True)
class Sandbox:
    """The view that this process has of the file system.

    Attributes:
        mounts: all of them.
        homes: where the home directories are, links followed.
        is_service: whether systemd made this view for a service.
    """

    mounts: tuple[Mount, ...] = ()
    homes: tuple[str, ...] = HOMES
    is_service: bool = attrs.field(init=False)

    @is_service.default
    def _is_service(self) -> bool:
        return any(  # looked for once: some hosts have thousands of mounts
            mount.point == "/run/systemd/incoming"
            or any(
                known.search(mount.root) is not None for known in (_INACCESSIBLE, _PRIVATE_TMP, _PROPAGATED)
            )
            for mount in self.mounts
        )

    @classmethod
    def current(cls) -> Sandbox:
        """Read the kernel's table; without one, outside of Linux say, nothing is hidden."""
        try:
            table = Path("/proc/self/mountinfo").read_bytes()
        except OSError:
            return cls()
        return cls(mounts=parse_mounts(table), homes=(*HOMES, *map(os.path.realpath, HOMES)))

    def hides(self, path: str) -> Hiding | None:
        """Return what hides the absolute `path`, or what a link there leads to; None where nothing does.

        Whether there is such a file is another matter: nobody in here can know. What is put in the place of a hidden
        directory may have entries of its own, ``/dev/null`` say, and those are not hidden. It blocks where a file
        system hangs.
        """
        if not self.is_service:
            return None
        resolved = os.path.realpath(path)
        mount = covering(self.mounts, resolved)
        if mount is None:
            return None
        is_there = resolved != mount.point and os.path.lexists(resolved)
        return None if is_there else self._hiding(mount, resolved)

    def first_hidden(self, paths: Iterable[str]) -> tuple[str, Hiding] | None:
        """Return the first of the absolute `paths` that is hidden, and what hides it."""
        for path in paths:
            if path.startswith("/") and (hiding := self.hides(path)) is not None:
                return path, hiding
        return None

    def _hiding(self, mount: Mount, path: str) -> Hiding | None:
        if _INACCESSIBLE.search(mount.root):
            return self._inaccessible(mount.point)
        if _PRIVATE_TMP.search(mount.root):
            return Hiding("PrivateTmp=", f"BindReadOnlyPaths={mount.point}")
        if mount.kind == "proc" and mount.point == "/proc":
            return self._proc(mount, path)
        if mount.kind == "tmpfs" and self._is_for_the_service(mount):
            return self._tmpfs(mount.point, path)
        return None

    def _inaccessible(self, point: str) -> Hiding:
        if point in self.homes:
            return Hiding("ProtectHome=", "ProtectHome=read-only")
        if point in _BY_POINT:
            return Hiding(*_BY_POINT[point])
        return Hiding("InaccessiblePaths=", 'an empty "InaccessiblePaths="')

    def _tmpfs(self, point: str, path: str) -> Hiding:
        if point == "/dev":
            return Hiding("PrivateDevices=", "PrivateDevices=no")
        if point in self.homes:
            return Hiding("ProtectHome=", "ProtectHome=read-only")
        if point in _TMP:
            return Hiding("PrivateTmp=", f"BindReadOnlyPaths={point}")
        directive = "DynamicUser=" if point in _PRIVATE else "TemporaryFileSystem="
        return Hiding(directive, f"BindReadOnlyPaths={path}")

    def _proc(self, mount: Mount, path: str) -> Hiding | None:
        if _PROCESS.match(path):
            is_hidden = self._is_for_the_service(mount) and not mount.options.isdisjoint(_HIDEPID)
            return Hiding("ProtectProc=", "ProtectProc=default") if is_hidden else None
        is_cut = "subset=pid" in mount.options
        return Hiding("ProcSubset=", "ProcSubset=all") if is_cut else None

    def _is_for_the_service(self, mount: Mount) -> bool:
        """Whether `mount` is not the host's: that can be told only where the host's are inherited."""
        top = covering(self.mounts, "/")
        is_whole = mount.root == "/" and not mount.is_inherited
        return is_whole and top is not None and top.is_inherited


def judged(reports: Iterable[tuple[Report, str]]) -> list[Report]:
    """Return each report, or where it is not ok and the sandbox hides its absolute path, that this is so.

    Nothing is looked at while all is ok.
    """
    known: list[Sandbox] = []
    final = []
    for report, path in reports:
        hiding = None
        if report.status.severity > 0:
            known = known or [Sandbox.current()]
            hiding = known[0].hides(path)
        final.append(report if hiding is None else hiding.report(path, report.path))
    return final


def hiding_of(path: str) -> Hiding | None:
    """Return what hides the absolute `path` now; it blocks, so call it in a thread."""
    return Sandbox.current().hides(path)
