"""The wire form of commands and the course of their status."""

from __future__ import annotations

import pytest

from z4j_otel.commands import CommandResult, CommandStatus
from z4j_otel.devbrain.orders import IssuedCommand, OrderStatus, build_payload

NS = 1_000_000_000
SUCCESS = CommandResult(CommandStatus.SUCCESS, {"a": 1})


def payload(action, task_id=None, **parameters):
    """Build a payload for Celery."""
    return build_payload(action, parameters, engine="celery", task_id=task_id, timeout_s=60.0)


def command(action="cancel_task", **parameters):
    """Make a command issued at 0."""
    return IssuedCommand(
        id="c",
        project_id="p",
        agent_id="a",
        payload=payload(action, "t", **parameters),
        issued_at_ns=0,
        waiter=lambda predicate, timeout_s: predicate(),
    )


def test_retry_has_every_member():
    """A retry carries no arguments but the operator's."""
    built = payload("retry_task", "t", override_args=[1], override_kwargs={})
    assert (built.target.type, built.target.id, built.target.engine) == (
        "task",
        "celery:t",
        "celery",
    )
    assert built.parameters == {
        "engine": "celery",
        "task_id": "t",
        "task_name": None,
        "args": None,
        "kwargs": None,
        "override_args": [1],
        "override_kwargs": {},
        "original_had_args": True,
        "eta": None,
        "eta_seconds": None,
        "priority": "normal",
    }
    assert (built.timeout_seconds, built.delivery_claim_token) == (60, None)


@pytest.mark.parametrize(
    ("action", "target_type", "target_id", "engine"),
    [
        ("cancel_task", "task", "celery:t", "celery"),
        ("requeue_dead_letter", "task", "celery:t", "celery"),
        ("reconcile_task", "task", "t", "celery"),
        ("bulk_retry", "bulk", None, "celery"),
        ("anything_else", "task", "t", "celery"),
    ],
)
def test_targets(action, target_type, target_id, engine):
    """Each action has its own way to say what it is about."""
    target = payload(action, "t").target
    assert (target.type, target.id, target.engine) == (target_type, target_id, engine)


def test_list_of_dead_letters_is_about_a_queue():
    """What the operator did not choose is null, and the limit is the brain's."""
    built = payload("dlq.list", queue="work")
    assert (built.target.type, built.target.id, built.target.engine) == ("queue", "work", "celery")
    wanted = {"engine": "celery", "queue": "work", "limit": 100, "cursor": None}
    assert built.parameters == wanted


def test_submit_is_about_a_schedule():
    """submit_task names its engine in a filter and comes from a schedule."""
    built = payload("submit_task", name="shop.pay", args=[1])
    assert built.target.type == "schedule"
    assert built.target.id == built.parameters["schedule_id"]
    assert built.parameters["filter"] == {"engine": "celery"}
    assert built.parameters["name"] == "shop.pay"


def test_bulk_retry_puts_the_engine_into_the_filter():
    """The selection names the engine."""
    built = payload("bulk_retry", filter={"task_ids": ["a"]})
    assert built.parameters == {"max": 1000, "filter": {"engine": "celery", "task_ids": ["a"]}}


def test_queue_and_task_name_commands_have_no_engine():
    """purge_queue and rate_limit are addressed by name alone."""
    purge = payload("purge_queue", queue="q").target
    limit = payload("rate_limit", task_name="n", rate="1/s").target
    assert (purge.type, purge.id, purge.engine) == ("queue", "q", None)
    assert (limit.type, limit.id, limit.engine) == ("task", "n", None)


def test_worker_commands_are_about_the_worker():
    """The worker's name is the target."""
    built = payload("pool_grow", worker_name="w", delta=2)
    assert (built.target.type, built.target.id) == ("worker", "w")
    assert built.parameters == {"worker_name": "w", "delta": 2, "engine": "celery"}


def test_schedule_commands_carry_a_claim_token():
    """External control and fires have to be claimed."""
    assert payload("schedule.external.control").delivery_claim_token
    assert payload("schedule.fire").delivery_claim_token
    assert payload("schedule.resync").delivery_claim_token is None


def test_the_first_result_wins():
    """A command ends once."""
    issued = command()
    issued.deliver("s", 1)
    assert issued.finish(SUCCESS, 2)
    assert not issued.finish(CommandResult(CommandStatus.FAILED, error="late"), 3)
    assert (issued.status, issued.result, issued.error) == (OrderStatus.COMPLETED, {"a": 1}, None)


@pytest.mark.parametrize(("error", "stored"), [("x" * 2000, "x" * 1024), (None, "the agent")])
def test_failures_have_a_text(error, stored):
    """The error is cut to 1024 characters, and there always is one."""
    issued = command()
    issued.finish(CommandResult(CommandStatus.FAILED, error=error), 2)
    assert issued.status is OrderStatus.FAILED
    assert issued.error.startswith(stored)
    assert len(issued.error) <= 1024


def test_the_deadline_counts_from_delivery():
    """A command waits for its agent and then for its result, each time in full."""
    issued = command()
    assert issued.deadline_ns == 60 * NS
    issued.deliver("s", 50 * NS)
    assert not issued.expire(109 * NS)
    assert issued.expire(110 * NS)
    assert not issued.expire(111 * NS)
    assert issued.status is OrderStatus.TIMEOUT


def test_wait_returns_or_raises():
    """Waiting ends with the command, or with TimeoutError."""
    issued = command()
    with pytest.raises(TimeoutError, match="cancel_task is pending"):
        issued.wait(0)
    issued.finish(SUCCESS, 1)
    assert issued.wait(0) is issued


@pytest.mark.parametrize(
    ("action", "session", "token", "counts"),
    [
        ("cancel_task", "other", None, True),
        ("schedule.fire", "other", "wrong", False),
        ("schedule.fire", "s", None, True),
        ("schedule.fire", "other", "right", True),
        ("schedule.external.control", "s", None, False),
        ("schedule.external.control", "other", "right", False),
        ("schedule.external.control", "s", "right", True),
    ],
)
def test_who_may_answer(action, session, token, counts):
    """Claimed commands want their token, their session, or both."""
    issued = command(action)
    issued.deliver("s", 1)
    claim = issued.payload.delivery_claim_token if token == "right" else token
    assert issued.may_answer(session, claim) is counts
