"""The real journald on its own, in throwaway namespaces."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs

PATH = os.environ.get("PATH", "") + ":/usr/bin:/bin:/usr/sbin:/sbin"
DAEMON = "/lib/systemd/systemd-journald"
PROGRAMS = ("unshare", "nsenter", "mount", "journalctl", "systemd-cat")
NAMESPACES = ("--mount", "--pid", "--fork", "--mount-proc", "--propagation", "private", "--kill-child")
MACHINE = "0123456789abcdef0123456789abcdef"
INNER = f"""
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal/{MACHINE} /run/systemd/journald.conf.d
echo {MACHINE} >/run/machine-id
mount --bind /run/machine-id /etc/machine-id
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\nRateLimitIntervalSec=0\\n' >/run/systemd/journald.conf.d/test.conf
touch /run/prepared
trap exit TERM
while :; do sleep 1000 & wait $!; done
"""


def missing():
    """Return what keeps journald from running here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    if absent := [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]:
        return f"needs the programs {', '.join(absent)}"
    if not Path(DAEMON).exists():
        return f"needs {DAEMON}"
    if not Path("/etc/machine-id").exists():
        return "needs the file /etc/machine-id"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "true"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": PATH},
    )
    return f"needs namespaces: {tried.stderr.strip()}" if tried.returncode else ""


def wait(condition, seconds=20):
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.02)
    return value


@attrs.define
class Journald:
    """Namespaces with a journald in them.

    Attributes:
        outer: the process of unshare.
        pid: the first process inside, as the host sees it.
        daemon: journald, likewise; 0 while there is none.
    """

    outer: subprocess.Popen
    pid: int = 0
    daemon: int = 0

    @classmethod
    def boot(cls):
        """Prepare the namespaces, and start journald."""
        outer = subprocess.Popen(
            ["unshare", *NAMESPACES, "sh", "-c", INNER], env={"PATH": PATH}, stdin=subprocess.DEVNULL
        )
        made = cls(outer)
        made.pid = wait(made._first)
        wait(made.inside("/run/prepared").exists)
        made.start()
        return made

    def inside(self, path):
        """Return what leads to a file inside."""
        return Path(f"/proc/{self.pid}/root{path}")

    def command(self, *command):
        """Return the command that runs `command` inside."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "--", *command]

    def run(self, *command):
        """Run a command inside; return its standard output."""
        done = subprocess.run(
            self.command(*command),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PATH": PATH},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        """Start journald, and wait until it listens."""
        self.inside("/run/systemd/journal/socket").unlink(missing_ok=True)
        process = subprocess.Popen(
            self.command(DAEMON), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": PATH}
        )
        self._nsenter = process
        self.daemon = int(wait(lambda: _children(process.pid)).split()[0])
        wait(self.inside("/run/systemd/journal/socket").exists)

    def kill(self):
        """Kill journald, and wait until it is gone."""
        os.kill(self.daemon, signal.SIGKILL)
        self._nsenter.wait(10)
        self.daemon = 0

    def freeze(self):
        """Stop journald where it is."""
        os.kill(self.daemon, signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
        os.kill(self.daemon, signal.SIGCONT)
        os.kill(self._nsenter.pid, signal.SIGCONT)  # it stops as its child does

    def script(self, code, *arguments):
        """Start a script whose standard error is the journal's stream, as a service's is."""
        stream = 'export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec 1>&3; exec "$@"'
        command = [
            "systemd-cat",
            "--identifier=service",
            "sh",
            "-c",
            stream,
            "sh",
            sys.executable,
            "-c",
            code,
            *arguments,
        ]
        # systemd-cat takes standard output, too; the script's own goes out by the third descriptor.
        outer = ["sh", "-c", 'exec 3>&1; exec "$@"', "sh", *self.command(*command)]
        return subprocess.Popen(
            outer,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PATH": PATH, "PYTHONUNBUFFERED": "1"},
        )

    def entries(self, *matches):
        """Return the entries that are written by now, as dictionaries."""
        text = self.run("journalctl", "--directory=/run/log/journal", "--all", "-o", "json", *matches)
        return [json.loads(line) for line in text.splitlines()]

    def halt(self):
        """End everything inside."""
        os.kill(self.pid, signal.SIGKILL)
        self._nsenter.wait(10)
        self.outer.wait(10)

    def _first(self):
        assert self.outer.poll() is None, "unshare has ended"
        found = _children(self.outer.pid).split()
        return int(found[0]) if found else 0

    _nsenter: subprocess.Popen = None


def _children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
