"""What the process uses, as Linux says it.

The library's own collector is not taken: it says nothing at all where ``/proc/stat`` is hidden, as our unit has it.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric

from statusd.web import families

PROC: Final = Path("/proc/self")
_PAGE: Final = resource.getpagesize()


def usage(proc: Path = PROC) -> Iterator[Metric]:
    """Yield the metrics of the process (proc_pid_statm(5), proc_pid_fd(5), getrlimit(2)); without what is hidden.

    Args:
        proc: the folder of the process in procfs.
    """
    cpu, memory = families.CPU.counter(), families.MEMORY.gauge()
    files, most = families.FILES.gauge(), families.MAX_FILES.gauge()
    cpu.add_metric([], time.process_time())
    with suppress(OSError):
        memory.add_metric([], int((proc / "statm").read_bytes().split()[1]) * _PAGE)
    with suppress(OSError):
        files.add_metric([], sum(1 for _ in (proc / "fd").iterdir()) - 1)  # less the one that lists them
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most.add_metric([], float("inf") if soft == resource.RLIM_INFINITY else soft)
    yield cpu
    yield memory
    yield files
    yield most
