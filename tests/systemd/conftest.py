"""A machine for tests: the real systemd as PID 1 in throwaway namespaces, over an overlay of this host's root."""

import os
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
UNIT = PROJECT / "systemd/statusd.service"
PROGRAMS = ("unshare", "nsenter", "setpriv", "pivot_root", "mount", "systemctl", "journalctl")
PATH = os.environ.get("PATH", "") + ":/usr/bin:/bin:/usr/sbin:/sbin"  # where the machine's programs are
NAMESPACES = ("--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--net")
TARGET = """\
[Unit]
Requires=sysinit.target systemd-journald.service
After=sysinit.target
AllowIsolate=yes
# Without a unit that names it, systemd would forget a stopped service, and its exit code.
Before=statusd.service
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

    def run(self, *command, input=None, expect=0):  # noqa: A002  # the name that subprocess uses
        """Run a command inside; return its standard output."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-a", *command],
            input=input,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
            env={**os.environ, "PATH": PATH},
        )
        assert expect is None or done.returncode == expect, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, *properties):
        """Return properties of the service."""
        return tuple(
            self.run("systemctl", "show", "-P", name, "statusd.service").strip() for name in properties
        )

    def journal(self):
        """Return the service's journal, for messages of assertions."""
        return self.run("journalctl", "--no-pager", "-o", "short", "-u", "statusd.service", expect=None)

    def write(self, path, text):
        """Put a file into the machine."""
        self.run(
            "sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod 644 "$1"', "sh", path, input=text
        )

    def wait(self, condition, seconds=15):
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
    """Lay out what the machine has and the host has not: the unit and an installation in /opt/statusd."""
    tree = parts / "tree"
    units = tree / "etc/systemd/system"
    units.mkdir(parents=True)
    shutil.copy(UNIT, units)
    (units / "statusd-test.target").write_text(TARGET)
    for package in ("daemon/statusd", "plugins/statusd_plugins"):
        shutil.copytree(
            PROJECT / package,
            tree / "opt/statusd/code" / Path(package).name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
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


@pytest.fixture(scope="module")
def settings_before():
    """The host's kernel settings before anything booted."""
    return kernel_settings()


@pytest.fixture
def settings_now():
    """Asks for them again."""
    return kernel_settings


@pytest.fixture(scope="module")
def machine(settings_before):
    """A booted machine, with the unit installed and not started."""
    if reason := missing():
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"the systemd acceptance test must run here, and {reason}")
        pytest.skip(f"boots a real systemd: {reason}")
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
