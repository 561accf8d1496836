"""Modules of another interpreter, looked up with this test's own interpreter for real."""

from __future__ import annotations

import os
import subprocess
import sys
import venv

import pytest

from statusd import ProbeError, Status
from statusd.testing.fakes import FakeCompleted, FakeContext
from statusd_plugins.local_modules import SCRIPT, look_up

PYTHON = "/opt/venv/bin/python"


def printed(python: str, *names: str, env: dict[str, str] | None = None) -> bytes:
    """Run the lookup script in `python` and return what it prints."""
    command = [python, "-I", "-c", SCRIPT, *names]
    done = subprocess.run(command, capture_output=True, check=False, env=env, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def statuses(python: str, *names: str) -> dict[str, str]:
    """Look `names` up through the plugin's own code, with the script's real output."""
    context = FakeContext(commands={python: FakeCompleted(0, printed(python, *names))})
    reports = await look_up(context, python, names)
    assert context.ran == [(python, "-I", "-c", SCRIPT, *names)]
    return {report.path.removeprefix("modules/"): report.status.value for report in reports}


@pytest.fixture
def runtime(tmp_path):
    """A virtual environment with packages that do harm when they are imported."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    site = next((tmp_path / "venv").glob("lib/python3*/site-packages"))
    bomb = f"open({str(tmp_path / 'imported')!r}, 'w').close(); raise SystemExit(3)"
    for place in ("heavy/__init__.py", "heavy/deep/__init__.py", "heavy/deep/leaf.py", "single.py"):
        (site / place).parent.mkdir(parents=True, exist_ok=True)
        (site / place).write_text(bomb)
    (site / "space/inner").mkdir(parents=True)
    (site / "space/inner/leaf.py").write_text(bomb)
    return tmp_path / "venv/bin/python"


async def test_modules_are_found_by_name_and_none_is_imported(runtime, tmp_path):
    names = [
        "heavy",
        "heavy.deep",
        "heavy.deep.leaf",
        "single",
        "space.inner.leaf",
        "json.decoder",
        "os.path",
    ]
    assert await statuses(str(runtime), *names) == dict.fromkeys(names, "ok")
    assert not (tmp_path / "imported").exists()


async def test_absent_modules_are_down_at_every_depth(runtime):
    names = [
        "gone",
        "gone.leaf",
        "heavy.gone",
        "heavy.deep.gone.leaf",
        "single.leaf",
        "space.gone",
        "sys.leaf",
    ]
    assert await statuses(str(runtime), *names) == dict.fromkeys(names, "down")


async def test_one_answer_does_not_change_another(runtime):
    """The stand-in for a parent package must not look like the package itself to later names, or earlier ones."""
    names = ["heavy.deep.leaf", "heavy", "heavy.gone", "heavy.deep"]
    assert await statuses(str(runtime), *names) == {
        "heavy.deep.leaf": "ok",
        "heavy": "ok",
        "heavy.gone": "down",
        "heavy.deep": "ok",
    }


def test_statusds_own_environment_says_nothing_about_the_runtime(runtime, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/stray.py").touch()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")}
    assert printed(str(runtime), "stray", env=env).strip() == b'{"stray": false}'


async def test_what_start_up_files_print_is_skipped(runtime):
    site = next(runtime.parent.parent.glob("lib/python3*/site-packages"))
    (site / "chatty.pth").write_text("import sys; sys.stdout.write('{\"heavy\": false} hello')\n")
    assert await statuses(str(runtime), "heavy") == {"heavy": "ok"}


async def test_a_finder_that_raises_is_contained(runtime):
    site = next(runtime.parent.parent.glob("lib/python3*/site-packages"))
    (site / "raising.py").write_text(
        "import sys\nclass F:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cursed': raise RuntimeError('secret')\nsys.meta_path.insert(0, F())\n"
    )
    (site / "raising.pth").write_text("import raising\n")
    assert await statuses(str(runtime), "cursed", "heavy") == {"cursed": "down", "heavy": "ok"}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (FakeCompleted(1, b"", b"secret"), "failed"),
        (FakeCompleted(-11), "failed"),
        (FakeCompleted(0, b""), "unexpected_answer"),
        (FakeCompleted(0, b"hello"), "unexpected_answer"),
        (FakeCompleted(0, b"[true]"), "unexpected_answer"),
        (FakeCompleted(0, b"{}"), "failed"),
        (FakeCompleted(0, b'{"a": 1, "b": "true"}'), "failed"),
        (ProbeError("not_found", "There is no program /opt/venv/bin/python."), "not_found"),
        (ProbeError("permission_denied", "May not run."), "permission_denied"),
    ],
)
async def test_an_interpreter_that_does_not_answer_finds_nothing(result, reason):
    reports = await look_up(FakeContext(commands={PYTHON: result}), PYTHON, ["a", "b"])
    assert [(report.path, report.status, report.reason) for report in reports] == [
        ("modules/a", Status.DOWN, reason),
        ("modules/b", Status.DOWN, reason),
    ]
    assert "secret" not in repr(reports)


async def test_without_modules_nothing_runs():
    context = FakeContext()
    assert await look_up(context, "", []) == []
    assert context.ran == []


def test_the_script_runs_here_too():
    assert printed(sys.executable, "statusd.plugin.contracts").strip().endswith(b"true}")
