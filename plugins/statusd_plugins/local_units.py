"""Requirement of the `local` plugin: systemd units that are active."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Final

from statusd import Completed, Context, ProbeError, Report, Status, segment
from statusd_plugins.local_programs import hidden_start
from statusd_plugins.sandbox import Hiding, Sandbox

BUS: Final = "/run/dbus/system_bus_socket"
"""Where the system's D-Bus listens."""


async def ask_systemd(context: Context, units: Sequence[str]) -> list[Report]:
    """Ask the system's systemd for `units`, systemctl(1); one report each, below ``unit/``.

    One command a unit: one name that systemd refuses would leave the others without an answer.
    """
    return [await _unit(context, unit) for unit in units]


async def _unit(context: Context, unit: str) -> Report:
    path = f"unit/{segment(unit)}"
    command = ["systemctl", "show", "--property=LoadState,ActiveState,SubState", "--", unit]
    try:
        completed = await context.run(command)
    except ProbeError as error:
        if hidden := await context.in_thread(hidden_start, command[0]):
            return hidden[1].report(hidden[0], path)
        return Report.unknown(
            error.reason,
            "systemctl cannot be run, so units cannot be looked at: is systemd installed?",
            path=path,
        )
    if completed.returncode == 0:
        return judge(unit, _properties(completed.stdout), path)
    if hiding := await context.in_thread(_hiding, completed.stderr):
        return hiding.report(f"The state of {unit}", path)
    return Report.unknown("unreachable", _why(completed, unit), path=path)


def _hiding(stderr: bytes) -> Hiding | None:
    """Return why systemd could not be asked, if that is for the sandbox."""
    sandbox = Sandbox.current()
    if not sandbox.is_service:
        return None
    try:
        socket.socket(socket.AF_UNIX).close()
    except OSError as error:
        # A filter alone refuses this one.
        is_filtered = error.errno == errno.EAFNOSUPPORT
        return Hiding("RestrictAddressFamilies=", "RestrictAddressFamilies=AF_UNIX") if is_filtered else None
    if hiding := sandbox.hides(BUS):
        return hiding
    # dbus-daemon hangs up on users without an account; what systemd itself refuses, it names.
    is_answer = any(word in stderr for word in (b"nit name", b"denied", b"bus"))
    if not is_answer and is_invented(os.getuid()):
        return Hiding("DynamicUser=", "User= and the name of an account")
    return None


def is_invented(uid: int) -> bool:
    """Whether the user `uid` is there only while its service runs (``DynamicUser=``), by systemd's own list."""
    return os.path.lexists(f"/run/systemd/dynamic-uid/direct:{uid}")


def _why(completed: Completed, unit: str) -> str:
    """Say why systemctl failed; its own text is only looked at, never passed on."""
    if b"bus" in completed.stderr.lower() or b"booted" in completed.stderr.lower():
        return f"systemd could not be asked about {unit}: this system has no system bus that answers."
    return f"systemctl could not tell about {unit} (exit code {completed.returncode}): is it a unit's whole name?"


def _properties(output: bytes) -> dict[str, str]:
    lines = output.decode("utf-8", "replace").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def judge(unit: str, properties: Mapping[str, str], path: str) -> Report:
    """Return the report about a unit from its ``LoadState``, ``ActiveState`` and ``SubState``.

    A unit between a crash and its restart (``auto-restart``) is `down`: systemd calls it activating, yet nothing runs.
    """
    active, sub, load = (properties.get(name, "") for name in ("ActiveState", "SubState", "LoadState"))
    facts = {"active_state": active[:32], "sub_state": sub[:32]}
    if not active or not load:
        return Report.unknown("unexpected_answer", f"systemctl said nothing about {unit}.", path=path)
    if active in {"active", "reloading", "refreshing"}:
        return Report.ok(path=path, facts=facts)
    if load == "not-found":
        return Report.down("missing", f"There is no unit {unit}.", path=path)
    if active == "activating" and not sub.startswith("auto-restart"):
        return Report.degraded("loading", f"{unit} is starting.", path=path, facts=facts)
    status, reason, state = {
        "activating": (Status.DOWN, "failed", "has ended and waits for its restart"),
        "failed": (Status.DOWN, "failed", "has failed"),
        "inactive": (Status.DOWN, "unavailable", "is not running"),
        "deactivating": (Status.DOWN, "unavailable", "is stopping"),
        "maintenance": (Status.DOWN, "unavailable", "is in maintenance"),
    }.get(active, (Status.UNKNOWN, "unexpected_answer", "is in a state that statusd does not know"))
    masked = " (masked)" if load == "masked" else ""
    return Report(status=status, reason=reason, message=f"{unit} {state}{masked}.", path=path, facts=facts)
