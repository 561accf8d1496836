"""What a program needs of the file system in order to run, for saying whether the sandbox hides some of it."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from statusd_plugins.sandbox import Hiding, Sandbox

DEVICES: Final = {
    "nvidia-smi": "/dev/nvidiactl",
    "dcgmi": "/dev/nvidiactl",
    "rocm-smi": "/dev/kfd",
    "amd-smi": "/dev/kfd",
    "rocminfo": "/dev/kfd",
    "xpu-smi": "/dev/dri",
    "npu-smi": "/dev/davinci_manager",
    "hl-smi": "/dev/accel",
}
"""Programs that people have look at accelerators, and the device without which they fail."""
_OPTION: Final = re.compile(r"^-{1,2}[\w-]+=(?=/)")
"""What stands before a path in an argument such as ``--model=/srv/model``."""
_HEAD: Final = 256
"""Bytes of a script's first line that the kernel reads, execve(2)."""


def hidden_start(program: str) -> tuple[str, Hiding] | None:
    """Return what `program` needs to start and the sandbox hides, and how; None where nothing is."""
    return Sandbox.current().first_hidden(_needs(program))


def hidden_need(command: Sequence[str], returncode: int) -> tuple[str, Hiding] | None:
    """Return what the sandbox withholds from a `command` that ran and failed, as far as that can be known.

    That is a system call it was ended for, the device of a program known to want one, or a path among its arguments.
    """
    sandbox = Sandbox.current()
    if returncode == -signal.SIGSYS and sandbox.is_service:
        return f"A system call of {command[0]}", Hiding("SystemCallFilter=", "SystemCallFilter= and its name")
    device = DEVICES.get(Path(command[0]).name, "")
    return sandbox.first_hidden([device, *(_OPTION.sub("", word) for word in command[1:])])


def _needs(program: str) -> Iterator[str]:
    folders = os.environ.get("PATH", os.defpath).split(":")
    for candidate in [program] if "/" in program else [f"{folder}/{program}" for folder in folders]:
        yield candidate
        yield _interpreter(candidate)
        yield from _homes(Path(candidate))


def _interpreter(path: str) -> str:
    """Return the interpreter that the first line of a script names, or an empty string."""
    words = _first_line(path).removeprefix("#!").split()
    return words[0] if words else ""


def _first_line(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        head = os.read(descriptor, _HEAD)
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return os.fsdecode(head.splitlines()[0]) if head.startswith(b"#!") else ""


def _homes(python: Path) -> Iterator[str]:
    """Yield where the standard library of a virtual environment is, from its ``pyvenv.cfg`` (PEP 405)."""
    try:
        lines = (python.parent.parent / "pyvenv.cfg").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "home":
            yield value.strip()
