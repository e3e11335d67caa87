"""Which commands the brain's API lets through."""

from __future__ import annotations

import pytest

from z4j_otel.devbrain.admission import IssueRefused, check_admission, keeps_retry_contract
from z4j_otel.devbrain.inventory import Inventory
from z4j_otel.wire.frames import Hello


def hello(*tokens, engines=("celery",)):
    """Make a hello whose engines list the tokens."""
    return Hello(
        agent_version="1",
        framework="bare",
        engines=list(engines),
        capabilities={engine: list(tokens) for engine in engines},
    )


def check(action, greeting, inventory=None, engine="celery", **parameters):
    """Check a command for the agent ``a``."""
    check_admission(
        action,
        engine,
        parameters,
        agent_id="a",
        hello=greeting,
        inventory=inventory or Inventory("p"),
    )


@pytest.mark.parametrize(
    ("action", "tokens"),
    [
        ("retry_task", ("retry_task",)),
        ("retry_task", ("retry_by_reference_v1",)),
        ("bulk_retry", ("bulk_retry",)),
        ("cancel_task", ()),
        ("requeue_dead_letter", ()),
        ("pool_grow", ()),
    ],
)
def test_missing_tokens_are_refused(action, tokens):
    """Gated actions need their token; retries need the contract too."""
    with pytest.raises(IssueRefused) as refusal:
        check(action, hello(*tokens))
    assert refusal.value.status == 422


@pytest.mark.parametrize("action", ["submit_task", "purge_queue", "rate_limit", "reconcile_task"])
def test_some_actions_are_not_gated(action):
    """These go out whatever the agent lists."""
    check(action, hello())


def test_retry_passes_with_both_tokens():
    """Token and contract together admit a retry."""
    check("retry_task", hello("retry_task", "retry_by_reference_v1"))


def test_other_engines_need_overrides():
    """Beyond celery and rq the brain wants both overrides."""
    greeting = hello("retry_task", "retry_by_reference_v1", engines=("huey",))
    with pytest.raises(IssueRefused, match="409"):
        check("retry_task", greeting, engine="huey", override_args=[])
    check("retry_task", greeting, engine="huey", override_args=[], override_kwargs={})


def test_dead_letters_need_an_agent_that_lists_them():
    """dlq.list is 409 without the token."""
    with pytest.raises(IssueRefused, match="409"):
        check("dlq.list", hello())
    check("dlq.list", hello("list_dead_letters"))


def test_worker_commands_need_the_worker_link():
    """One row, and worker events of this agent alone, admit worker commands."""
    inventory = Inventory("p")
    greeting = hello("pool_grow")
    inventory.touch("celery", {"worker": "w"}, 0)
    for reporters in ((), ("b",), ("a",)):
        for reporter in reporters:
            inventory.count("celery", "worker.online", {"worker": "w"}, reporter)
        with pytest.raises(IssueRefused, match="422"):
            check("pool_grow", greeting, inventory, worker_name="w")
    linked = Inventory("p")
    linked.touch("celery", {"worker": "w"}, 0)
    linked.count("celery", "worker.online", {"worker": "w"}, "a")
    check("pool_grow", greeting, linked, worker_name="w")


def test_only_contract_sessions_are_given_retries():
    """Delivery of a retry looks at the session's own hello."""
    assert keeps_retry_contract(hello(), "cancel_task", None)
    assert not keeps_retry_contract(hello(), "retry_task", "celery")
    assert not keeps_retry_contract(hello("retry_by_reference_v1"), "retry_task", None)
    assert keeps_retry_contract(hello("retry_by_reference_v1"), "bulk_retry", "celery")
