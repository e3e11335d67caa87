"""What a task's process does for z4j, as the kernel sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "bench" / "task_syscalls.py"


@pytest.mark.timeout(180)
def test_a_task_appends_to_a_file_and_does_nothing_else(redis_url, service_missing):
    """No database, fsync, socket or lock between processes: two appends, and little more."""
    done = subprocess.run(
        [sys.executable, PROGRAM, "--quick"],
        env={**os.environ, "BENCH_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
    )
    if "not measured" in done.stdout:
        service_missing(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    bare, ours = re.search(
        r"^write \(journal\) +([\d.]+) +([\d.]+)", done.stdout, re.MULTILINE
    ).groups()
    assert float(bare) == 0
    # One record for the start of a run and one for its end, each a single write.
    assert float(ours) == pytest.approx(2, abs=0.1)
