"""The servers of `serving.py`, all up at once on one core: statusd twice, and what it is compared to."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs

from loads import ENDPOINTS
from processes import HOST, beside, console_script, free_port, listens, running
from upstreams import CONFIG

STATUSD: Final = "statusd"
PLAIN: Final = "statusd, no front stage"
DICT: Final = "FastAPI dict"
BYTES: Final = "FastAPI bytes"
FLOOR: Final = "floor"
NGINX: Final = "nginx"
REPORTED: Final = 4.0
"""Seconds after which every source has reported."""

NGINX_CONFIG: Final = """
daemon off; master_process off; pid {directory}/pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type application/json; keepalive_requests 1000000000;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    listen {host}:{port} backlog=4096;
    {locations}
  }}
}}
"""


@attrs.frozen(kw_only=True)
class Server:
    """A server that is up.

    Attributes:
        name: its row.
        port: where it listens on loopback.
        pid: its process.
    """

    name: str
    port: int
    pid: int


@attrs.frozen(kw_only=True)
class Field:
    """All servers, and why some are not among them."""

    servers: Sequence[Server]
    left_out: Mapping[str, str]

    def named(self, name: str) -> Server | None:
        """Return the server of that name, if it is up."""
        return next((server for server in self.servers if server.name == name), None)


@contextmanager
def field(server_core: int, load_core: int) -> Iterator[Field]:
    """Run all servers on `server_core`, and statusd's upstreams on `load_core`, until the block ends."""
    left_out: dict[str, str] = {}
    servers: list[Server] = []
    with ExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        environment = exits.enter_context(simulators(load_core))[1]

        def add(name: str, command: Sequence[str], port: int, excuse: str = "") -> None:
            process = exits.enter_context(running(command, server_core, environment=environment))
            if listens(process, port):
                servers.append(Server(name=name, port=port, pid=process.pid))
            elif excuse:
                left_out[name] = excuse
            else:
                raise SystemExit(f"{name} did not start: {' '.join(command)}")

        for name, keys in ((STATUSD, ""), (PLAIN, "front_stage = false")):
            port = free_port()
            excuse = "" if name == STATUSD else "this statusd does not start with [http] front_stage = false"
            add(name, statusd(directory / f"{len(keys)}.toml", port, keys), port, excuse)
        time.sleep(REPORTED)  # sources have reported by then
        bodies = {path: fetched(servers[0].port, path) for path in ENDPOINTS}
        documents = directory / "documents.json"
        documents.write_text(json.dumps(bodies), encoding="utf-8")
        if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
            print("FastAPI on uvicorn is what statusd is compared to: pip install 'statusd[benchmark]'")
            raise SystemExit(2)
        for name, kind in ((DICT, "dict"), (BYTES, "bytes")):
            port = free_port()
            add(name, beside("fastapi_peer.py", str(documents), str(port), kind), port)
        port = free_port()
        add(FLOOR, beside("floor_peer.py", str(documents), str(port)), port)
        if found := shutil.which("nginx") or shutil.which("/usr/sbin/nginx"):
            port = free_port()
            add(NGINX, [found, "-c", str(nginx(directory, port, bodies))], port)
        else:
            left_out[NGINX] = "it is not installed: sudo apt-get install nginx-light"
        same_documents(servers, bodies)
        yield Field(servers=servers, left_out=left_out)


@contextmanager
def simulators(core: int) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """Run the upstreams on `core` until the block ends; yield their process and the environment that names them."""
    with running(beside("upstreams.py"), core, pipes=True) as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())


def statusd(config: Path, port: int, keys: str = "") -> list[str]:
    """Write a configuration with `keys` in ``[http]``; return the command that runs it."""
    config.write_text(CONFIG.format(http=keys), encoding="utf-8")
    return [console_script(), "run", "--config", str(config), "--bind", f"{HOST}:{port}"]


def nginx(directory: Path, port: int, bodies: Mapping[str, str]) -> Path:
    """Write a configuration that answers `bodies`; return it."""
    lines = []
    for path, body in bodies.items():
        text = body.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"location = {path} {{ return 200 '{text}'; }}")
    config = directory / "nginx.conf"
    text = NGINX_CONFIG.format(directory=directory, host=HOST, port=port, locations="\n    ".join(lines))
    config.write_text(text, encoding="utf-8")
    return config


def fetched(port: int, path: str) -> str:
    """Return the body at `path`."""
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
        body: bytes = answer.read()
    return body.decode()


def same_documents(servers: Sequence[Server], bodies: Mapping[str, str]) -> None:
    """Raise SystemExit unless each server answers documents equal to, and about as long as, those of statusd."""
    for server in servers:
        for path, body in bodies.items():
            other = fetched(server.port, path)
            same = server.name in {STATUSD, PLAIN} or json.loads(other) == json.loads(body)
            if not same or abs(len(other) - len(body)) > max(8, len(body) // 50):
                raise SystemExit(
                    f"{server.name} answers another {path} than statusd: {other!r} instead of {body!r}"
                )
