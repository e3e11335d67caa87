"""What the documentation says, against a running brain and a running worker."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.cli.demo.tour import Tour
from z4j_otel.devbrain.server import BrainThread

from .event_data import COMMON, DATA, keys_of
from .pages import blocks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

RUNNABLE = [block for block in blocks("python") if block.is_run]
# What no scenario of the tour shows; their own tests do.
RARE = {
    *("tags", "details_dropped", "eager", "synthesised", "redelivered", "worker_lost"),
    *("priority", "observed_at", "eta", "expires", "inferred", "shadow", "reduced"),
    *("schedule", "expected_duration_ms", "deadline_ms"),
}


@pytest.mark.parametrize("block", RUNNABLE, ids=lambda block: block.where)
def test_marked_code_runs(block, tmp_path):
    """The code runs as it stands, says nothing, and the brain gets what the page says."""
    with BrainThread() as thread:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block.code],
            env={**os.environ, **thread.env(), "Z4J_HOME": str(tmp_path / "home")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        if block.event is not None:
            wait_until(
                lambda: [each for each in thread.brain.events() if each.kind == block.event],
                block.event,
                timeout_s=10,
            )


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Play the tour once; give every key that each kind of event had."""
    keys: dict[str, set[str]] = {}
    with EmbeddedBrain() as brain:
        with Stage(tmp_path_factory.mktemp("tour"), brain.environment()) as stage:
            tour = Tour(brain, stage)
            assert tour.run()
        for line in tour.lines:
            for event in brain.events(line.task_id):
                present = {key for key, value in event["data"].items() if value is not None}
                keys.setdefault(event["kind"], set()).update(present)
    return keys


def test_every_key_of_an_event_is_described(told):
    """No event has data that the reference does not know."""
    assert {kind: keys - keys_of(kind) for kind, keys in told.items() if keys - keys_of(kind)} == {}


def test_every_described_key_is_seen(told):
    """What the reference describes comes in some event of its kind."""
    unseen = {kind.value: set(DATA[kind]) - told.get(kind.value, set()) - RARE for kind in DATA}
    assert {kind: keys for kind, keys in unseen.items() if keys} == {}
    assert set(COMMON) - RARE <= set().union(*told.values())
