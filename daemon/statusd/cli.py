"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from statusd.arguments import command_line
from statusd.config.mistakes import ConfigError
from statusd.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from statusd.commands.where import Where


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 a fault, 2 usage, 78 bad configuration."""
    _print_anything()
    options = command_line().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except ConfigError as error:
        for mistake in error.mistakes:
            print(f"{error.origin}: {mistake}", file=sys.stderr)
        return os.EX_CONFIG
    except StartError as error:
        print(f"statusd: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; Python must not fail again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


# The commands import what they need when they run: `--help` then answers at once, and `check` works where a
# web framework is broken.


def _run(options: argparse.Namespace) -> int:
    gc.disable()  # until all is loaded: it would look at hundreds of thousands of objects, none of them garbage
    from statusd.commands.run import run

    return run(options.config, options.bind, os.environ, options.log_format)


def _reload(options: argparse.Namespace) -> int:
    from statusd.commands.reload import is_in_log, reload

    reloaded = reload(os.environ, pid=options.pid, directory=options.runtime_directory)
    in_log = is_in_log(os.environ)
    _print(reloaded.as_json() if options.json else reloaded.as_text(is_in_log=in_log))
    return reloaded.exit_code


def _drain(options: argparse.Namespace) -> int:
    from statusd.commands.drain import drain, drained_text, reason_of
    from statusd.commands.durations import duration

    try:
        reason = reason_of(options.reason)
        seconds = None if options.duration is None else duration(options.duration)
    except ValueError as error:
        print(f"statusd drain: {error}", file=sys.stderr)
        return 2
    return _with_control(
        options,
        lambda where: drain(options.path, reason, seconds, where),
        lambda done: drained_text(done, time.time()),
    )


def _undrain(options: argparse.Namespace) -> int:
    from statusd.commands.drain import undrain, undrained_text

    return _with_control(options, lambda where: undrain(options.path, where), undrained_text)


def _drains(options: argparse.Namespace) -> int:
    from statusd.commands.drain import drains, drains_text

    return _with_control(options, drains, lambda found: drains_text(found, time.time()))


def _with_control(
    options: argparse.Namespace, command: Callable[[Path], Any], as_text: Callable[[Any], str]
) -> int:
    """Run a command of the control socket; what the daemon does not do is a fault, or the command's own mistake."""
    from statusd.commands.drain import USAGE
    from statusd.control.asking import ControlError, socket_of
    from statusd.systemd.escaping import escape

    try:
        done = command(socket_of(options.runtime_directory, os.environ))
    except ControlError as error:
        print(f"statusd: {escape(str(error))}", file=sys.stderr)
        return 2 if error.error in USAGE else 1
    _print(done if options.json else as_text(done))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from statusd.demo import main as demo_main

    return demo_main(options.bind, os.environ)


def _check(options: argparse.Namespace) -> int:
    from statusd.commands.check import check
    from statusd.commands.quiet import quiet_logging

    findings = check(options.file, os.environ, quiet_logging(os.environ))
    _print(findings.as_json() if options.json else findings.as_text())
    return findings.exit_code


def _probe(options: argparse.Namespace) -> int:
    from statusd.commands.probe import NoSuchSourceError, probe
    from statusd.commands.quiet import quiet_logging

    try:
        explained = probe(options.source, options.config, os.environ, quiet_logging(os.environ))
    except NoSuchSourceError as error:
        print(f"statusd: {error}", file=sys.stderr)
        return 2
    _print(explained.as_json() if options.json else explained.as_text())
    return 0 if explained.is_ok else 1


def _plugins(options: argparse.Namespace) -> int:
    from statusd.commands.plugins import as_json, as_text, plugins
    from statusd.commands.quiet import quiet_logging

    found = plugins(options.config, os.environ, quiet_logging(os.environ))
    _print([as_json(plugin) for plugin in found] if options.json else as_text(found))
    return 1 if any(plugin.error for plugin in found) else 0


def _show(options: argparse.Namespace) -> int:
    from statusd.commands.rendering import has_colours
    from statusd.commands.show import as_json, as_text, show

    def command(where: Where) -> int:
        state = show(options.path, where)
        _print(
            as_json(state)
            if options.json
            else as_text(state, is_coloured=has_colours(sys.stdout, os.environ))
        )
        return 0

    return _with_daemon(options, command)


def _watch(options: argparse.Namespace) -> int:
    from statusd.commands.watch import watch

    def command(where: Where) -> int:
        return watch(options.path, where, sys.stdout, os.environ, as_json=options.json)

    return _with_daemon(options, command)


def _explain(options: argparse.Namespace) -> int:
    from statusd.commands.explain import as_text, explain
    from statusd.commands.rendering import has_colours

    def command(where: Where) -> int:
        found = explain(options.path, where)
        coloured = has_colours(sys.stdout, os.environ)
        _print(dict(found.document) if options.json else as_text(found, is_coloured=coloured))
        return 0

    return _with_daemon(options, command)


def _with_daemon(options: argparse.Namespace, command: Callable[[Where], int]) -> int:
    """Run a command that reads a running daemon; one that cannot be reached is a fault."""
    from statusd.client import ClientError
    from statusd.commands.where import find_daemon

    try:
        where = find_daemon(options.url, options.config, os.environ, options.token_file, options.ca_file)
        return command(where)
    except ClientError as error:
        print(f"statusd: {error}", file=sys.stderr)
        return 2 if error.reason == "bad_address" and options.url is not None else 1


def _print_anything() -> None:
    """Write as an escape what the terminal's encoding lacks; upstreams and file names are in any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print(what: Any) -> None:
    print(what if isinstance(what, str) else json.dumps(what, indent=2))


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "run": _run,
    "reload": _reload,
    "drain": _drain,
    "undrain": _undrain,
    "drains": _drains,
    "demo": _demo,
    "check": _check,
    "probe": _probe,
    "plugins": _plugins,
    "show": _show,
    "watch": _watch,
    "explain": _explain,
}
