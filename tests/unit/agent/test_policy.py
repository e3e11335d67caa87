"""What an operator may do is decided where the worker runs."""

from __future__ import annotations

import pytest

from z4j_otel.agent.policy import permitted, policy_of, scheduler_tokens
from z4j_otel.commands import BRAIN_ACTIONS, Command
from z4j_otel.errors import CommandRefused

QUESTIONS = {"reconcile_task", "schedule.external.activate", "schedule.resync"}


def allowed_by(*items):
    """Return the actions that a setting allows."""
    check = policy_of(items)
    found = set()
    for action in BRAIN_ACTIONS:
        try:
            check(Command("c", action))
        except CommandRefused:
            continue
        found.add(action)
    return found


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ((), BRAIN_ACTIONS),
        (("none",), set()),
        (("retry_task",), {"retry_task", *QUESTIONS}),
        (("-purge_queue",), BRAIN_ACTIONS - {"purge_queue"}),
        (("retry_task", "purge_queue", "-purge_queue"), {"retry_task", *QUESTIONS}),
        (("retry_task", "-reconcile_task"), {"retry_task", *QUESTIONS} - {"reconcile_task"}),
        (
            ("schedule.*", "-schedule.external.*"),
            {name for name in BRAIN_ACTIONS if name.startswith("schedule.")}
            - {name for name in BRAIN_ACTIONS if name.startswith("schedule.external.")}
            | {"reconcile_task"},
        ),
    ],
)
def test_list_allows_denials_win(items, expected):
    """Names allow, a minus denies, a denial wins over everything, none is nothing."""
    assert allowed_by(*items) == expected


def test_refusal_says_what_to_change():
    """The operator reads which setting is in the way."""
    with pytest.raises(CommandRefused, match=r"Z4J_COMMANDS.*change this setting"):
        policy_of(["none"])(Command("c", "retry_task"))


@pytest.mark.parametrize("overrides", [{"override_args": []}, {"override_kwargs": {"a": 1}}])
@pytest.mark.parametrize("items", [["retry_task"], ["-submit_task"]])
def test_retry_with_other_arguments_is_a_submission(items, overrides):
    """Or who may repeat tasks could run any task with any arguments under a new name."""
    parameters = {"task_id": "x", "task_name": "shop.refund", **overrides}
    with pytest.raises(CommandRefused, match="submit_task is denied"):
        policy_of(items)(Command("c", "retry_task", parameters=parameters))
    policy_of(["retry_task", "submit_task"])(Command("c", "retry_task", parameters=parameters))
    plain = dict.fromkeys(overrides)
    policy_of(items)(Command("c", "retry_task", parameters={"task_id": "x", **plain}))


def test_action_from_outside_is_not_a_pattern():
    """What the brain calls an action is compared, never interpreted."""
    with pytest.raises(CommandRefused):
        policy_of(["retry_task"])(Command("c", "*"))


TOKENS = ["submit_task", "retry_task", "bulk_retry", "purge_queue", "list_dead_letters"]
MARKER = "retry_by_reference_v1"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ((), {*TOKENS, MARKER}),
        (("none",), set()),
        (("-purge_queue", "-dlq.list"), {"submit_task", "retry_task", "bulk_retry", MARKER}),
        (("schedule.fire",), {"submit_task"}),
        (("bulk_retry",), {"bulk_retry", MARKER}),
        (("-retry_task", "-bulk_retry"), {"submit_task", "purge_queue", "list_dead_letters"}),
    ],
)
def test_what_is_denied_is_not_offered(items, expected):
    """A token goes with the last action that it stands for."""
    offered = permitted([*TOKENS, MARKER, MARKER], policy_of(items))
    assert offered == sorted(expected)


def test_tokens_that_are_no_actions_are_left_to_the_policy():
    """What an engine made up is allowed like any other name."""
    assert permitted(["brew"], policy_of(["-purge_queue"])) == ["brew"]
    assert permitted(["brew"], policy_of(["retry_task"])) == []


CAN = ["list", "read", "create", "update", "delete", "enable", "disable", "trigger_now"]
SNAPSHOT, MUTATION = "external_schedule_stable_snapshot_v1", "external_schedule_mutation_v1"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ((), {*CAN, SNAPSHOT, MUTATION}),
        (("none",), set()),
        (("-schedule.external.*",), set()),
        (("-schedule.external.mutate",), {"list", "read", "enable", "disable", SNAPSHOT}),
        (("retry_task",), {"list", "read", SNAPSHOT}),
    ],
)
def test_scheduler_offers_what_may_be_done(items, expected):
    """A scheduler that must not be mirrored is not there; one that must not be changed is shown."""
    assert set(scheduler_tokens(CAN, policy_of(items))) == expected
