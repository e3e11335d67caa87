"""What a broker allows."""

from __future__ import annotations

import pytest

from z4j_otel.cli.drill.brokers import KILLS_OF_CHILDREN, KILLS_OF_MAIN, facts_of
from z4j_otel.cli.drill.faults import FAULTS


@pytest.mark.parametrize(
    ("transport", "has_loop", "left_out"),
    [
        ("redis", True, set()),
        ("amqp", True, set()),
        ("amqp", False, {*KILLS_OF_CHILDREN}),
        ("sqs", True, {*KILLS_OF_MAIN}),
        ("filesystem", False, {*KILLS_OF_CHILDREN, *KILLS_OF_MAIN}),
    ],
)
def test_faults_that_cannot_be_judged_are_left_out(transport, has_loop, left_out):
    """Each with a reason."""
    facts = facts_of(transport, has_loop=has_loop)

    assert {*facts.left_out} == left_out
    assert all(facts.left_out.values())
    assert facts.keeps_taken == (transport in {"redis", "amqp"})


def test_every_name_of_a_fault_is_one():
    """A fault that is renamed would be played where it must not."""
    assert {*KILLS_OF_CHILDREN, *KILLS_OF_MAIN} <= {fault.name for fault in FAULTS}


def test_a_drill_waits_longer_than_redis_keeps_a_dead_workers_messages():
    """Else tasks that come again would be missed."""
    facts = facts_of("redis", has_loop=True)
    options = facts.options_alone("q")

    assert facts.quiet_s > options["visibility_timeout"] + options["unacked_mutex_expire"]


def test_only_redis_needs_options():
    """Others share no book."""
    assert facts_of("amqp", has_loop=True).options_alone("q") == {}
