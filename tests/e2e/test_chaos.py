"""A minute of chaos: every task told exactly once, every event accounted for."""

from __future__ import annotations

import pytest

from ..chaos.run import run  # noqa: TID252 -- what `make chaos` plays

pytestmark = pytest.mark.timeout(600)
SEED = 20261121


def test_nothing_is_lost_or_said_twice_in_chaos(redis_url, tmp_path):
    """The tasks' own notes, the ledger and the brain agree after random faults."""
    outcome = run(SEED, 40.0, tmp_path, redis_url, print)
    assert outcome.is_good, outcome
    assert outcome.told > 100
    assert len(outcome.faults) > 5
