"""`local`: a runtime on this host, told by what it requires: modules, files, a command, systemd units, a process."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

import attrs

from statusd import Json, OptionError, ProbeError, Report, Source, SourceRegistry, hookimpl, option, segment
from statusd_plugins.local_files import look_at_files, look_at_process
from statusd_plugins.local_modules import look_up
from statusd_plugins.local_programs import hidden_need, hidden_start
from statusd_plugins.local_units import ask_systemd

MAX_REQUIREMENTS: Final = 200
"""Entries of one list; each is a part of the tree."""
MAX_SEGMENT: Final = 400
"""Characters of a percent-encoded name; a part's whole path may have 512."""
NAMED: Final = 5
"""Requirements that the source's message names before it only counts the rest."""

_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}")


def _expect_entries(entries: Sequence[str]) -> None:
    if len(entries) > MAX_REQUIREMENTS:
        raise ValueError(f"has {len(entries)} entries; at most {MAX_REQUIREMENTS} are looked after")
    for entry in entries:
        if len(segment(entry)) > MAX_SEGMENT:
            raise ValueError(f'has an entry that is too long to be shown in the tree: "{entry[:40]}..."')


def _expect_absolute(path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f'is not an absolute path: "{path}"; write it from "/" on')


def _modules(_instance: object, _attribute: object, modules: list[str]) -> None:
    _expect_entries(modules)
    for name in modules:
        if not _MODULE.fullmatch(name):
            raise ValueError(
                f'holds "{name}", which is no module name; expected one such as "package.module"'
            )


def _python(_instance: object, _attribute: object, python: str) -> None:
    if python:
        _expect_absolute(python)


def _files(_instance: object, _attribute: object, files: list[str]) -> None:
    _expect_entries(files)
    for path in files:
        _expect_absolute(path)


def _command(_instance: object, _attribute: object, command: list[str] | None) -> None:
    if command is None:
        return
    if not command or not command[0]:
        raise ValueError(
            'names no program; write it as a list, ["/usr/bin/nvidia-smi", "-L"], or leave it out'
        )
    if any("\0" in word for word in command):
        raise ValueError("holds a NUL character, which no program can be given")


def _units(_instance: object, _attribute: object, unit: str | list[str]) -> None:
    if isinstance(unit, list):
        _expect_entries(unit)
    for name in unit if isinstance(unit, list) else [unit] if unit else []:
        if not _UNIT.fullmatch(name):
            raise ValueError(
                f'holds "{name}", which is no unit name; expected one such as "quicktalk.service"'
            )


def _pid_file(_instance: object, _attribute: object, pid_file: str) -> None:
    if pid_file:
        _expect_absolute(pid_file)


@attrs.frozen(kw_only=True)
class LocalSource(Source):
    """Looks whether everything a local runtime requires is there; with no requirement, the host itself, which is ok.

    Each requirement is a part below the source; all are looked at in each probe, and the worst decides.
    """

    default_interval: ClassVar[float] = 5.0

    python: str = option(
        "", help="Interpreter that looks up `modules`, as an absolute path.", validator=_python
    )
    modules: list[str] = option(
        factory=list,
        help="Modules that `python` must be able to import; none is imported.",
        validator=_modules,
    )
    files: list[str] = option(
        factory=list,
        help="Absolute paths that must exist: files not empty, directories with at least one entry.",
        validator=_files,
    )
    command: list[str] | None = option(
        None, help="Program and arguments, run without a shell; exit code 0 is ok.", validator=_command
    )
    unit: str | list[str] = option(
        "", help="systemd unit, or several, that must be active.", validator=_units
    )
    pid_file: str = option("", help="File with the id of a process that must be alive.", validator=_pid_file)

    def __attrs_post_init__(self) -> None:
        """Want an interpreter where there are modules."""
        if self.modules and not self.python:
            raise OptionError(
                "modules",
                'needs python = "/path/bin/python", the interpreter of the runtime: statusd\'s own does not have it',
            )

    async def probe(self) -> list[Report]:
        """Look at every requirement and sum up."""
        parts = await look_up(self.context, self.python, tuple(dict.fromkeys(self.modules)))
        if self.files:
            parts += await self.context.in_thread(look_at_files, tuple(dict.fromkeys(self.files)))
        if self.pid_file:
            parts.append(await self.context.in_thread(look_at_process, self.pid_file))
        parts += await ask_systemd(self.context, self._unit_names())
        if self.command is not None:
            parts.append(await self._run(self.command))
        own = sum_up(parts)
        return [own, *parts, *self._models(own)]

    def on_failure(self, failure: Report) -> list[Report]:
        """Keep the parts in the tree, as `unknown`, and the models' own word, when a probe did not finish."""
        parts = [
            Report.unknown(failure.reason, "The probe ended before this was known.", path=path)
            for path in self._paths()
        ]
        return [failure, *parts, *self._models(failure)]

    async def _run(self, command: Sequence[str]) -> Report:
        try:
            code = (await self.context.run(command)).returncode
        except ProbeError as error:
            if hidden := await self.context.in_thread(hidden_start, command[0]):
                return hidden[1].report(hidden[0], "command")
            return Report.down(error.reason, error.message, path="command")
        if code == 0:
            return Report.ok(path="command", facts={"exit_code": 0})
        message = (
            f"{command[0]} {_how_it_ended(code)}: `statusd probe {self.context.name}` shows what it wrote."
        )
        facts: dict[str, Json] = {"exit_code": code}
        if hidden := await self.context.in_thread(hidden_need, tuple(command), code):
            return attrs.evolve(
                hidden[1].report(hidden[0], "command"),
                message=f"{message} {hidden[1].message(hidden[0])}",
                facts={**facts, "opened_by": hidden[1].opening},
            )
        return Report.down("failed", message, path="command", facts=facts)

    def _models(self, own: Report) -> list[Report]:
        label = "local_runtime" if own.status.is_connected else "local_adapter_missing"
        return [
            Report(status=own.status, reason=own.reason, message=own.message, model=model, label=label)
            for model in self.context.models
        ]

    def _unit_names(self) -> tuple[str, ...]:
        names = self.unit if isinstance(self.unit, list) else [self.unit]
        return tuple(dict.fromkeys(name for name in names if name))

    def _paths(self) -> Iterator[str]:
        yield from (f"modules/{segment(name)}" for name in dict.fromkeys(self.modules))
        yield from (f"files/{segment(path)}" for path in dict.fromkeys(self.files))
        if self.pid_file:
            yield "pid"
        yield from (f"unit/{segment(name)}" for name in self._unit_names())
        if self.command is not None:
            yield "command"


def sum_up(parts: Sequence[Report]) -> Report:
    """Return the report about the source: the worst of `parts` decides, and the message says what is not met."""
    if not parts:
        return Report.ok(message="Nothing is required: the host itself.")
    unmet = [part for part in parts if part.status.severity > 0]
    if not unmet:
        return Report.ok()
    # The first of the worst decides, in the order the requirements are looked at.
    decisive = max(unmet, key=lambda part: part.status.severity)
    named = " ".join(part.message for part in unmet[:NAMED])
    more = f" And {len(unmet) - NAMED} more." if len(unmet) > NAMED else ""
    return Report(
        status=decisive.status,
        reason=decisive.reason,
        message=f"{len(unmet)} of {len(parts)} requirements not met: {named}{more}",
        facts={"unmet": [part.path for part in unmet]},
    )


def _how_it_ended(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


@hookimpl
def statusd_register_sources(registry: SourceRegistry) -> None:
    """Register `local`."""
    registry.add(LocalSource)
