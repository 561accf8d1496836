"""What the sandbox hides, from tables of mounts as services and hosts have them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import ProbeError, Report, Secret, Status, Url
from statusd.testing.fakes import FakeCompleted, FakeContext
from statusd_plugins import local_modules, local_processes, local_programs, local_units
from statusd_plugins.http import HttpHealthSource
from statusd_plugins.local import LocalSource
from statusd_plugins.local_files import look_at_files, look_at_process
from statusd_plugins.local_modules import PLACES
from statusd_plugins.mounts import Mount, covering, is_below, parse_mounts
from statusd_plugins.redis_queue import RedisQueueSource
from statusd_plugins.sandbox import Sandbox

TMP = "/tmp/systemd-private-dca8fc21d008476995d870eb1cbe9f9c-statusd.service-OY1q5q/tmp"
SERVICE = f"""\
98 47 0:41 / / ro,nosuid,relatime shared:26 master:1 - overlay overlay rw,lowerdir=/
116 98 0:49 / /run rw,nosuid,nodev,relatime shared:32 master:18 - tmpfs tmpfs rw,mode=755
117 116 0:50 / /run/lock rw,nosuid shared:33 master:21 - tmpfs tmpfs rw,size=5120k
123 98 0:54 / /dev ro,nosuid,noexec shared:40 - tmpfs tmpfs rw,size=4096k,mode=755
124 123 0:47 / /dev/pts rw,nosuid,relatime shared:41 master:16 - devpts devpts rw,mode=620
125 123 0:48 / /dev/shm rw,nosuid,relatime shared:42 master:17 - tmpfs tmpfs rw
107 98 0:49 /systemd/inaccessible/dir /home ro,nosuid,nodev shared:45 master:18 - tmpfs tmpfs rw
99 98 0:55 / /proc rw,nosuid,nodev,noexec shared:46 - proc proc rw,hidepid=invisible,subset=pid
100 98 0:49 /systemd/inaccessible/dir /root ro,nosuid,nodev shared:47 master:18 - tmpfs tmpfs rw
101 116 0:49 /systemd/inaccessible/dir /run/credentials ro shared:34 master:18 - tmpfs tmpfs rw
103 116 0:49 /systemd/propagate/statusd.service /run/systemd/incoming ro master:18 - tmpfs tmpfs rw
108 116 0:49 /systemd/inaccessible/dir /run/user ro,nosuid shared:37 master:18 - tmpfs tmpfs rw
112 98 0:41 {TMP} /tmp rw,nosuid,relatime shared:48 master:1 - overlay overlay rw,lowerdir=/
113 98 0:56 / /var/lib/private ro,nosuid,nodev,noexec shared:49 - tmpfs tmpfs rw,size=4096k
114 113 0:41 /var/lib/private/statusd /var/lib/private/statusd rw shared:50 master:1 - overlay overlay rw
115 98 0:41 /var{TMP} /var/tmp rw,nosuid,relatime shared:51 master:1 - overlay overlay rw,lowerdir=/
130 98 0:60 / /srv/masked rw,nosuid,relatime shared:60 - tmpfs tmpfs rw
131 98 0:49 /systemd/inaccessible/reg /srv/file ro shared:61 master:18 - tmpfs tmpfs rw,mode=755
"""
"""What ``/proc/self/mountinfo`` says in the shipped unit, shortened, with two directives of an operator."""
HOST = """\
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
25 24 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,mode=755
26 24 0:20 / /proc rw,nosuid shared:3 - proc proc rw,hidepid=invisible
27 24 0:21 / /run rw,nosuid shared:4 - tmpfs tmpfs rw
28 27 0:22 / /run/user/1000 rw,nosuid shared:5 - tmpfs tmpfs rw
29 24 0:23 / /tmp rw,nosuid shared:6 - tmpfs tmpfs rw
30 24 0:24 / /home rw,nosuid shared:7 - tmpfs tmpfs rw
"""
DOCKER = """\
500 400 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/x
501 500 0:61 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
502 500 0:62 / /proc rw,nosuid - proc proc rw
503 500 0:63 / /home ro,nosuid - tmpfs tmpfs rw
504 500 0:64 / /tmp rw,nosuid - tmpfs tmpfs rw
505 500 0:65 /srv/data /data rw - ext4 /dev/sda1 rw
"""


def sandbox(table: str = SERVICE) -> Sandbox:
    return Sandbox(mounts=parse_mounts(table.encode()))


@pytest.fixture
def inside(monkeypatch):
    """Has the plugins see the mounts of the shipped unit."""
    monkeypatch.setattr(Sandbox, "current", classmethod(lambda cls: sandbox()))


def hidden_by(path: str, table: str = SERVICE) -> tuple[str, str] | None:
    hiding = sandbox(table).hides(path)
    return None if hiding is None else (hiding.directive, hiding.opening)


@pytest.mark.parametrize(
    ("path", "directive", "opening"),
    [
        ("/home", "ProtectHome=", "ProtectHome=read-only"),
        ("/home/model/x", "ProtectHome=", "ProtectHome=read-only"),
        ("/root/x", "ProtectHome=", "ProtectHome=read-only"),
        ("/run/user/5/bus", "ProtectHome=", "ProtectHome=read-only"),
        ("/tmp", "PrivateTmp=", "BindReadOnlyPaths=/tmp"),
        ("/tmp/nowhere/x", "PrivateTmp=", "BindReadOnlyPaths=/tmp"),
        ("/var/tmp/nowhere", "PrivateTmp=", "BindReadOnlyPaths=/var/tmp"),
        ("/dev/nowhere0", "PrivateDevices=", "PrivateDevices=no"),
        ("/proc/nowhere", "ProcSubset=", "ProcSubset=all"),
        ("/proc/4194303/stat", "ProtectProc=", "ProtectProc=default"),
        ("/run/credentials/x", "LoadCredential=", "LoadCredential= for it"),
        ("/var/lib/private/other", "DynamicUser=", "BindReadOnlyPaths=/var/lib/private/other"),
        ("/srv/masked/x", "TemporaryFileSystem=", "BindReadOnlyPaths=/srv/masked/x"),
        ("/srv/file", "InaccessiblePaths=", 'an empty "InaccessiblePaths="'),
    ],
)
def test_each_directive_is_told_by_its_mount(path, directive, opening):
    assert hidden_by(path) == (directive, opening)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc/passwd",
        "/etc/nowhere",
        "/homes/x",
        "/opt/x",
        "/run/lock/x",
        "/run/nowhere",
        "/dev/null",
        "/dev/shm/nowhere",
        "/var/lib/private/statusd/x",
        "/srv/filed",
    ],
)
def test_the_rest_is_not_hidden(path):
    assert hidden_by(path) is None


@pytest.mark.parametrize("table", [HOST, DOCKER, "", "garbage\n\n - - \n1 2 3\n"])
@pytest.mark.parametrize(
    "path", ["/home/x", "/tmp/nowhere", "/dev/nowhere", "/proc/4194303", "/run/user/5/x", "/etc/nowhere"]
)
def test_outside_of_such_a_sandbox_nothing_is_hidden(table, path):
    assert hidden_by(path, table) is None


def test_homes_as_an_empty_file_system_and_a_tmp_that_is_disconnected():
    table = SERVICE.replace("0:49 /systemd/inaccessible/dir /home ro", "0:70 / /home ro").replace(
        "shared:45 master:18", "shared:45"
    )
    assert hidden_by("/home/x", table) == ("ProtectHome=", "ProtectHome=read-only")
    table = SERVICE.replace(
        f"0:41 {TMP} /tmp rw,nosuid,relatime shared:48 master:1 - overlay", "0:71 / /tmp rw shared:48 - tmpfs"
    )
    assert hidden_by("/tmp/nowhere", table) == ("PrivateTmp=", "BindReadOnlyPaths=/tmp")


def test_file_systems_of_the_host_are_not_taken_for_the_services_own():
    """A host whose /home and /tmp are in memory, and a unit with ProtectHome=no."""
    table = SERVICE.replace("107 98 0:49 /systemd/inaccessible/dir /home", "107 98 0:70 / /home").replace(
        f"0:41 {TMP} /tmp", "0:71 / /tmp"
    )
    assert hidden_by("/home/x", table) is None
    assert hidden_by("/tmp/nowhere", table) is None


def test_where_nothing_is_inherited_only_what_is_certain_counts():
    """MountFlags=private: the service's own mounts cannot be told from the host's."""
    table = "\n".join(
        " ".join(word for word in line.split() if not word.startswith(("shared:", "master:")))
        for line in SERVICE.splitlines()
    )
    assert hidden_by("/srv/masked/x", table) is None
    assert hidden_by("/home/x", table) == ("ProtectHome=", "ProtectHome=read-only")
    assert hidden_by("/tmp/nowhere", table) == ("PrivateTmp=", "BindReadOnlyPaths=/tmp")


def test_a_directory_that_is_shown_again_is_not_hidden():
    shown = "140 112 0:41 /tmp/app /tmp/app ro shared:70 master:1 - overlay overlay rw\n"
    assert hidden_by("/tmp/app/nowhere", SERVICE + shown) is None
    assert hidden_by("/tmp/other/nowhere", SERVICE + shown) is not None


def test_a_mount_below_a_hidden_directory_is_out_of_reach():
    """A home of its own file system, over whose parent the inaccessible directory was mounted later."""
    below = "90 98 8:5 / /home/model rw shared:80 master:9 - ext4 /dev/sdb1 rw\n"
    assert hidden_by("/home/model/x", below + SERVICE) == ("ProtectHome=", "ProtectHome=read-only")


def test_links_are_followed(tmp_path):
    (tmp_path / "link").symlink_to("/home/model")
    assert hidden_by(str(tmp_path / "link/weights")) == ("ProtectHome=", "ProtectHome=read-only")


def test_names_are_unescaped_and_odd_lines_left_out():
    (mount,) = parse_mounts(rb"""
1 0 0:1 / /a\040b\134c rw - ext4 \040 rw,x
nonsense
x 0 0:1 / /y rw - ext4 z rw
1 0 0:1 / /y rw ext4 z rw
""")
    assert (mount.point, mount.kind, mount.options) == ("/a b\\c", "ext4", {"rw", "x"})


@given(st.binary(max_size=300))
def test_no_table_makes_it_raise(table):
    view = Sandbox(mounts=parse_mounts(table))
    view.hides("/home/x")
    assert view.is_service in {True, False}


numbers = st.integers(0, 6)
points = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/d"])


@given(
    st.lists(
        st.builds(
            Mount,
            number=numbers,
            parent=numbers,
            root=st.just("/"),
            point=points,
            kind=st.just("tmpfs"),
            options=st.just(frozenset()),
            is_inherited=st.booleans(),
        ),
        max_size=8,
    ),
    points,
)
def test_the_mount_that_is_found_has_the_path_below_it_whatever_the_table_says(mounts, path):
    found = covering(mounts, path)
    assert found is None or is_below(path, found.point)


def test_without_a_table_nothing_is_hidden(monkeypatch):
    def refuse(_path):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert Sandbox.current().hides("/home/x") is None


def test_this_very_process_is_in_no_such_sandbox_or_says_so():
    assert Sandbox.current().mounts
    assert Sandbox.current().hides("/etc/passwd") is None


@pytest.mark.usefixtures("inside")
class TestInside:
    def test_a_file(self, tmp_path):
        (tmp_path / "empty").touch()
        hidden, missing, empty = look_at_files(["/home/x/weights", "/etc/nowhere", str(tmp_path / "empty")])
        assert (hidden.status, hidden.reason) == (Status.UNKNOWN, "sandboxed")
        assert hidden.message == (
            "/home/x/weights is hidden by ProtectHome= of statusd's unit: "
            "a drop-in with ProtectHome=read-only shows it."
        )
        assert hidden.facts == {"opened_by": "ProtectHome=read-only"}
        assert (missing.reason, hidden.path) == ("missing", "files/%2Fhome%2Fx%2Fweights")
        assert empty.reason == "missing"

    def test_a_pid_file(self):
        report = look_at_process("/run/user/5/pid")
        assert (report.path, report.status, report.reason) == ("pid", Status.UNKNOWN, "sandboxed")

    @pytest.mark.parametrize(
        ("command", "result", "directive"),
        [
            (["/home/x/tool"], ProbeError("permission_denied", "No."), "ProtectHome="),
            (["nvidia-smi", "-L"], FakeCompleted(9), "PrivateDevices="),
            (["/bin/test", "-e", "/home/x"], FakeCompleted(1), "ProtectHome="),
            (["/bin/serve", "--model=/home/x"], FakeCompleted(1), "ProtectHome="),
            (["/bin/serve"], FakeCompleted(-31), "SystemCallFilter="),
            (["/bin/serve", "http://home/home/x", "/dev/null", "a/home/x"], FakeCompleted(1), None),
            (["/bin/serve", "print('/home/x')"], FakeCompleted(1), None),
            (["/bin/serve"], FakeCompleted(-9), None),
            (["/bin/serve"], ProbeError("not_found", "No."), None),
        ],
    )
    async def test_a_command(self, command, result, directive):
        source = LocalSource(context=FakeContext(commands={command[0]: result}), command=command)
        own, report = await source.probe()
        if directive is None:
            assert (report.status, own.reason) == (Status.DOWN, report.reason)
            assert report.reason in {"failed", "not_found"}
        else:
            assert (report.status, report.reason, own.reason) == (Status.UNKNOWN, "sandboxed", "sandboxed")
            assert f"hidden by {directive}" in report.message
            if isinstance(result, FakeCompleted):
                assert report.facts["exit_code"] == result.returncode
                assert "ended" in report.message

    async def test_a_program_looked_for_in_a_hidden_folder(self, monkeypatch):
        monkeypatch.setenv("PATH", "/usr/bin:/home/x/bin")
        context = FakeContext(commands={"tool": ProbeError("not_found", "No.")})
        _, report = await LocalSource(context=context, command=["tool"]).probe()
        assert report.reason == "sandboxed"
        assert report.message.startswith("/home/x/bin/tool is hidden")

    async def test_a_script_whose_interpreter_is_hidden(self, tmp_path):
        script = tmp_path / "script"
        script.write_text("#!/home/x/venv/bin/python -I\n")
        context = FakeContext(commands={str(script): ProbeError("permission_denied", "No.")})
        _, report = await LocalSource(context=context, command=[str(script)]).probe()
        assert report.message.startswith("/home/x/venv/bin/python is hidden")

    @pytest.mark.parametrize("content", [b"", b"\x7fELF\n", b"#!", b"#!\n", b"#!/bin/sh\xff\n"])
    async def test_whatever_a_program_begins_with_is_looked_at_without_raising(self, tmp_path, content):
        (tmp_path / "program").write_bytes(content)
        os.mkfifo(tmp_path / "fifo")
        for program in (tmp_path / "program", tmp_path / "fifo", "/etc", "/etc/nowhere"):
            assert local_programs.hidden_start(str(program)) is None

    async def test_modules_of_an_environment_whose_python_is_hidden(self, tmp_path):
        (tmp_path / "venv/bin").mkdir(parents=True)
        (tmp_path / "venv/pyvenv.cfg").write_text(
            "include-system-site-packages = false\nhome = /home/x/bin\n"
        )
        python = str(tmp_path / "venv/bin/python")
        for result in (FakeCompleted(1), ProbeError("not_found", "No."), FakeCompleted(0, b"junk")):
            context = FakeContext(commands={python: result})
            source = LocalSource(context=context, python=python, modules=["a", "b"])
            assert [report.reason for report in await source.probe()] == ["sandboxed"] * 3

    @pytest.mark.parametrize(
        ("places", "reason"),
        [
            (["/home/x/src"], "sandboxed"),
            (["/etc", "{tmp}"], "sandboxed"),
            (["/etc", "relative/home"], "missing"),
            ([], "missing"),
            ([1, None], "missing"),
            ("text", "missing"),
        ],
    )
    async def test_a_module_that_may_be_where_nobody_can_look(self, tmp_path, places, reason):
        (tmp_path / "absent").symlink_to("/home/x/absent")

        @attrs.define(kw_only=True)
        class Interpreter(FakeContext):
            async def run(self, command):
                if command[3] == PLACES:
                    found = [str(tmp_path) if place == "{tmp}" else place for place in places]
                    return FakeCompleted(0, places_json(found if isinstance(places, list) else places))
                return FakeCompleted(0, b'{"absent": false, "here": true}')

        source = LocalSource(context=Interpreter(), python="/usr/bin/python3", modules=["absent", "here"])
        own, absent, here = await source.probe()
        assert (absent.reason, here.status) == (reason, Status.OK)
        assert own.reason == reason

    async def test_places_that_cannot_be_had_change_nothing(self):
        @attrs.define(kw_only=True)
        class Interpreter(FakeContext):
            async def run(self, command):
                return FakeCompleted(0, b"junk" if command[3] == PLACES else b'{"absent": false}')

        source = LocalSource(context=Interpreter(), python="/usr/bin/python3", modules=["absent"])
        assert [report.reason for report in await source.probe()] == ["missing"] * 2

    @pytest.mark.parametrize(
        ("stderr", "invented", "reason"),
        [
            (b"Failed to get properties: Transport endpoint is not connected\n", True, "sandboxed"),
            (b"Failed to get properties: Transport endpoint is not connected\n", False, "unreachable"),
            (b"Failed to connect to bus: No such file or directory\n", True, "unreachable"),
            (b"Failed to get properties: Unit name a is neither...\n", True, "unreachable"),
            (b"Failed to get properties: Access denied\n", True, "unreachable"),
        ],
    )
    async def test_a_unit(self, monkeypatch, stderr, invented, reason):
        monkeypatch.setattr(local_units, "is_invented", lambda _uid: invented)
        context = FakeContext(commands={"systemctl": FakeCompleted(1, b"", stderr)})
        _, report = await LocalSource(context=context, unit="a.service").probe()
        assert (report.status, report.reason) == (Status.UNKNOWN, reason)

    async def test_a_unit_where_sockets_are_filtered(self, monkeypatch):
        def refuse(_family):
            raise OSError(97, "Address family not supported by protocol")

        monkeypatch.setattr(socket, "socket", refuse)
        context = FakeContext(commands={"systemctl": FakeCompleted(1, b"", b"Failed to connect to bus")})
        _, report = await LocalSource(context=context, unit="a.service").probe()
        assert "hidden by RestrictAddressFamilies=" in report.message

    async def test_a_socket_of_redis(self):
        class Redis:
            async def execute(self, *_arguments, **_named):
                raise ProbeError("not_found", "There is no socket.")

        for path, reason in (("/tmp/nowhere/redis%2Esock", "sandboxed"), ("/etc/nowhere", "not_found")):
            source = RedisQueueSource(context=FakeContext(redis=Redis()), url=Url.parse(f"unix://{path}"))
            try:
                report = await source.probe()
            except ProbeError as error:
                report = Report.down(error.reason)
            assert report.reason == reason

    async def test_a_socket_of_an_http_server(self):
        class Http:
            async def get(self, *_arguments, **_named):
                raise ProbeError("permission_denied", "No.")

        for path, status in (
            ("/home/x/sock", Status.UNKNOWN),
            ("/etc/nowhere", Status.DOWN),
            ("", Status.DOWN),
        ):
            source = HttpHealthSource(
                context=FakeContext(http=Http()),
                url=Url.parse("http://x"),
                unix_socket=path,
                api_key=Secret("k"),
            )
            with pytest.raises(ProbeError) as raised:
                await source.probe()
            failure = source.on_failure(Report.down(raised.value.reason, raised.value.message))
            assert failure.status is status
            assert (failure.reason == "sandboxed") is (status is Status.UNKNOWN)


def places_json(places: object) -> bytes:
    return json.dumps({"places": places}).encode()


def test_the_places_of_an_interpreter(tmp_path):
    """The folders of .pth files are told although they cannot be seen, and those of editable installations."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python3*/site-packages")
    (site / "a.pth").write_text("# no\n\nimport sys\n/nowhere/src\nrelative\n")
    (site / "finder.py").write_text(
        "import sys\nMAPPING = {'x': '/nowhere/editable'}\n"
        "class F:\n    @classmethod\n    def find_spec(cls, *_): return None\nsys.meta_path.append(F)\n"
    )
    (site / "b.pth").write_text("import finder\n")
    done = subprocess.run([venv / "bin/python", "-I", "-c", PLACES], capture_output=True, check=True)
    places = local_modules._places(FakeCompleted(0, done.stdout))
    assert {str(site), "/nowhere/src", str(site / "relative"), "/nowhere/editable"} <= set(places)


def test_a_filter_of_system_calls_leaves_it_open_whether_a_process_lives(monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    assert local_processes.look_at_pid(1, "/run/x.pid").status is Status.OK
    monkeypatch.setattr(os, "pidfd_open", refuse)
    report = local_processes.look_at_pid(1, "/run/x.pid")
    assert (report.status, report.reason) == (Status.UNKNOWN, "sandboxed")


def test_process_ids_of_its_own_leave_it_open_whether_a_process_lives(monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setenv("INVOCATION_ID", "x")
    assert local_processes.look_at_pid(1, "/run/x.pid").reason == "sandboxed"
    monkeypatch.delenv("INVOCATION_ID")
    assert local_processes.look_at_pid(1, "/run/x.pid").status is Status.OK


@pytest.mark.parametrize("is_new", [True, False])
def test_the_dead_and_the_living_with_and_without_descriptors_of_processes(monkeypatch, is_new):
    if not is_new:

        def absent(_pid):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(os, "pidfd_open", absent)
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not local_processes.is_alive(child.pid)  # nobody has waited for it yet
    child.wait()
    assert not local_processes.is_alive(child.pid)
    assert local_processes.is_alive(os.getpid())


def test_a_carriage_return_in_a_name_ends_no_line():
    table = b"36 25 0:31 / /home/u/a\rb rw shared:1 - fuse.x x rw\n37 25 0:32 / /mnt rw - tmpfs tmpfs rw\n"
    assert [mount.point for mount in parse_mounts(table)] == ["/home/u/a\rb", "/mnt"]
