"""What shells complete after `statusd`: written from the parser that --help comes from, and working in each shell."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from statusd.arguments import command_line

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "contrib/completion"
BASH = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p statusd | grep -o -- '-F [^ ]*' | cut -c 4-) statusd
printf '%s\\n' "${COMPREPLY[@]}"
"""
COMMANDS = {"run", "demo", "check", "probe", "plugins", "show", "watch", "explain"}


def shell(name, *command, folder=None):
    """Run a command of a shell without anybody's settings; return the lines that it prints."""
    if shutil.which(name) is None:
        pytest.skip(f"completes in a shell: needs {name}")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder or "/nonexistent"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [name, *command], capture_output=True, text=True, timeout=30, check=False, cwd=folder, env=environ
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return set(done.stdout.splitlines())


def in_bash(folder, *words):
    return shell("bash", "--norc", "-c", BASH, "bash", FOLDER / "statusd.bash", *words, folder=folder)


def in_fish(folder, line):
    script = f"source {shlex.quote(str(FOLDER / 'statusd.fish'))}; complete -C {shlex.quote(line)}"
    return {found.split("\t")[0] for found in shell("fish", "--no-config", "-c", script, folder=folder)}


@pytest.fixture
def folder(tmp_path):
    """A folder with a file and a folder in it."""
    (tmp_path / "statusd.toml").touch()
    (tmp_path / "sub").mkdir()
    return tmp_path


def test_the_scripts_are_what_the_parser_says():
    pytest.importorskip("shtab", reason="writes completion scripts: needs shtab")
    script = PROJECT / "scripts/completions.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_commands_options_and_files(folder):
    assert in_bash(folder, "statusd", "") >= COMMANDS
    assert in_bash(folder, "statusd", "p") == {"probe", "plugins"}
    assert in_bash(folder, "statusd", "show", "--") >= {
        "--url",
        "--token-file",
        "--ca-file",
        "--config",
        "--json",
    }
    assert in_bash(folder, "statusd", "run", "--config", "statusd.t") == {"statusd.toml"}
    assert in_bash(folder, "statusd", "check", "s") == {"statusd.toml", "sub"}


def test_fish_completes_commands_options_and_files(folder):
    assert in_fish(folder, "statusd ") >= COMMANDS
    assert in_fish(folder, "statusd p") == {"probe", "plugins"}
    assert in_fish(folder, "statusd show --") >= {"--url", "--token-file", "--ca-file", "--config", "--json"}
    assert in_fish(folder, "statusd run --config statusd.t") == {"statusd.toml"}


def test_zsh_takes_the_script_and_knows_the_commands(folder):
    """compsys itself wants a terminal; what it would call is asked for the words that it would offer."""
    script = (
        'compdef() { }; _describe() { print -rl -- ${${(P)2}%%:*} }\neval "$(<$1)"\n_shtab_statusd_commands\n'
    )
    shell("zsh", "-f", "-n", FOLDER / "_statusd")
    assert shell("zsh", "-f", "-c", script, "zsh", FOLDER / "_statusd", folder=folder) >= COMMANDS


def test_every_command_is_in_every_script():
    [subcommands] = [action.choices for action in command_line()._actions if action.choices]
    for file in FOLDER.glob("*statusd*"):
        text = file.read_text()
        assert [name for name in subcommands if name not in text] == [], file.name
