"""Witnesses a daemon's event loop from inside; Python imports this at its start where ``PYTHONPATH`` names its directory.

``$STATUSD_WITNESS`` is the file that gets, each half second, how many tasks there are and, with ``$STATUSD_WITNESS_STEPS``
set, the longest steps that a task kept the loop for, each with where it was then (a sample each 2 ms).
"""

from __future__ import annotations

import collections
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Final

GAP: Final = 0.5
"""Seconds from one writing of the file to the next."""
LONG: Final = 0.02
"""Seconds of a step that are worth a line."""
SAMPLE: Final = 0.002
"""Seconds from one look at a step that goes on to the next."""
DEEP: Final = 8
"""Frames of the stack that are shown."""
OWN: Final = "/statusd"
"""What the files of those frames have in their path."""
LINES: Final = 5000
"""Steps that are kept."""


class Witness:
    """An instrument of trio (trio.abc.Instrument) that has only what is needed, for each method costs time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self._due = 0.0

    def before_io_wait(self, _timeout: float) -> None:
        """Write the file if it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + GAP
            self._write(now)

    def _write(self, now: float) -> None:
        import trio  # noqa: PLC0415  # not before it is needed: each process that starts reads this file

        tasks = trio.lowlevel.current_statistics().tasks_living
        temporary = self.path.with_suffix(".new")
        text = json.dumps({"at": now, "tasks": tasks, "steps": self.lines[-LINES:]})
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.path)


class Steps(Witness):
    """Times every step of every task, too."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._main = threading.get_ident()
        self._began = 0.0
        self._cpu = 0.0
        self._seen: collections.Counter[str] = collections.Counter()
        threading.Thread(target=self._sample, name="witness", daemon=True).start()

    def before_task_step(self, _task: Any) -> None:
        """Note the beginning."""
        self._cpu = time.thread_time()
        self._began = time.perf_counter()

    def after_task_step(self, task: Any) -> None:
        """Note the end."""
        took, self._began = time.perf_counter() - self._began, 0.0
        if took >= LONG:
            cpu = time.thread_time() - self._cpu
            seen, self._seen = self._seen, collections.Counter()
            line = {
                "at": time.monotonic(),
                "task": task.name,
                "seconds": round(took, 4),
                "cpu": round(cpu, 4),
            }
            self.lines.append(line | {"where": dict(seen)})
        elif self._seen:
            self._seen = collections.Counter()

    def _sample(self) -> None:
        while True:
            time.sleep(SAMPLE)  # the pace of the samples
            began = self._began
            if began and time.perf_counter() - began > SAMPLE:
                frame = sys._current_frames().get(self._main)  # noqa: SLF001  # documented, in spite of its name
                if frame is not None:
                    self._seen[_where(frame)] += 1


def _where(frame: FrameType) -> str:
    """Return the frames of statusd on the stack of `frame`, and the last one of all."""
    stack = traceback.extract_stack(frame)
    own = [one for one in stack[:-1] if OWN in one.filename][-DEEP:]
    return " > ".join(f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in (*own, stack[-1]))


def _install(path: Path) -> None:
    import trio  # noqa: PLC0415  # in the one process that is to be witnessed

    kind = Steps if os.environ.get("STATUSD_WITNESS_STEPS") else Witness
    plain = trio.run

    def run(*arguments: Any, **options: Any) -> Any:
        return plain(*arguments, **{**options, "instruments": [kind(path)]})

    trio.run = run  # type: ignore[assignment]  # takes what the plain one takes


if named := os.environ.pop("STATUSD_WITNESS", ""):
    _install(Path(named))
