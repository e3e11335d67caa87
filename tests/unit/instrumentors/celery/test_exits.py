"""How pool children ended."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from z4j_otel.instrumentors.celery.exits import ChildExits

LOST = "Worker exited prematurely: exitcode 0 Job: 3."


def reaped(exits: ChildExits, pid: int, status: int | None) -> None:
    """Let a pool reap a child."""
    exits.around_flush(
        lambda worker: worker, None, (SimpleNamespace(pid=pid, exitcode=status),), {}
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-9, "signal 9 (SIGKILL)"),
        (-11, "signal 11 (SIGSEGV)"),
        (-250, "signal 250"),
        (3, "exitcode 3"),
        (0, "exitcode 0"),
        (None, "exitcode 0"),
    ],
)
def test_a_forgotten_status_is_put_back(status: int | None, words: str) -> None:
    """The status that was seen stands in the place of billiard's 0."""
    exits = ChildExits()
    reaped(exits, 77, status)
    assert exits.corrected(LOST, 77) == LOST.replace("exitcode 0", words)


def test_a_status_that_billiard_knows_stands() -> None:
    """Only its 0 is doubted."""
    exits = ChildExits()
    reaped(exits, 77, -9)
    text = "Worker exited prematurely: exitcode 155 Job: 3."
    assert exits.corrected(text, 77) == text


@pytest.mark.parametrize("pid", [78, None])
def test_an_unknown_child_leaves_the_text(pid: int | None) -> None:
    """Without evidence nothing is claimed."""
    exits = ChildExits()
    reaped(exits, 77, -9)
    assert exits.corrected(LOST, pid) == LOST


def test_a_reused_pid_is_the_latest_child() -> None:
    """The system gives numbers out again."""
    exits = ChildExits()
    reaped(exits, 77, -9)
    reaped(exits, 77, 3)
    assert "exitcode 3" in exits.corrected(LOST, 77)


def test_only_the_latest_thousand_are_kept() -> None:
    """A worker that replaces its children for months does not grow."""
    exits = ChildExits()
    for pid in range(1, 1002):
        reaped(exits, pid, -9)
    assert exits.corrected(LOST, 1) == LOST
    assert "SIGKILL" in exits.corrected(LOST, 2)
