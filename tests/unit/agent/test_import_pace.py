"""When the importer looks next."""

from __future__ import annotations

from z4j_otel.agent.import_pace import ImportPace


def test_first_look_after_a_find_is_a_quick_one():
    """Whoever watches a single task sees its end soon after its start."""
    pace = ImportPace()
    for _ in range(10):
        pace.pause_s(0)
    assert pace.pause_s(1) == 0.05


def test_looks_that_all_find_something_become_rarer():
    """A busy worker's records are taken in good portions, four times a second."""
    pace = ImportPace()
    assert [pace.pause_s(30) for _ in range(5)] == [0.05, 0.1, 0.2, 0.25, 0.25]


def test_looks_that_find_nothing_become_rare():
    """An idle agent looks every two seconds."""
    pace = ImportPace()
    pace.pause_s(30)
    assert [pace.pause_s(0) for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
