"""The plan of a storm."""

from __future__ import annotations

from pathlib import Path

from z4j_otel.cli.drill.brokers import facts_of
from z4j_otel.cli.drill.faults import FAULTS
from z4j_otel.cli.drill.storm import Plan


def plan(transport="redis", *, has_loop=True, **more):
    """Return a plan."""
    facts = facts_of(transport, has_loop=has_loop)
    return Plan("shop.app", "q", seed=1, seconds=1.0, facts=facts, cwd=Path(), **more)


def test_on_redis_everything_is_played():
    """In the table's order: a seed means the same each time."""
    assert plan().faults() == FAULTS


def test_what_a_broker_does_not_allow_is_not_played():
    """All else is."""
    played = {fault.name for fault in plan("filesystem", has_loop=False).faults()}

    assert len(played) == len(FAULTS) - 4
    assert "a child dies" not in played


def test_one_worker_can_be_left_alone():
    """To watch its memory."""
    assert not any(fault.ends_worker for fault in plan(has_one_worker=True).faults())
