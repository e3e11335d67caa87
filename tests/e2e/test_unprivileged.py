"""What root may do anyway, an ordinary user has to be kept from, and the other way round.

Suites usually run as one of the two. Where this one runs as root, the tests of paths run
again as ``nobody``; where it does not, they have been run as an ordinary user already.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534
TESTS = [
    "tests/conformance/test_planted_files.py",
    "tests/unit/test_disk.py",
    "tests/unit/buffer/test_home.py",
    "tests/unit/buffer/test_files.py",
    "tests/unit/buffer/test_foreign.py",
    "tests/unit/buffer/test_database.py",
    "tests/unit/agent/test_seat.py",
    "tests/unit/agent/test_status_file.py",
    "tests/unit/config/test_checks.py",
    "tests/unit/journal/test_reader.py",
]


# Of root's rights it keeps the one to read, since the interpreter may lie in root's home.
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"),
]


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter as nobody, in a home that nobody owns."""
    with tempfile.TemporaryDirectory(prefix="z4j-nobody-") as home:
        os.chown(home, NOBODY, NOBODY)
        return subprocess.run(
            [*AS_NOBODY, sys.executable, *arguments],
            cwd=ROOT,
            env={"HOME": home, "TMPDIR": home, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="run as an ordinary user already")
def test_the_rules_of_paths_hold_for_an_ordinary_user(service_missing) -> None:
    """The same tests as for root, none of them left out for want of a right."""
    if not shutil.which("setpriv") or as_nobody("-c", "import z4j_otel").returncode:
        service_missing("no setpriv that makes us nobody; install util-linux")
    done = as_nobody("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *TESTS)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 300
