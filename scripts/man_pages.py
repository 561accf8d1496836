#!/usr/bin/env python3
r"""Write the generated parts of the man pages in docs/man: what --help says, and the keys of the configuration.

The text between ``.\" begin: NAME`` and ``.\" end: NAME`` is replaced; the rest is written by hand.
With ``--check`` nothing is written, and the exit code is 1 where a page is not what it should be.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from configuration_reference import TABLES, builtin_plugins, default_of, sorted_keys, summary

from statusd import __version__
from statusd.arguments import EXIT_CODES, command_line
from statusd.config.keytypes import type_words
from statusd.config.schema import Key
from statusd.plugin.registry import InstalledPlugin

FOLDER: Final = Path(__file__).parents[1] / "docs" / "man"
DATE: Final = "2026-11-22"
"""When the pages were last changed by hand; not today, so that the same sources make the same pages."""

_REGION: Final = re.compile(r'(\.\\" begin: (\w+)\n).*?(\.\\" end: \2\n)', re.DOTALL)
_NAMES: Final = {"common": "[sources.NAME]", "plugins_table": "[plugins]"}
_CHARACTERS: Final = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", '"': r"\(dq"})


def escaped(text: str) -> str:
    """Return `text` as roff that shows it, whatever its characters, in arguments of macros, too."""
    return text.translate(_CHARACTERS)


def marked(markdown: str) -> str:
    """Return a sentence of Markdown or of a help text as lines of roff; what stands in backticks is bold."""
    parts = re.split(r"`([^`]*)`", " ".join(markdown.split()))
    text = "".join(f"\x02{part}\x03" if number % 2 else part for number, part in enumerate(parts))
    lines = textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    roff = "\n".join(
        f"\\&{escaped(line)}" if line.startswith((".", "'")) else escaped(line) for line in lines
    )
    return roff.replace("\x02", "\\fB").replace("\x03", "\\fR")


def item(tag: str, *paragraphs: str) -> str:
    """Return a paragraph with a hanging tag."""
    return f".TP\n{tag}\n" + ".IP\n".join(f"{paragraph}\n" for paragraph in paragraphs)


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the subcommands of `parser`, in the order of its help."""
    for action in parser._actions:  # noqa: SLF001  # argparse has no public way to ask what a parser takes
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # likewise
            return dict(action.choices)
    return {}


def arguments_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what `parser` takes besides subcommands and --help, of which every command has one."""
    return [
        action
        for action in parser._actions  # noqa: SLF001  # likewise
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)  # noqa: SLF001  # likewise
        and action.help is not argparse.SUPPRESS
    ]


def value_of(action: argparse.Action) -> str:
    """Return the placeholder of an argument's value as roff, or nothing where it takes none."""
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return "{" + ",".join(f"\\fB{escaped(str(choice))}\\fR" for choice in action.choices) + "}"
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f"\\fI{escaped(name)}\\fR"


def tag_of(action: argparse.Action) -> str:
    """Return an option with its value, or a positional argument, as roff."""
    flags = ", ".join(f"\\fB{escaped(flag)}\\fR" for flag in action.option_strings)
    return " ".join(filter(None, (flags, value_of(action))))


def brief(action: argparse.Action) -> str:
    """Return an argument as a synopsis shows it: in brackets where it may be left out."""
    shown = " ".join(
        filter(None, (*(f"\\fB{escaped(flag)}\\fR" for flag in action.option_strings[-1:]), value_of(action)))
    )
    again = " ..." if isinstance(action, argparse._AppendAction) else ""  # noqa: SLF001  # likewise
    return shown if action.required else f"[{shown}]{again}"


def help_of(action: argparse.Action) -> str:
    """Return the help of an argument as a sentence."""
    text = argparse.HelpFormatter("statusd")._expand_help(action)  # noqa: SLF001  # fills in %(default)s as --help does
    return f"{text[0].upper()}{text[1:]}."


def synopsis(name: str, parser: argparse.ArgumentParser) -> str:
    """Return one command with all that it takes."""
    arguments = sorted(arguments_of(parser), key=lambda action: not action.option_strings)
    return " ".join([f"\\fBstatusd {escaped(name)}\\fR", *map(brief, arguments)])


def all_synopses() -> str:
    """Return the commands, a line each."""
    lines = ["\\fBstatusd\\fR {\\fB\\-\\-help\\fR|\\fB\\-\\-version\\fR}"]
    lines += [synopsis(name, parser) for name, parser in commands_of(command_line()).items()]
    return "".join(f".HP\n{line}\n" for line in lines)


def commands() -> str:
    """Return a paragraph for each command: what it does, and what its positional arguments are."""
    return "".join(_command(name, parser) for name, parser in commands_of(command_line()).items())


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    arguments = arguments_of(parser)
    taken = [f"\\fB{escaped(action.option_strings[-1])}\\fR" for action in arguments if action.option_strings]
    text = item(f"\\fBstatusd {escaped(name)}\\fR", marked(parser.description or ""))
    if taken:
        text += f"Options: {', '.join(taken)}.\n"
    inner = "".join(item(tag_of(one), marked(help_of(one))) for one in arguments if not one.option_strings)
    return text + (f".RS\n{inner}.RE\n" if inner else "")


def options() -> str:
    """Return a paragraph for each option; one that several commands have with one meaning is told once."""
    parser = command_line()
    subcommands = commands_of(parser)
    told: dict[tuple[str, str], list[str]] = {}
    for name, command in subcommands.items():
        for action in arguments_of(command):
            if action.option_strings:
                told.setdefault((tag_of(action), help_of(action)), []).append(name)
    everywhere = item(
        "\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "Show what there is to say about a command and exit."
    )
    everywhere += item("\\fB\\-\\-version\\fR", marked("Show the version and exit."))
    return everywhere + "".join(
        item(f"{tag} ({', '.join(f'{chr(92)}fB{name}{chr(92)}fR' for name in names)})", marked(text))
        for (tag, text), names in sorted(told.items())
    )


def exit_codes() -> str:
    """Return a paragraph for each exit code."""
    return "".join(
        item(f"\\fB{code}\\fR", marked(f"{meaning[0].upper()}{meaning[1:]}."))
        for code, meaning in EXIT_CODES.items()
    )


def keys(declared: type) -> str:
    """Return a paragraph for each key of an attrs class."""
    return "".join(map(_key, sorted_keys(declared))) or "It has no keys.\n"


def _key(key: Key) -> str:
    default = default_of(key)
    terms = [type_words(key.type), default if default in {"", "required"} else f"default {default}"]
    return item(f"\\fB{escaped(key.name)}\\fR ({marked(', '.join(filter(None, terms)))})", marked(key.help))


def sources() -> str:
    """Return a section for each kind of source that is built in, and one for each view and sink."""
    return "".join(text for plugin in builtin_plugins() for text in _sections(plugin))


def _sections(plugin: InstalledPlugin) -> Iterator[str]:
    assert plugin.registry is not None  # built-in plugins are always loaded
    for source in plugin.registry.source_types:
        words = f"{summary(source)} `interval` is {source.default_interval:g} if not set."
        yield _section(f'plugin = "{plugin.name}"', words, source)
    for view in plugin.registry.view_types:
        yield _section(f"[views.{view.name}]", summary(view), view)
    for sink in plugin.registry.sink_types:
        yield _section(f"[sinks.{sink.name}]", summary(sink), sink)


def _section(heading: str, words: str, declared: type) -> str:
    return "\n".join([f".SS {escaped(heading)}", *filter(None, [marked(words)]), keys(declared)])


def others(placed: Iterable[str]) -> str:
    """Return a section for each table that the page has no place of its own for."""
    return "".join(
        _section(_NAMES.get(name) or f"[{name.replace('_', '.')}]", "", declared)
        for name, declared in TABLES.items()
        if name not in set(placed)
    )


def title(page: str) -> str:
    """Return the first line of a page, such as statusd.8."""
    name, _, section = page.rpartition(".")
    return f'.TH {escaped(name).upper()} {section} {DATE} "statusd {__version__}"\n'


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "synopsis": all_synopses,
    "commands": commands,
    "options": options,
    "exit_codes": exit_codes,
    "sources": sources,
}


def regenerated(name: str, page: str) -> str:
    """Return the page `name` with every generated part written anew."""
    placed = [match[2] for match in _REGION.finditer(page)]

    def part(which: str) -> str:
        if which == "title":
            return title(name)
        if which == "others":
            return others(placed)
        return keys(TABLES[which]) if which in TABLES else PARTS[which]()

    return _REGION.sub(lambda match: f"{match[1]}{part(match[2])}{match[3]}", page)


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them; return the exit code."""
    outdated = 0
    for page in sorted(FOLDER.glob("statusd*.[1-8]")):
        before = page.read_text(encoding="utf-8")
        after = regenerated(page.name, before)
        if arguments != ["--check"]:
            page.write_text(after, encoding="utf-8")
        elif after != before:
            sys.stderr.write(f"{page.name} is out of date; run scripts/man_pages.py\n")
            outdated = 1
    return outdated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
