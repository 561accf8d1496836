#!/usr/bin/env python3
"""Write contrib/completion: what bash, zsh and fish complete after `statusd`, from the parser that makes --help.

shtab writes the scripts (https://docs.iterative.ai/shtab/); statusd itself does not need it.
With ``--check`` nothing is written, and the exit code is 1 where a script is not what it should be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import shtab

from statusd.arguments import command_line

FOLDER: Final = Path(__file__).parents[1] / "contrib" / "completion"
FILES: Final[Mapping[str, str]] = {"bash": "statusd.bash", "zsh": "_statusd", "fish": "statusd.fish"}


def completing() -> argparse.ArgumentParser:
    """Return the parser of the command line, with the arguments that are files marked as such."""
    parser = command_line()
    for action in _arguments(parser):
        if action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's way to mark an argument
    return parser


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001  # argparse has no public way to ask what a parser takes
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # likewise
            for subcommand in action.choices.values():
                yield from _arguments(subcommand)
        else:
            yield action


def script(shell: str) -> str:
    """Return the script for a shell."""
    text = shtab.complete(completing(), shell)
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines()) + "\n"


def main(arguments: list[str]) -> int:
    """Write the scripts, or with ``--check`` compare them; return the exit code."""
    outdated = 0
    for shell, name in FILES.items():
        file, text = FOLDER / name, script(shell)
        if arguments != ["--check"]:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{name} is out of date; run scripts/completions.py\n")
            outdated = 1
    return outdated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
