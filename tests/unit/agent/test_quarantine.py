"""Who is guilty when the brain ends connections."""

from __future__ import annotations

import pytest

from z4j_otel.agent.quarantine import Quarantine


@pytest.fixture
def quarantine():
    """Return one that knows nothing."""
    return Quarantine()


def stand_alone(quarantine, sequence, times=3):
    """Blame one entry so often."""
    return [quarantine.blame([sequence], is_proven=True) for _ in range(times)]


def test_a_batch_of_several_accuses_nobody(quarantine):
    """Only an entry that stood alone can be put aside."""
    assert not any(quarantine.blame([1, 2], is_proven=True) for _ in range(10))
    assert quarantine.aside == 0


def test_an_entry_is_put_aside_after_three_proven_offences(quarantine):
    """Only connections on which something else was accepted count."""
    verdicts = [quarantine.blame([7], is_proven=proven) for proven in (True, False, True, True)]
    assert verdicts == [False, False, False, True]
    assert quarantine.aside == 1


def test_another_entry_starts_with_a_clean_record(quarantine):
    """Offences are counted per entry."""
    stand_alone(quarantine, 7, times=2)
    assert stand_alone(quarantine, 8, times=2) == [False, False]


def test_guilt_takes_the_acceptance_of_others(quarantine):
    """Entries are rejected when the brain takes something else, and only once."""
    stand_alone(quarantine, 7)
    stand_alone(quarantine, 8)
    assert quarantine.accepted() == [7, 8]
    assert quarantine.accepted() == []


def test_a_brain_that_takes_nothing_accuses_nobody(quarantine):
    """When a hundred are aside and none was accepted, all come back."""
    for sequence in range(99):
        stand_alone(quarantine, sequence)
        assert quarantine.pardon() == []
    stand_alone(quarantine, 99)
    assert quarantine.pardon() == list(range(100))
    assert quarantine.accepted() == []


def test_reports_are_suspected_when_nothing_else_was_out(quarantine):
    """Two such ends in a row, and heartbeats say less; any other end clears them."""
    quarantine.blame([], is_proven=True)
    assert not quarantine.distrusts_reports
    quarantine.blame([], is_proven=False)
    assert quarantine.distrusts_reports
    quarantine.ended_otherwise()
    assert not quarantine.distrusts_reports
