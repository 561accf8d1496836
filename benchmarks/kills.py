"""Kill a daemon at random moments, in a storm of changes: each next start serves what was kept, or says why not.

    python benchmarks/kills.py [--kills 200] [--seed 1] [--longest 2.5]

One `statusd run` after another in one state directory, each ended by SIGKILL: while it starts, while it probes, while it
writes. Its twelve sources change their status with nearly every probe, fifty times a second. After each kill:

- what lies in the directory is whole: `snapshot` has its checksum and a revision not below the one before, `revision` is a
  number, and nothing else is there but the temporary file of a write that was cut off, which the next write removes;
- the next start, for which the upstream does not answer, says in `daemon/state` how many sources it has restored, and shows
  each of them as the file has it, status, reason and time, marked as restored; its revision is above the file's.

In one of ten rounds the file is damaged on purpose: then the start must say so, and set it aside.

Exit code 1 when any of that fails.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import attrs

from processes import HOST, console_script
from statusd.model.kept import Kept, KeptError, decode
from statusd.web.bodies import timestamp

SOURCES: Final = 12
STARTS_WITHIN: Final = 30.0
"""Seconds in which a start must answer."""
BLIND: Final = 0.3
"""Share of rounds that end without waiting until the daemon answers."""
DAMAGED: Final = 0.1
"""Share of rounds before which the file is damaged."""
TEMPORARY: Final = re.compile(r"\.(snapshot|revision)\.[0-9a-f]{16}\.new")


class LostError(Exception):
    """Raised with what was lost."""


class Upstream(ThreadingHTTPServer):
    """Says yes and no in turns; while it is held, nothing at all."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.goes_on = threading.Event()
        super().__init__((HOST, 0), Answer)


class Answer(BaseHTTPRequestHandler):
    """An answer of the upstream's."""

    server: Upstream

    def do_GET(self) -> None:  # the name is that of http.server
        """Answer with what chance has it."""
        self.server.goes_on.wait()
        self.send_response(self.server.chance.choice((200, 500, 503)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@attrs.define(kw_only=True)
class Rounds:
    """Kills a daemon again and again.

    Attributes:
        folder: where everything is.
        upstream: what is probed.
        chance: decides.
        longest: seconds for which a daemon runs at most before it is killed.
    """

    folder: Path
    upstream: Upstream
    chance: random.Random
    longest: float
    counts: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(("served", "blind", "damaged"), 0))
    _revision: int = -1

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    def prepare(self) -> None:
        """Write the configuration."""
        self.state.mkdir()
        port = self.upstream.server_address[1]
        table = 'plugin = "http"\nurl = "http://{}:{}/{}"\ninterval = 0.02\ntimeout = 60\n'
        sources = [f"[sources.s{one}]\n{table.format(HOST, port, one)}" for one in range(SOURCES)]
        models = "\n".join(f'm{one} = "s{one}"' for one in range(0, SOURCES, 2))
        (self.folder / "statusd.toml").write_text("\n".join([*sources, "[models]", models, ""]))

    def round(self) -> None:
        """Start a daemon, hold what it serves against the file, let it run, kill it, and look at what it leaves.

        Raises:
            LostError: with what was lost.
        """
        before = self.left()
        is_damaged = before is not None and self.chance.random() < DAMAGED
        if is_damaged:
            self.damage()
            self.counts["damaged"] += 1
        is_blind = not is_damaged and self.chance.random() < BLIND
        if is_blind:
            self.upstream.goes_on.set()
        else:
            self.upstream.goes_on.clear()
        process = self.start()
        try:
            if is_blind:
                self.counts["blind"] += 1
            else:
                self.expect(process, None if is_damaged else before, is_damaged=is_damaged)
                self.counts["served"] += 1
                self.upstream.goes_on.set()
            time.sleep(self.chance.uniform(0, self.longest))  # the random moment
        finally:
            process.kill()
            process.wait()
            self.upstream.goes_on.set()
        if is_damaged:
            self._revision = -1 if self.left(is_any=True) is None else self._revision
        self.left()

    def start(self) -> subprocess.Popen[bytes]:
        """Start a daemon."""
        command = [console_script(), "run", "--config", str(self.folder / "statusd.toml")]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--bind", f"unix:{self.folder}/http"],
                env={**os.environ, "STATE_DIRECTORY": str(self.state)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def damage(self) -> None:
        """Do to the file what disks and people do."""
        path = self.state / "snapshot"
        data = bytearray(path.read_bytes())
        match self.chance.randrange(3):
            case 0:
                del data[self.chance.randrange(len(data)) :]
            case 1:
                data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
            case _:
                data[:] = self.chance.randbytes(100)
        path.write_bytes(data)

    def left(self, *, is_any: bool = False) -> Kept | None:
        """Return what the last daemon left, where it left anything; each file there must be whole.

        Args:
            is_any: whether any revision will do.
        """
        names = {path.name for path in self.state.iterdir()}
        others = {name for name in names if not TEMPORARY.fullmatch(name)}
        if len(names - others) > 2:
            raise LostError(f"temporary files are not removed: {names - others}")
        if strange := others - {"snapshot", "revision", "snapshot.damaged", "drains.json"}:
            raise LostError(f"there are strange files: {strange}")
        if "revision" in others and not (self.state / "revision").read_text().strip().isdigit():
            raise LostError("the revision is half written")
        if "snapshot" not in others:
            return None
        try:
            kept = decode((self.state / "snapshot").read_bytes())
        except KeptError as error:
            raise LostError(f"the snapshot is half written: {error}") from error
        if kept.revision < self._revision and not is_any:
            raise LostError(f"the revision went back from {self._revision} to {kept.revision}")
        self._revision = kept.revision
        return kept

    def expect(self, process: subprocess.Popen[bytes], kept: Kept | None, *, is_damaged: bool) -> None:
        """Want a start that serves what was kept, or says that it could not be used."""
        body = self.first_answer(process)
        tree = body["node"]["children"]
        own = tree["daemon"]["children"]["state"]
        if is_damaged != (own["reason"] == "state_set_aside"):
            raise LostError(f"the file was {'' if is_damaged else 'not '}damaged, and it says {own}")
        if is_damaged and not (self.state / "snapshot.damaged").exists():
            raise LostError("the damaged file was not set aside")
        (self.state / "snapshot.damaged").unlink(missing_ok=True)
        found = {} if kept is None else kept.sources
        if own["facts"]["restored"] != len(found):
            raise LostError(f"{len(found)} sources were kept, and it says {own}")
        for name, node in tree["sources"]["children"].items():
            shown = node["restored"], node["status"], node["reason"], node["observed_at"]
            wanted: tuple[object, ...] = (False, "unknown", "pending", None)
            if name in found:
                report, at = found[name].reports[0], timestamp(found[name].observed_at)
                wanted = True, report.status.value, report.reason, at
            if shown != wanted:
                raise LostError(f"{name} is shown as {shown}, and was kept as {wanted}")
        if kept is not None and body["revision"] <= kept.revision:
            raise LostError(f"revision {body['revision']} follows {kept.revision}")

    def first_answer(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Return the tree of a daemon that has just been started."""
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(STARTS_WITHIN)
                try:
                    connection.connect(str(self.folder / "http"))
                except OSError:
                    time.sleep(0.01)  # between two tries, with a deadline
                    continue
                connection.sendall(b"GET /state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                response = http.client.HTTPResponse(connection)
                response.begin()
                found: dict[str, Any] = json.loads(response.read())
                return found
        raise LostError(f"a start does not answer; its log ends with: {self.log()[-2000:]}")

    def log(self) -> str:
        """Return what the daemon has logged."""
        return (self.folder / "log").read_text(errors="replace")


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=2.5, help="seconds that a daemon runs at most")
    given = parser.parse_args()
    upstream = Upstream(given.seed)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="statusd-kills-") as folder:
        chance = random.Random(given.seed)
        rounds = Rounds(folder=Path(folder), upstream=upstream, chance=chance, longest=given.longest)
        rounds.prepare()
        for number in range(1, given.kills + 1):
            try:
                rounds.round()
            except LostError as error:
                print(f"after {number} kills: {error}", flush=True)
                return 1
            if number % 20 == 0:
                print(f"{number} kills: {rounds.counts}", flush=True)
    print(
        f"{given.kills} kills, {rounds.counts['served']} starts held against what was kept, "
        f"{rounds.counts['damaged']} of them with a damaged file: nothing was lost or half written.",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
