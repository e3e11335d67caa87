"""The notes of a drill's tasks, read back."""

from __future__ import annotations

import os

from z4j_otel.cli.drill.notes import Notes


def test_runs_are_read_in_order(tmp_path):
    """Begin, end and error of each, by process."""
    pid = os.getpid()
    path = tmp_path / "notes"
    path.write_text(
        f"ready worker {pid} 1\nbegin a {pid} 2\nbegin b {pid} 3\nend a {pid} 4\n"
        f"raise b {pid} 5\nbegin a {pid} 6\n"
    )

    runs = Notes(path).runs()

    assert [(run.began_ns, run.has_returned) for run in runs["a"]] == [(2, True), (6, False)]
    assert [(run.has_raised, run.is_over) for run in runs["b"]] == [(True, True)]
    assert not runs["a"][-1].is_over


def test_a_worker_is_ready_when_its_main_process_says_so(tmp_path):
    """Not when another one did."""
    notes = Notes(tmp_path / "notes")
    assert not notes.is_ready(42)

    notes.path.write_text("ready worker 421 1\n")
    assert not notes.is_ready(42)

    notes.path.write_text("ready worker 421 1\nready worker 42 2\n")
    assert notes.is_ready(42)
