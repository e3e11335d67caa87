"""Changes of schedules: compared with what the operator saw, and refused where it differs."""

from __future__ import annotations

import pytest

from z4j_otel.agent.schedules.native import NativeSchedules
from z4j_otel.errors import AdapterError, CommandRefused, CommandUnsupported
from z4j_otel.redaction import Redactor
from z4j_otel.wire.schedules import digest

from .scripted import OWNER, Adapter, MemoryScheduler, command, schedule


def mutate(scene, operation, key=None, expected=None, definition=None):
    """Carry out a mutation."""
    parameters = {
        "scheduler": OWNER,
        "operation": operation,
        "schedule_id": key,
        "expected": expected,
        "definition": definition or {},
    }
    return scene.native.execute(command("schedule.external.mutate", parameters))


def row(scene, key):
    """Return a row as the brain has it."""
    return next(each for each in scene.native.rows(OWNER) if each["source_key"] == key)


def test_schedule_is_created(scene):
    """Its key is told."""
    definition = {"name": "new", "task_name": "t", "kind": "interval", "expression": "5"}
    assert mutate(scene, "create", definition=definition) == {"source_key": "k2"}
    assert scene.scheduler.entries["k2"].name == "new"


def test_schedule_is_changed_where_it_is_as_it_was_seen(scene):
    """Runs since then are no difference; what was redacted keeps its value."""
    seen = {**row(scene, "b"), "total_runs": 99, "last_run_at": "earlier"}
    wanted = {"expression": "5", "kwargs": {"to": "[REDACTED]"}}
    assert mutate(scene, "update", "b", seen, wanted) == {"source_key": "b"}
    assert scene.scheduler.entries["b"].expression == "5"
    assert scene.scheduler.entries["b"].kwargs == {"to": "jane@example.com"}


@pytest.mark.parametrize("operation", ["update", "delete", "trigger"])
def test_schedule_that_changed_meanwhile_is_left_alone(scene, operation):
    """Nobody overwrites what he has not seen."""
    seen = row(scene, "a")
    scene.scheduler.put(schedule("a", queue="other"))
    with pytest.raises(CommandRefused, match="changed"):
        mutate(scene, operation, "a", seen, {"expression": "5"})
    del scene.scheduler.entries["a"]
    with pytest.raises(CommandRefused, match="gone"):
        mutate(scene, operation, "a", seen)
    assert scene.scheduler.published == []


def test_schedule_is_triggered_once_under_a_planned_id(scene):
    """The task's id follows from the command."""
    seen = row(scene, "a")
    first = mutate(scene, "trigger", "a", seen)
    assert first["trigger_result"]["status"] == "success"
    assert mutate(scene, "trigger", "a", seen) == first
    (one, again) = scene.scheduler.published
    assert one == again


@pytest.mark.parametrize(
    ("operation", "key", "expected", "definition", "error"),
    [
        ("rename", "a", None, {}, CommandUnsupported),
        ("create", None, {"name": "x"}, {}, CommandRefused),
        ("create", None, None, {"source": "x"}, CommandRefused),
        ("update", None, None, {}, CommandRefused),
        ("update", "a", "text", {}, CommandRefused),
    ],
)
def test_malformed_mutations_are_refused(scene, operation, key, expected, definition, error):
    """Parameters come from outside."""
    with pytest.raises(error):
        mutate(scene, operation, key, expected, definition)


def control(scene, key, is_enabled, **changes):
    """Carry out a control command."""
    now = row(scene, key)
    desired = {**now, "is_enabled": is_enabled}
    parameters = {
        "scheduler": OWNER,
        "source_key": key,
        "expected_projection_digest": digest(now),
        "desired_projection": desired,
        "desired_projection_digest": digest(desired),
        **changes,
    }
    return scene.native.execute(command("schedule.external.control", parameters))


def test_control_switches_a_schedule(scene):
    """The row that is desired differs in this only."""
    assert control(scene, "a", is_enabled=False) == {"source_key": "a"}
    assert scene.scheduler.entries["a"].is_enabled is False


def test_control_allows_for_runs_and_for_nothing_else(scene):
    """The digest of the brain's copy may be older than the last run."""
    older = {"expected_projection_digest": "0" * 64}
    assert control(scene, "a", is_enabled=False, **older) == {"source_key": "a"}
    other = {**row(scene, "b"), "queue": "elsewhere", "is_enabled": False}
    with pytest.raises(CommandRefused):
        control(
            scene,
            "b",
            is_enabled=False,
            desired_projection=other,
            desired_projection_digest=digest(other),
            **older,
        )


def test_control_with_a_wrong_digest_is_refused(scene):
    """What is desired must be what the brain computed."""
    with pytest.raises(CommandRefused):
        control(scene, "a", is_enabled=False, desired_projection_digest="0" * 64)


@pytest.mark.parametrize(
    "names", [{"schedule_id": "a"}, {"external_id": "a"}, {"schedule_name": "name of a"}]
)
def test_simple_commands_find_a_schedule_by_key_or_name(scene, names):
    """Brains without streams name it in their own ways."""
    parameters = {"scheduler": OWNER, **names}
    scene.native.execute(command("schedule.disable", parameters))
    assert scene.scheduler.entries["a"].is_enabled is False
    scene.native.execute(command("schedule.enable", parameters))
    assert scene.scheduler.entries["a"].is_enabled is True
    scene.native.execute(command("schedule.trigger_now", parameters))
    assert [key for key, _ in scene.scheduler.published] == ["a"]
    with pytest.raises(CommandRefused):
        scene.native.execute(command("schedule.disable", {"schedule_id": "nobody"}))


def test_activation_and_resync_change_nothing(scene):
    """They are carried out where the stream is."""
    assert scene.native.execute(command("schedule.external.activate", {"scheduler": OWNER})) == {}
    assert scene.native.execute(command("schedule.resync", {})) == {}


def test_unknown_scheduler_is_told(scene):
    """No other one is taken instead."""
    with pytest.raises(CommandUnsupported):
        scene.native.execute(command("schedule.disable", {"scheduler": "rq"}))
    two = NativeSchedules(
        {"celery": Adapter(MemoryScheduler(), MemoryScheduler(name="b-beat"))}, Redactor()
    )
    with pytest.raises(CommandUnsupported):
        two.execute(command("schedule.disable", {"schedule_id": "a"}))
    assert set(two.capabilities()) == {OWNER, "b-beat"}


def test_broker_that_fails_leaves_an_uncertain_outcome(scene):
    """The adapter's own error passes."""
    seen = row(scene, "a")
    scene.scheduler.problem = AdapterError("away")
    with pytest.raises(AdapterError) as failure:
        mutate(scene, "trigger", "a", seen)
    assert failure.value.indeterminate


def test_only_the_schedulers_that_are_named_are_shown_and_changed():
    """The others stay as they are, and unknown to the brain."""
    adapter = Adapter(MemoryScheduler(), MemoryScheduler(name="b-beat"))
    one = NativeSchedules({"celery": adapter}, Redactor(), ["b-beat"])

    assert set(one.capabilities()) == {"b-beat"}
    with pytest.raises(CommandUnsupported):
        one.execute(command("schedule.disable", {"scheduler": OWNER}))
