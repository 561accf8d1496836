"""What the command line takes: one parser, from which man page and shell completion are made, too."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any, Final

from statusd import __version__

EXIT_CODES: Final[Mapping[int, str]] = {
    0: "all is well",
    1: "a fault",
    2: "wrong usage",
    os.EX_CONFIG: "a mistake in the configuration",
    130: "interrupted",
}


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
    parser = _add(commands, "run", "run the daemon in the foreground, until SIGTERM or SIGINT")
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
    parser = _add(commands, "undrain", "put a drained node of a running daemon back into service")
    _add_drained_path(parser)
    _add_runtime_directory(parser)
    _add_json(parser)


def _add_drains(commands: Any) -> None:
    parser = _add(commands, "drains", "list what is drained, until when, and why")
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
        "run the daemon against embedded upstreams that change over time, until Ctrl-C",
    )
    parser.add_argument("--bind", metavar="ADDR", help="listen here instead of 127.0.0.1:8000")


def _add_check(commands: Any) -> None:
    parser = _add(
        commands, "check", "report every mistake in a configuration, and every fault of what it names"
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="the configuration; default: what `run` would use"
    )
    _add_json(parser)


def _add_probe(commands: Any) -> None:
    parser = _add(
        commands,
        "probe",
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
        "list the installed plugins, what each registers, and why one cannot be loaded",
    )
    _add_config(parser)
    _add_json(parser)


def _add_show(commands: Any) -> None:
    parser = _add(commands, "show", "show the tree of a running daemon, or a branch of it")
    _add_path(parser)
    _add_daemon(parser)


def _add_watch(commands: Any) -> None:
    parser = _add(
        commands,
        "watch",
        "show the tree of a running daemon as it changes, until Ctrl-C, which ends it with 0; on a terminal it is "
        "drawn in place, elsewhere each change is a line",
    )
    _add_path(parser)
    _add_daemon(parser)


def _add_explain(commands: Any) -> None:
    parser = _add(commands, "explain", "say why a node has its status, and what would change it")
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


def _add(commands: Any, name: str, what: str) -> argparse.ArgumentParser:
    brief = what.partition(",")[0]
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=brief, description=f"{what[0].upper()}{what[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(command=name)
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
