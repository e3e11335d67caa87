"""A guarded program never outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from z4j_otel.cli import brain_guard

# The program says that it runs, then waits for a signal; its end closes the pipe.
PROGRAM = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {PROGRAM}"


def guarded(program, *options):
    """Start a program under the guard and wait until it is up."""
    guard = subprocess.Popen(
        [sys.executable, "-I", *options, sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert guard.stdout.readline() == b"up\n"
    return guard


def test_the_program_ends_when_its_starter_lets_go():
    """Closing the pipe, as the death of the starter does, ends the program."""
    with guarded(PROGRAM, brain_guard.__file__) as guard:
        guard.stdin.close()
        assert guard.stdout.read() == b""
        assert guard.wait(20) != 0


def test_a_signal_is_handed_on():
    """Ending the guard ends the program, politely."""
    with guarded(PROGRAM, brain_guard.__file__) as guard:
        guard.send_signal(signal.SIGTERM)
        assert guard.wait(20) != 0
        assert guard.stdout.read() == b""


def test_a_stubborn_program_is_killed():
    """A program that does not listen is ended by force."""
    code = (
        "import sys; from z4j_otel.cli import brain_guard as g; g._PATIENCE_S = 0.1;"
        "sys.exit(g.main(sys.argv[1:]))"
    )
    guard = subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, "-c", STUBBORN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with guard:
        assert guard.stdout.readline() == b"up\n"
        guard.stdin.close()
        assert guard.stdout.read() == b""
        assert guard.wait(20) != 0


@pytest.mark.parametrize("status", [0, 3])
def test_the_exit_status_is_the_programs(status):
    """A program that ends by itself ends the guard as well."""
    read_end, write_end = os.pipe()
    done = subprocess.run(
        [sys.executable, "-I", brain_guard.__file__, sys.executable, "-c", f"exit({status})"],
        stdin=read_end,
        check=False,
    )
    os.close(write_end)
    os.close(read_end)
    assert done.returncode == status
