"""Settle the environment that was made in ROOT/opt/statusd where it will be, /opt/statusd: settle.py ROOT PYTHON.

pip and venv write the paths that they work with into files; none of those may be left, and nothing that nobody runs there.
"""

import base64
import compileall
import csv
import hashlib
import importlib.metadata
import py_compile
import re
import shutil
import sys
from pathlib import Path

HOME = Path("/opt/statusd")
PLUGINS = "/usr/local/lib/statusd/plugins"
SCRIPT = "statusd"


def settle(home: Path, python: Path) -> None:
    """Change the environment in `home` so that it works as /opt/statusd with the interpreter `python`."""
    packages = home / "lib" / python.name / "site-packages"
    _keep_two_programs(home, python)
    for name in ("share", "include", "lib64"):
        _remove(home / name)
    (home / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    # Appended to sys.path as the last of all: what is in there takes the place of nothing that statusd brings along.
    (packages / "statusd-plugins.pth").write_text(f"{PLUGINS}\n")
    for file in packages.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)  # none of them is a program
    found = list(importlib.metadata.distributions(path=[str(packages)]))
    for distribution in found:
        _write_record(packages, distribution)
    pins = sorted(f"{distribution.name}=={distribution.version}\n" for distribution in found)
    (home / "constraints.txt").write_text("".join(pins))
    _compile(packages, home)
    _expect_no_trace(home)


def _keep_two_programs(home: Path, python: Path) -> None:
    """Leave the interpreter, which is Debian's, and statusd, which starts it."""
    script = (home / "bin" / SCRIPT).read_text()
    shutil.rmtree(home / "bin")
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(python)
    started = home / "bin" / SCRIPT
    started.write_text(re.sub(r"\A#!.*\n", f"#!{HOME}/bin/python3\n", script))
    started.chmod(0o755)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _write_record(packages: Path, distribution: importlib.metadata.Distribution) -> None:
    """Write the list of a distribution's files anew, with those that are still there, as they are now."""
    [record] = [file for file in distribution.files or () if file.name == "RECORD"]
    metadata = packages / record.parent
    (metadata / "direct_url.json").unlink(missing_ok=True)  # says where the wheel lay
    with (packages / record).open(newline="") as lines:
        names = [row[0] for row in csv.reader(lines)]
    with (packages / record).open("w", newline="") as lines:
        rows = csv.writer(lines, lineterminator="\n")
        for name in sorted(names):
            file = packages / name
            if name == str(record):
                rows.writerow([name, "", ""])
            elif file.exists():
                rows.writerow([name, *_digest(file)])


def _digest(file: Path) -> tuple[str, str]:
    data = file.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}", str(len(data))


def _compile(packages: Path, home: Path) -> None:
    """Compile all modules: the service cannot write here, and would compile them at each start.

    Validated by content, so that the same sources make the same bytes, and what an administrator changes counts.
    """
    done = compileall.compile_dir(
        packages,
        maxlevels=50,
        quiet=1,
        stripdir=str(home),
        prependdir=str(HOME),
        invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
        workers=0,
    )
    if not done:
        sys.exit("A module cannot be compiled; what is above says which.")


def _expect_no_trace(home: Path) -> None:
    """End where a file still has the path of the folder in which all of the build is done, above ROOT."""
    trace = str(home.parents[2]).encode()
    left = [str(file) for file in home.rglob("*") if file.is_file() and trace in file.read_bytes()]
    if left:
        sys.exit(f"These files name the folder that they were made in: {', '.join(left)}")


if __name__ == "__main__":
    settle(Path(sys.argv[1]) / "opt" / "statusd", Path(sys.argv[2]))
