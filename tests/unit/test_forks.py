"""Calls in forked children."""

from __future__ import annotations

from z4j_otel import forks


class Holder:
    """Counts the forks it sees."""

    def __init__(self) -> None:
        self.forks = 0

    def note(self) -> None:
        """Count one."""
        self.forks += 1


def test_living_objects_are_called_and_dead_ones_are_forgotten() -> None:
    """The hook calls what is alive and does not keep anything alive."""
    kept, gone = Holder(), Holder()
    for holder in (gone, kept):
        forks.call_in_child(holder.note)
    del holder, gone
    forks._after_fork_in_child()
    assert kept.forks == 1
    known = len(forks._methods)
    forks.call_in_child(kept.note)
    assert len(forks._methods) <= known
