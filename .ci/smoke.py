"""Tries the installed console script beside this interpreter: help, check, and a daemon that answers and stops."""
# ruff: noqa: INP001, S310, T201  # a script that asks its own daemon and tells a person

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

STATUSD = Path(sys.executable).with_name("statusd")
REFERENCE = Path(__file__).parents[1] / "etc/statusd.toml"
BESIDE = (
    "bash-completion/completions/statusd",
    "fish/vendor_completions.d/statusd.fish",
    "man/man5/statusd.toml.5",
    "man/man8/statusd.8",
    "statusd/systemd/statusd.service",
    "statusd/systemd/statusd.socket",
    "zsh/site-functions/_statusd",
)
"""What is in the environment's share/."""
EMPTY = {"PATH": os.environ["PATH"]}


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def get(url: str) -> object:
    """Return the JSON body of a GET."""
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)


def wait_for(url: str, daemon: subprocess.Popen[bytes]) -> object:
    """Return the JSON body of a GET, once it is answered."""
    deadline = time.monotonic() + 15
    while True:
        try:
            return get(url)
        except OSError:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def main() -> None:
    """Fail with an assertion or an exception where anything is amiss."""
    absent = [name for name in BESIDE if not Path(sys.prefix, "share", name).is_file()]
    assert not absent, f"the wheel has not brought along: {absent}"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([STATUSD, "--help"], cwd=folder, env=EMPTY, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([STATUSD, "check", REFERENCE], cwd=folder, env=EMPTY, check=True)
        url = f"http://127.0.0.1:{free_port()}"
        daemon = subprocess.Popen(
            [STATUSD, "run", "--bind", url.removeprefix("http://")], cwd=folder, env=EMPTY
        )
        try:
            assert wait_for(f"{url}/health", daemon) == {"status": "ok"}
            models = get(f"{url}/models")
            assert isinstance(models, dict)
            assert models["models"] == ["mock", "flashtalk", "musetalk", "wav2lip", "flashhead", "quicktalk"]
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(timeout=5) == 0
        finally:
            daemon.kill()
            daemon.wait()
    print(f"The wheel answers on Python {sys.version.split()[0]}.")


if __name__ == "__main__":
    main()
