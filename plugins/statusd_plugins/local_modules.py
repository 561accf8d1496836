"""Requirement of the `local` plugin: modules that another interpreter can import, found without importing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from statusd import Completed, Context, ProbeError, Report, parse_object, segment

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
        return [Report.down(error.reason, error.message, path=_path(name)) for name in modules]
    return [_report(name, answers.get(name), python) for name in modules]


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
