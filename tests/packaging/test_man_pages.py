"""The man pages: written from what --help and the configuration's types say, and without faults of roff."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from statusd.arguments import command_line

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "scripts/man_pages.py"
PAGES = sorted(PROJECT.glob("docs/man/*.[1-8]"))
SECTIONS = [
    "NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS", "EXAMPLES",
    "SEE ALSO",
]  # fmt: skip


def shown(page):
    """Return a page as a reader sees it, in lines too long to be broken."""
    if shutil.which("man") is None:
        pytest.skip("shows a man page: needs man")
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "9999", "MAN_KEEP_FORMATTING": ""}
    command = ["man", "--warnings", "--no-justification", "--encoding=UTF-8", "-l", page]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(r"\x1b\[\d*m|.\x08", "", done.stdout)


@pytest.fixture
def copies(tmp_path):
    """A copy of what the script reads and writes, to be changed."""
    shutil.copytree(PROJECT / "docs/man", tmp_path / "docs/man")
    shutil.copytree(PROJECT / "scripts", tmp_path / "scripts")
    return tmp_path


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, timeout=50, check=False
    )


def test_the_pages_are_what_the_code_says():
    done = run(SCRIPT, "--check")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["statusd.8", "statusd.toml.5"])
def test_a_page_that_says_something_else_is_found_and_mended(copies, name):
    page = copies / "docs/man" / name
    assert run(copies / "scripts/man_pages.py").returncode == 0
    before = page.read_text()
    changed = re.sub(r"\\fBinterval\\fR|\\fB\\-\\-url\\fR \\fIURL", r"\\fBother\\fR", before)
    assert changed != before
    page.write_text(changed)
    done = run(copies / "scripts/man_pages.py", "--check")
    assert (done.returncode, done.stderr) == (1, f"{name} is out of date; run scripts/man_pages.py\n")
    assert run(copies / "scripts/man_pages.py").returncode == 0
    assert page.read_text() == before


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_has_nothing_to_warn_of(page):
    if shutil.which("mandoc") is None:
        pytest.skip("lints a man page: needs mandoc")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "warning", page], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_groff_has_nothing_to_warn_of(page):
    assert "NAME" in shown(page)


def test_the_page_of_the_program_has_its_sections_in_order():
    text = (PROJECT / "docs/man/statusd.8").read_text()
    assert re.findall(r"^\.SH (.+)$", text, re.MULTILINE) == SECTIONS


def test_the_page_of_the_program_has_every_command_and_option():
    page = shown(PROJECT / "docs/man/statusd.8")
    [subcommands] = [action.choices for action in command_line()._actions if action.choices]
    assert {"run", "check", "probe", "show"} <= set(subcommands)
    for name, parser in subcommands.items():
        assert re.search(rf"^ +statusd {name}$", page, re.MULTILINE), name
        for action in parser._actions:
            for flag in action.option_strings:
                assert re.search(rf"^ +.*{flag}\b.*$", page, re.MULTILINE), (name, flag)
            help_text = action.help.replace("`", "")
            assert help_text[1:] in page or "--help" in action.option_strings, (name, action.dest)


def test_every_variable_that_statusd_reads_is_told():
    page = (PROJECT / "docs/man/statusd.8").read_text()
    read = {
        name
        for file in (PROJECT / "daemon/statusd").rglob("*.py")
        for name in re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', file.read_text())
    }
    assert {"NOTIFY_SOCKET", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"} <= read
    usual = {"PATH", "TERM", "HOME", "LINES", "COLUMNS"}
    read |= {"STATUSD_CONFIG", "STATUSD_URL", "STATUSD_TOKEN", "STATUSD_CA_FILE"}
    assert sorted(name for name in read - usual if name not in page) == []


def test_what_roff_would_take_for_a_request_is_shown_as_it_is(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    man_pages = importlib.import_module("man_pages")
    assert man_pages.marked(".TH 'x' \\fB `a-b` \"c\"") == r"\&.TH \(aqx\(aq \efB \fBa\-b\fR \(dqc\(dq"
    assert man_pages.marked("word " * 40 + "'end").count("\n") == 2
