"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from statusd import __version__
from statusd.config.mistakes import ConfigError
from statusd.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from statusd.commands.where import Where

EXIT_CODES: Final[Mapping[int, str]] = {
    0: "all is well",
    1: "a fault",
    2: "wrong usage",
    os.EX_CONFIG: "a mistake in the configuration",
    130: "interrupted",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 a fault, 2 usage, 78 bad configuration."""
    _print_anything()
    options = command_line().parse_args(arguments)
    try:
        code: int = options.command(options)
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
    return code


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all commands, from which man page and shell completion are made, too."""
    codes = "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="statusd",
        description="Status aggregator daemon for hosts that run AI inference services.",
        epilog=f"Exit codes: {codes}.",
    )
    parser.add_argument("--version", action="version", version=f"statusd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_run, _add_reload, _add_drain, _add_undrain, _add_drains, _add_demo, _add_check, _add_probe, _add_plugins, _add_show, _add_watch, _add_explain,
    ):  # fmt: skip
        add(commands)
    return parser


def _add_run(commands: Any) -> None:
    parser = _add(commands, "run", _run, "run the daemon in the foreground, until SIGTERM or SIGINT")
    _add_config(parser)
    parser.add_argument(
        "--bind",
        action="append",
        metavar="ADDR",
        help="listen here instead of [http] bind, such as 127.0.0.1:8000 or unix:/run/x.sock; repeatable",
    )
    parser.add_argument(
        "--log-format",
        choices=("auto", "text", "json"),
        default="auto",
        help="how log records look on standard error: text, or json, an object a line; default: auto, which is fields "
        "of their own where standard error is the journal, else text",
    )


def _add_reload(commands: Any) -> None:
    parser = _add(
        commands,
        "reload",
        _reload,
        "have a running daemon reload its configuration, and wait for what becomes of it; with mistakes the old one goes on, "
        "and this exits with 78",
    )
    parser.add_argument(
        "--pid",
        type=int,
        metavar="PID",
        help="the daemon's process; default: $MAINPID, then the one that it wrote down",
    )
    _add_runtime_directory(parser)
    _add_json(parser)


def _add_drain(commands: Any) -> None:
    parser = _add(
        commands,
        "drain",
        _drain,
        "take a node of a running daemon out of service, over restarts too, until its time is over or `undrain` ends it; a "
        "drained one is off, and not ready",
    )
    _add_drained_path(parser)
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for whoever meets it: one line")
    parser.add_argument(
        "--for",
        dest="duration",
        metavar="TIME",
        help="end it by itself after this time, such as 90s, 15m, 2h, 3d or 1h30m; default: `undrain` alone ends it",
    )
    _add_runtime_directory(parser)
    _add_json(parser)


def _add_undrain(commands: Any) -> None:
    parser = _add(commands, "undrain", _undrain, "put a drained node of a running daemon back into service")
    _add_drained_path(parser)
    _add_runtime_directory(parser)
    _add_json(parser)


def _add_drains(commands: Any) -> None:
    parser = _add(commands, "drains", _drains, "list what is drained, until when, and why")
    _add_runtime_directory(parser)
    _add_json(parser)


def _add_drained_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a source, a part of one, or a model, as `show` names it, such as sources/queue or models/ID; `sources`, "
        "`models`, or / for the whole tree",
    )


def _add_demo(commands: Any) -> None:
    parser = _add(
        commands,
        "demo",
        _demo,
        "run the daemon against embedded upstreams that change over time, until Ctrl-C",
    )
    parser.add_argument("--bind", metavar="ADDR", help="listen here instead of 127.0.0.1:8000")


def _add_check(commands: Any) -> None:
    parser = _add(
        commands, "check", _check, "report every mistake in a configuration, and every fault of what it names"
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="the configuration; default: what `run` would use"
    )
    _add_json(parser)


def _add_probe(commands: Any) -> None:
    parser = _add(
        commands,
        "probe",
        _probe,
        "probe one source once, without a daemon, and show what was sent (>), what came back (<), what was waited "
        "for (*), and the report; exits with 0 when the source is ok, else with 1",
    )
    parser.add_argument("source", metavar="SOURCE", help="a name from [sources]")
    _add_config(parser)
    _add_json(parser)


def _add_plugins(commands: Any) -> None:
    parser = _add(
        commands,
        "plugins",
        _plugins,
        "list the installed plugins, what each registers, and why one cannot be loaded",
    )
    _add_config(parser)
    _add_json(parser)


def _add_show(commands: Any) -> None:
    parser = _add(commands, "show", _show, "show the tree of a running daemon, or a branch of it")
    _add_path(parser)
    _add_daemon(parser)


def _add_watch(commands: Any) -> None:
    parser = _add(
        commands,
        "watch",
        _watch,
        "show the tree of a running daemon as it changes, until Ctrl-C, which ends it with 0; on a terminal it is "
        "drawn in place, elsewhere each change is a line",
    )
    _add_path(parser)
    _add_daemon(parser)


def _add_explain(commands: Any) -> None:
    parser = _add(commands, "explain", _explain, "say why a node has its status, and what would change it")
    _add_path(parser)
    _add_daemon(parser)


def _add_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        default="",
        help="a node as `show` names it, such as sources/queue; default: the whole tree",
    )


def _add_daemon(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        help="the daemon, such as http://127.0.0.1:8000, https://host:8443 or unix:/run/statusd/http.sock; default: "
        "$STATUSD_URL, then the configured bind",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="holds the token that the daemon wants; default: $STATUSD_TOKEN, then, where the address is the "
        "configured one, [http] token",
    )
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        help="PEM file with the certificate authorities to trust; default: $STATUSD_CA_FILE, then the system's",
    )
    _add_config(parser)
    _add_json(parser)


def _add(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], what: str
) -> argparse.ArgumentParser:
    brief = what.partition(",")[0]
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=brief, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(command=command)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the configuration; default: $STATUSD_CONFIG, then /etc/statusd/statusd.toml, then the built-in one",
    )


def _add_runtime_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime-directory",
        metavar="DIR",
        help="where the daemon keeps what concerns this run of it; default: $RUNTIME_DIRECTORY, then /run/statusd",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


# The commands import what they need when they run: `--help` then answers at once, and `check` works where a
# web framework is broken.


def _run(options: argparse.Namespace) -> int:
    from statusd.commands.run import run

    return run(options.config, options.bind, os.environ, options.log_format)


def _reload(options: argparse.Namespace) -> int:
    from statusd.commands.reload import reload

    reloaded = reload(os.environ, pid=options.pid, directory=options.runtime_directory)
    _print(reloaded.as_json() if options.json else reloaded.as_text())
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

    try:
        done = command(socket_of(options.runtime_directory, os.environ))
    except ControlError as error:
        print(f"statusd: {error}", file=sys.stderr)
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
