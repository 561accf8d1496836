"""Requirement of the `local` plugin: modules that another interpreter can import, found without importing them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import attrs

from statusd import Completed, Context, ProbeError, Report, Status, parse_object, segment
from statusd_plugins.local_programs import hidden_start
from statusd_plugins.sandbox import Sandbox

SCRIPT: Final = """
import importlib.util, json, sys, types

def is_found(name):
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        place = ".".join(parts[:depth])
        spec = importlib.util.find_spec(place)
        if spec is None:
            return False
        if place not in sys.modules and depth < len(parts):
            # find_spec imports the parent of a dotted name; an empty stand-in keeps the package's code from running.
            if spec.submodule_search_locations is None:
                return False
            sys.modules[place] = parent = types.ModuleType(place)
            parent.__spec__, parent.__path__ = spec, spec.submodule_search_locations
    return True

def answer(name):
    try:
        return is_found(name)
    except ModuleNotFoundError:
        return False
    except Exception:
        return None

sys.stdout.write("\\n" + json.dumps({name: answer(name) for name in sys.argv[1:]}) + "\\n")
"""
"""Prints one JSON object a line of its own: module -> true, false, or null when looking it up raised."""


PLACES: Final = """
import json, os, site, sys
places = [*sys.path]
for folder in site.getsitepackages():
    try:
        for name in sorted(os.listdir(folder)):
            if name.endswith(".pth"):
                with open(os.path.join(folder, name), errors="replace") as file:
                    lines = [line.strip() for line in file]
                # What does not exist, as far as it can see, site leaves out of sys.path.
                places += [os.path.join(folder, line) for line in lines
                           if line and not line.startswith(("#", "import ", "import\\t"))]
    except OSError:
        pass
for finder in sys.meta_path:
    # The finder of an editable installation (PEP 660) knows its packages' folders.
    mapping = getattr(sys.modules.get(getattr(finder, "__module__", "")), "MAPPING", {})
    if isinstance(mapping, dict):
        places += [place for place in mapping.values() if isinstance(place, str)]
sys.stdout.write("\\n" + json.dumps({"places": [*dict.fromkeys(places)][:400]}) + "\\n")
"""
"""Prints one JSON object a line of its own: ``places`` -> the folders in which it looks for modules."""


async def look_up(context: Context, python: str, modules: Sequence[str]) -> list[Report]:
    """Ask the interpreter `python` for `modules`; one report each, below ``modules/``.

    It runs isolated (``-I``, see python(1)): PYTHONPATH, the user's site directory and the working directory are
    statusd's own and say nothing about the runtime; a virtual environment and its ``.pth`` files count.
    """
    if not modules:
        return []
    try:
        answers = _answers(await context.run([python, "-I", "-c", SCRIPT, *modules]), python)
    except ProbeError as error:
        if hidden := await context.in_thread(hidden_start, python):
            return [hidden[1].report(hidden[0], _path(name)) for name in modules]
        return [Report.down(error.reason, error.message, path=_path(name)) for name in modules]
    reports = {name: _report(name, answers.get(name), python) for name in modules}
    unseen = [name for name, report in reports.items() if report.status is not Status.OK]
    return list({**reports, **await _hidden(context, python, unseen)}.values())


async def _hidden(context: Context, python: str, names: Sequence[str]) -> dict[str, Report]:
    """Return reports about those of `names` that may well be where the sandbox lets nobody look."""
    if not names or not (await context.in_thread(Sandbox.current)).is_service:
        return {}
    try:
        places = _places(await context.run([python, "-I", "-c", PLACES]))
    except ProbeError:
        return {}
    return await context.in_thread(_behind, places, names)


def _places(completed: Completed) -> list[str]:
    lines = completed.stdout.strip().splitlines()
    places = parse_object(lines[-1] if lines else b"").get("places")
    return [place for place in places if isinstance(place, str)] if isinstance(places, list) else []


def _behind(places: Sequence[str], names: Sequence[str]) -> dict[str, Report]:
    sandbox = Sandbox.current()
    whole = sandbox.first_hidden(places)
    reports = {}
    for name in names:
        top = name.partition(".")[0]
        found = [f"{place}/{top}{end}" for place in places for end in ("", ".py")]
        if hidden := whole or sandbox.first_hidden(filter(os.path.islink, found)):
            place, hiding = hidden
            message = hiding.message(f"{place}, where the module {name} may be,")
            reports[name] = attrs.evolve(hiding.report(place, _path(name)), message=message)
    return reports


def _answers(completed: Completed, python: str) -> dict[str, object]:
    if completed.returncode != 0:
        raise ProbeError(
            "failed", f"{python} ended with exit code {completed.returncode}: it is no working Python."
        )
    # Start-up files of that environment may print too; the answer is the last line.
    lines = completed.stdout.strip().splitlines()
    try:
        return parse_object(lines[-1] if lines else b"")
    except ProbeError:
        raise ProbeError(
            "unexpected_answer", f"{python} did not answer as a Python interpreter does."
        ) from None


def _report(name: str, answer: object, python: str) -> Report:
    if answer is True:
        return Report.ok(path=_path(name))
    if answer is False:
        return Report.down("missing", f"The module {name} is not installed for {python}.", path=_path(name))
    return Report.down("failed", f"Looking up the module {name} with {python} failed.", path=_path(name))


def _path(name: str) -> str:
    return f"modules/{segment(name)}"
