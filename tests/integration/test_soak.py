"""The soak of benchmarks/reloads.py in short: reloads at random under load, over the real command line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/reloads.py"
BARS = ("failed requests", "outcomes not as expected", "histories lost")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the load wants a core of its own")
def test_reloads_at_random_under_load_lose_no_request_and_no_history():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--reloads", "10", "--rate", "20", "--brief"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for bar in BARS:
        assert re.search(rf"{bar} +0\.00 .* met\n", done.stdout), done.stdout
    [asked] = re.findall(r"requests: (\d+) kept", done.stdout)
    assert int(asked) > 20
