"""What is in the Debian package, and what is not."""

import gzip
import hashlib
import io
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.packaging.debian import BUILD, PROJECT, build, expect_builder

pytestmark = [pytest.mark.debian, pytest.mark.timeout(900)]

PATHS = {
    "/etc/statusd/statusd.toml": PROJECT / "etc/statusd.toml",
    "/usr/lib/systemd/system/statusd.service": PROJECT / "systemd/statusd.service",
    "/usr/lib/systemd/system/statusd.socket": PROJECT / "systemd/statusd.socket",
    "/usr/share/bash-completion/completions/statusd": PROJECT / "contrib/completion/statusd.bash",
    "/usr/share/zsh/vendor-completions/_statusd": PROJECT / "contrib/completion/_statusd",
    "/usr/share/fish/vendor_completions.d/statusd.fish": PROJECT / "contrib/completion/statusd.fish",
    "/usr/share/man/man8/statusd.8.gz": PROJECT / "docs/man/statusd.8",
    "/usr/share/man/man8/statusd-pip.8.gz": PROJECT / "contrib/debian/statusd-pip.8",
    "/usr/share/man/man5/statusd.toml.5.gz": PROJECT / "docs/man/statusd.toml.5",
    "/usr/share/doc/statusd/docs/operations.md": PROJECT / "docs/operations.md",
    "/usr/share/doc/statusd/examples/drop-ins/home.conf": PROJECT / "systemd/drop-ins/home.conf",
    "/usr/share/doc/statusd/changelog.gz": PROJECT / "CHANGELOG.md",
}
NOBODY = 65534
PROGRAMS = {"/opt/statusd/bin/statusd", "/usr/sbin/statusd-pip"}


@pytest.fixture(scope="module")
def members(deb):
    """The package's files, in their order: what tar knows of each, by absolute path."""
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return {
            member.name.removeprefix(".").rstrip("/") or "/": (member, content(archive, member))
            for member in archive.getmembers()
        }


def content(archive, member):
    file = archive.extractfile(member) if member.isfile() else None
    return None if file is None else file.read()


def field(deb, name):
    """Return a field of the control file."""
    done = subprocess.run(["dpkg-deb", "-f", deb, name], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_belongs_outside_of_the_environment_is_in_its_place(members):
    for path, source in PATHS.items():
        data = members[path][1]
        found = gzip.decompress(data) if path.endswith(".gz") else data
        assert found == source.read_bytes(), path
    assert members["/usr/bin/statusd"][0].linkname == "/opt/statusd/bin/statusd"


def test_the_catalogue_of_messages_is_there_where_the_project_has_one(members):
    source = PROJECT / "systemd/statusd.catalog"
    found = members.get("/usr/lib/systemd/catalog/statusd.catalog")
    assert (found is not None) == source.exists()
    assert found is None or found[1] == source.read_bytes()


def test_everything_is_roots_and_nobody_elses_to_write(members):
    for path, (member, _) in members.items():
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root"), path
        wanted = 0o777 if member.issym() else 0o755 if member.isdir() or path in PROGRAMS else 0o644
        assert oct(member.mode) == oct(wanted), path


def test_no_file_names_the_folder_that_it_was_made_in(members):
    """Whoever built it: temporary folders, home directories, and the checkout, unless its name says nothing."""
    places = re.compile(
        rb"(?<![\w/.])(?:/tmp/(?:tmp|pip-)[\w.]+|/home/\w+/|/root/\w|%s/)" % re.escape(str(PROJECT)).encode()
    )
    ours = ("/statusd", "pyvenv.cfg", "RECORD", "direct_url.json", ".pth", "constraints.txt")
    found = {
        path: match[0]
        for path, (_, data) in members.items()
        if data and ("/statusd" in path.removeprefix("/opt/statusd") or path.endswith(ours))
        if (match := places.search(data)) and "/docs/" not in path and "/testing/" not in path
    }
    assert found == {}
    assert not [path for path in members if path.endswith("direct_url.json")]


def test_compiled_modules_name_the_place_where_they_are_installed(members):
    compiled = {path: data for path, (_, data) in members.items() if path.endswith(".pyc")}
    assert len(compiled) > 500
    for path, data in compiled.items():
        source = re.sub(r"__pycache__/([\w.-]+)\.cpython-\d+\.pyc$", r"\1.py", path)
        assert source.encode() in data, path
        assert data[4:8] == b"\x03\0\0\0", f"{path} is not validated by its content"
    sources = {path for path in members if path.endswith(".py")}
    assert len(sources) == len(compiled)


def test_the_interpreter_is_debians_and_the_package_depends_on_it(deb, members):
    python = members["/opt/statusd/bin/python3"][0].linkname
    assert re.fullmatch(r"/usr/bin/python3\.\d+", python)
    assert python.removeprefix("/usr/bin/") in field(deb, "Depends").split(", ")
    assert re.search(r"\blibc6 \(>= 2\.\d+\)", field(deb, "Depends"))
    assert members["/opt/statusd/bin/statusd"][1].startswith(b"#!/opt/statusd/bin/python3\n")
    assert members["/opt/statusd/pyvenv.cfg"][1] == b"home = /usr/bin\ninclude-system-site-packages = false\n"
    programs = [path for path in members if path.startswith("/opt/statusd/bin/")]
    assert sorted(programs) == ["/opt/statusd/bin/python3", "/opt/statusd/bin/statusd"]


def test_the_records_of_the_libraries_hold(members):
    records = {path: data for path, (_, data) in members.items() if path.endswith(".dist-info/RECORD")}
    assert len(records) > 20
    for path, data in records.items():
        packages = Path(path).parents[1]
        for line in data.decode().splitlines():
            name, digest, size = line.rsplit(",", 2)
            file = posixpath.normpath(packages / name)
            assert file in members, (path, name)
            assert not size or int(size) == len(members[file][1]), name
            assert not digest or digest.startswith("sha256="), name


def test_the_configuration_is_the_administrators(deb):
    done = subprocess.run(["dpkg-deb", "--ctrl-tarfile", deb], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert archive.extractfile("./conffiles").read() == b"/etc/statusd/statusd.toml\n"
        for script in ("preinst", "postinst", "prerm", "postrm"):
            assert archive.getmember(f"./{script}").mode == 0o755


def test_dpkg_can_verify_every_file_but_the_configuration(deb, members):
    done = subprocess.run(["dpkg-deb", "--ctrl-tarfile", deb], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        rows = archive.extractfile("./md5sums").read().decode().splitlines()
    sums = {f"/{path}": digest for digest, path in (row.split("  ", 1) for row in rows)}
    files = {path: data for path, (_, data) in members.items() if data is not None}
    assert set(files) - set(sums) == {"/etc/statusd/statusd.toml"}
    assert {path for path in sums if hashlib.md5(files[path]).hexdigest() != sums[path]} == set()


def test_every_file_has_the_time_of_the_changelog_and_its_place_in_the_order_of_names(members):
    assert len({member.mtime for member, _ in members.values()}) == 1
    names = [path for path, (member, _) in members.items() if not member.issym()]
    assert names == sorted(names, key=lambda path: path.split("/"))


def test_the_version_is_the_projects(deb, unpacked):
    version = unpacked.run("/opt/statusd/bin/python3", "-m", "statusd", "--version").split()[1]
    assert re.fullmatch(rf"{re.escape(version)}-\d+", field(deb, "Version"))


def test_lintian_has_no_error_and_no_warning(deb):
    if shutil.which("lintian") is None:
        pytest.skip("inspects a Debian package: needs lintian")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", deb],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            [
                "--python",
                sys.executable if "/usr/bin/" not in os.path.realpath(sys.executable) else "/bin/true",
            ],
            "no Python of Debian's",
        ),
        (["--colour", "blue"], "--constraint"),
    ],
)
def test_the_build_refuses_what_it_cannot_do_and_says_what_it_can(arguments, words):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("builds a Debian package: needs dpkg-deb")
    done = subprocess.run([BUILD, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in {1, 2}
    assert words in done.stderr


def test_an_ordinary_user_in_another_folder_builds_the_same_bytes(deb):
    """As it must be for a package that is published; where root runs this, the other build is nobody's."""
    expect_builder()
    home = Path(tempfile.mkdtemp(prefix="statusd-nobody-"))
    try:
        again = build(home / "dist", *as_nobody(home), "env", f"HOME={home}", f"TMPDIR={home}")
        assert again.name == Path(deb).name
        assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(Path(deb).read_bytes()).digest()
    finally:
        shutil.rmtree(home)


def as_nobody(home):
    """Return what to put before a command so that nobody runs it, where root asks and nobody may read the project."""
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if os.geteuid() != 0 or subprocess.run([*drop, "test", "-r", BUILD], check=False).returncode:
        return []
    os.chown(home, NOBODY, NOBODY)
    return drop
