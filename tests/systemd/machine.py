"""A machine for tests: the real systemd as PID 1 in throwaway namespaces, over an overlay of this host's root."""

import compileall
import contextlib
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import attrs
import pytest

PROJECT = Path(__file__).parents[2]
UNITS = ("statusd.service", "statusd.socket")
PLUGIN = Path(__file__).with_name("stuck_plugin.py")
ENTRY_POINTS = "[statusd]\nstuck = statusd_stuck\n"
PROGRAMS = ("unshare", "nsenter", "setpriv", "pivot_root", "mount", "systemctl", "journalctl")
PATH = os.environ.get("PATH", "") + ":/usr/bin:/bin:/usr/sbin:/sbin"  # where the machine's programs are
NAMESPACES = ("--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--net")
TARGET = """\
[Unit]
Requires=sysinit.target systemd-journald.service
After=sysinit.target
AllowIsolate=yes
# Without a unit that names it, systemd would forget a stopped service, and its exit code.
Before=statusd.service statusd.socket
"""
CONSOLE_SCRIPT = """\
#!/opt/statusd/bin/python3
import sys
from statusd.cli import main
sys.exit(main())
"""


@attrs.define
class Machine:
    """A running systemd, known by the process id that its PID 1 has on the host."""

    pid: int

    def run(self, *command, input=None, expect=0, seconds=40):  # noqa: A002  # the name that subprocess uses
        """Run a command inside, for so many seconds at most; return its standard output."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-a", *command],
            input=input,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "PATH": PATH},
        )
        assert expect is None or done.returncode == expect, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, *properties, unit="statusd.service"):
        """Return properties of the service, or of another unit."""
        return tuple(self.run("systemctl", "show", "-P", name, unit).strip() for name in properties)

    def entries(self, *matches):
        """Return what the service itself wrote to the journal, oldest first; `matches` as journalctl takes them."""
        self.run("journalctl", "--sync")
        text = self.run("journalctl", "--all", "-o", "json", "_SYSTEMD_UNIT=statusd.service", *matches)
        return [json.loads(line) for line in text.splitlines()]

    def status_code(self, *arguments):
        """Return the status code that curl inside gets, as text; 000 for none."""
        command = ("curl", "-sk", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", *arguments)
        return self.run(*command, expect=None)

    def get(self, path, base="http://127.0.0.1:8000"):
        """Return the JSON body of a GET inside."""
        return json.loads(self.run("curl", "-fsS", "--max-time", "10", f"{base}{path}"))

    def journal(self):
        """Return the service's journal, for messages of assertions."""
        return self.run("journalctl", "--no-pager", "-o", "short", "-u", "statusd.service", expect=None)

    def write(self, path, text):
        """Put a file into the machine."""
        self.run(
            "sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod 644 "$1"', "sh", path, input=text
        )

    def wait(self, condition, seconds=30):
        """Wait until `condition` holds."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"still not so:\n{self.journal()}"
            time.sleep(0.05)
        return value


def missing():
    """Return what keeps a machine from booting here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    if absent := [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]:
        return f"needs the programs {', '.join(absent)}"
    if not Path("/lib/systemd/systemd").exists():
        return "needs /lib/systemd/systemd"
    if cgroup2() is None:
        return "needs a cgroup2 mount"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"needs namespaces: {tried.stderr.strip()}" if tried.returncode else ""


def cgroup2():
    """Return where the unified cgroup hierarchy is mounted, or None."""
    rows = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(row[1]) for row in rows if row[2] == "cgroup2" and os.access(row[1], os.W_OK)), None)


def build(parts):
    """Lay out what the machine has and the host has not: the units and an installation in /opt/statusd, with a plugin."""
    tree = parts / "tree"
    units = tree / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(PROJECT / "systemd" / unit, units)
    (units / "statusd-test.target").write_text(TARGET)
    for package in ("daemon/statusd", "plugins/statusd_plugins"):
        shutil.copytree(
            PROJECT / package,
            tree / "opt/statusd/code" / Path(package).name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    # As pip does; and since the copies in the machine have another time than their sources here, they are not compared.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(tree / "opt/statusd/code", quiet=2, invalidation_mode=mode)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    binds = {path: f"/opt/site-{number}" for number, path in enumerate(site_packages())}
    prefix = Path(sys.base_prefix).resolve()
    home = prefix
    if prefix != Path("/usr"):  # it may lie in a home directory, which the unit hides
        home = Path("/opt/python")
        binds[str(prefix)] = str(home)
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and home != prefix:
        (units / "statusd.service.d").mkdir()
        (units / "statusd.service.d/library.conf").write_text(
            f"[Service]\nEnvironment=LD_LIBRARY_PATH={home}/lib\n"
        )
    venv = tree / "opt/statusd"
    packages = venv / f"lib/{version}/site-packages"
    packages.mkdir(parents=True)
    shutil.copy(PLUGIN, packages / "statusd_stuck.py")
    plugin = packages / "statusd_stuck-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: statusd-stuck\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text(ENTRY_POINTS)
    (packages / "test.pth").write_text("\n".join(["/opt/statusd/code", *binds.values()]))
    (venv / "pyvenv.cfg").write_text(f"home = {home}/bin\ninclude-system-site-packages = false\n")
    (venv / "bin").mkdir()
    (venv / "bin/python3").symlink_to(home / "bin" / version)
    (venv / "bin/statusd").write_text(CONSOLE_SCRIPT)
    (venv / "bin/statusd").chmod(0o755)
    (parts / "binds").write_text("".join(f"{source} {target}\n" for source, target in binds.items()))


def site_packages():
    """Return where this interpreter finds what is installed."""
    return [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]


def kernel_settings():
    """Return the host's sysctl values, without those that move by themselves."""
    values = {}
    for path in Path("/proc/sys").rglob("*"):
        name = str(path)
        if "/random/" in name or name.endswith(
            ("-state", "-nr", "/nr", "ns_last_pid", "quota/syncs", "_count")
        ):
            continue
        try:
            values[name] = path.read_bytes()
        except OSError:
            continue
    return values


@contextlib.contextmanager
def booted():
    """Give a booted machine, with the unit installed and not started; all of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="statusd-machine-"))
    work, parts = folder / "work", folder / "parts"
    work.mkdir()
    parts.mkdir()
    build(parts)
    cgroup = cgroup2() / f"statusd-test-{os.getpid()}"
    cgroup.mkdir()
    try:
        process, machine = boot(work, parts, folder / "log", cgroup)
        try:
            machine.wait(
                lambda: (
                    machine.run("systemctl", "is-system-running", expect=None).strip()
                    in {"running", "degraded"}
                )
            )
            yield machine
        finally:
            halt(process)
    finally:
        remove_cgroups(cgroup)
        shutil.rmtree(folder)


def boot(work, parts, log, cgroup):
    """Start systemd; return the process of unshare and the machine."""
    inner = ["sh", str(Path(__file__).with_name("boot.sh")), str(work), str(parts)]
    enter = ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(cgroup)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*enter, "unshare", *NAMESPACES, "--propagation=private", "--kill-child", "--", *inner],
            env={"PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 15
    while True:
        try:
            pid = int(children.read_text().split()[0])
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                return process, Machine(pid)
        except (OSError, IndexError):
            pass  # not yet forked, or gone: the poll below tells
        if process.poll() is not None or time.monotonic() > deadline:
            halt(process)
            pytest.fail(f"systemd did not boot: {log.read_text(errors='replace')}")
        time.sleep(0.02)


def halt(process):
    """End the machine: with PID 1 the kernel ends everything inside."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if process.poll() is None:
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def remove_cgroups(top):
    """Remove a cgroup and all below it, deepest first, once its processes are gone."""
    deadline = time.monotonic() + 10
    while top.exists():
        try:
            for folder in sorted(filter(Path.is_dir, top.rglob("*")), key=lambda path: -len(path.parts)):
                folder.rmdir()
            top.rmdir()
        except OSError:
            assert time.monotonic() < deadline, f"{top} is still busy"
            time.sleep(0.05)
