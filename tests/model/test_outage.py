"""A small ``make outage``: hours without a brain, in simulated time."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ..outage.verdict import problems_of  # noqa: TID252 -- what `make outage` plays
from ..outage.world import Plan, World  # noqa: TID252 -- as above

pytestmark = pytest.mark.timeout(300)

SMALL = Plan(
    events=20_000,
    hours=0.5,
    max_events=1_000,
    max_bytes=2 * 1024 * 1024,
    journal_bytes=640 * 1024,
    segment_bytes=40 * 1024,
    hung_share=0.2,
)
_BATCH = 200


def test_an_outage_costs_what_the_caps_say(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory and disk stay within the caps, each loss has its reason, the rest is delivered."""
    caplog.set_level(logging.INFO, "z4j_otel")
    world = World(tmp_path, SMALL).play()
    assert list(problems_of(world)) == []
    assert world.peaks.entries == SMALL.max_events
    assert world.peaks.body_bytes > SMALL.max_bytes * 0.97
    # At full speed: whole batches, one right after the other.
    assert world.batches_after <= -(-world.delivered_after // _BATCH) + 2
    lines = [line for line in caplog.messages if "connected to the brain" in line]
    assert [line.split(":")[0].removeprefix("[z4j] ") for line in lines] == [
        "connected to the brain",
        "not connected to the brain",
        "not connected to the brain",
        "connected to the brain again",
    ]
