"""The real HAProxy and nginx with the configurations in contrib/, before servers on loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import attrs
import trio

from statusd.testing import Response, Upstream

CONTRIB = Path(__file__).parents[2] / "contrib"
STATUSD = """
[sources.omnirt]
plugin = "omnirt"
endpoint = "{url}"
interval = 0.05
timeout = 0.5
[models]
flashtalk = "omnirt"
"""


def program(name):
    """Return the path of a server's program, which lies where only root looks by default; None without it."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


@attrs.define(eq=False, kw_only=True)
class OpenTalking(Upstream):
    """What serves users: says which host it is, and what it was asked."""

    name: str = "opentalking"
    status: int = 200

    def respond(self, request):
        return Response.json({"served_by": self.name, "asked": request.path}, self.status)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


def free_address():
    """Return an address on loopback where nobody listens at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextlib.asynccontextmanager
async def server(*command, environ=None):
    """Run a server until the block ends; its output shows when a test fails."""
    process = await trio.lowlevel.open_process(
        list(command), env={**os.environ, **(environ or {})}, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(5) as scope:
                await process.wait()
            if scope.cancelled_caught:
                process.kill()
                await process.wait()
    assert not scope.cancelled_caught, "it did not end when it was told to"


def render_nginx(prefix, *, users, status, opentalking, statusd):
    """Put nginx's configuration into `prefix`, with other addresses in the files that are there for them."""
    for file in ("nginx.conf", "statusd.conf"):
        shutil.copy(CONTRIB / "nginx" / file, prefix)
    replaced = {
        "listen-users.conf": {"127.0.0.1:8080": users},
        "listen-status.conf": {"127.0.0.1:8081": status},
        "addresses.conf": {"127.0.0.1:8200": opentalking, "127.0.0.1:8000": statusd},
    }
    for file, addresses in replaced.items():
        text = (CONTRIB / "nginx" / file).read_text()
        for shipped, wanted in addresses.items():
            assert text.count(shipped) == 1
            text = text.replace(shipped, wanted)
        (prefix / file).write_text(text)
    return prefix / "nginx.conf"
