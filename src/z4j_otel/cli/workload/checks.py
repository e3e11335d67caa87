"""What a brain shows of a task, compared with what is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from z4j_otel.cli.workload.scenarios import Scenario, kinds_of

__all__ = ["differences", "story_of"]


def story_of(events: Sequence[Mapping[str, Any]]) -> str:
    """Return the kinds of a task's events in order, short, without ``task.sent``."""
    kinds = [str(event["kind"]).partition(".")[2] for event in events]
    return " ".join(kind for kind in kinds if kind != "sent")


def differences(
    scenario: Scenario,
    row: Mapping[str, Any] | None,
    events: Sequence[Mapping[str, Any]],
    *,
    worker: str,
    is_ordered: bool,
) -> list[str]:
    """Say in what a brain's view differs from the truth.

    Args:
        scenario: What happened.
        row: The brain's row of the task, by the names of its REST API; None for no row.
        events: The task's events, each with ``kind`` and ``data``.
        worker: The name of the worker that ran it.
        is_ordered: Whether the brain keeps the order of events within a second.

    Returns:
        One line per difference; empty when all is as it should be.
    """
    if not scenario.events:
        return [] if row is None and not events else ["the brain knows a task that never was"]
    if row is None:
        return ["the brain does not know the task"]
    return [
        *_row_differences(scenario, row, worker),
        *_event_differences(scenario, events, is_ordered=is_ordered),
    ]


def _row_differences(scenario: Scenario, row: Mapping[str, Any], worker: str) -> Iterator[str]:
    has_started = "started" in scenario.events
    expected = {
        "state": scenario.state,
        "name": scenario.task,
        "queue": "orders",
        "worker_name": worker if has_started else None,
        "args": [],
        "kwargs": {},
        "result": None,
        "retry_count": 0,
        "exception": None,
        **scenario.row,
    }
    for column, value in expected.items():
        if not _matches(value, row.get(column)):
            yield f"{column} is {row.get(column)!r}, not {value!r}"
    ends_itself = scenario.state in {"success", "failure"} and has_started
    if ends_itself and row.get("runtime_ms") is None:
        yield "runtime_ms is missing"
    if scenario.is_root != (row.get("parent_task_id") is None):
        yield f"parent_task_id is {row.get('parent_task_id')!r}"
    if scenario.state == "failure" and not row.get("exception"):
        yield "exception is missing"


def _matches(expected: Any, actual: Any) -> bool:
    if isinstance(expected, str) and isinstance(actual, str):
        return actual.startswith(expected)
    return expected is ... or bool(expected == actual)


def _event_differences(
    scenario: Scenario, events: Sequence[Mapping[str, Any]], *, is_ordered: bool
) -> Iterator[str]:
    expected = kinds_of(scenario)
    kinds = [str(event["kind"]) for event in events if event["kind"] != "task.sent"]
    if (kinds if is_ordered else Counter(kinds)) != (expected if is_ordered else Counter(expected)):
        yield f"events are {story_of(events)!r}, not {scenario.events!r}"
    if scenario.is_published != any(event["kind"] == "task.sent" for event in events):
        is_missing = scenario.is_published
        yield f"the publish {'is missing' if is_missing else 'never was'} (task.sent)"
    causes = {event["data"].get("cause") for event in events if event["kind"] == "task.failed"}
    if scenario.cause is not None and causes != {scenario.cause}:
        yield f"cause is {causes}, not {scenario.cause!r}"
    for kind, said in scenario.data.items():
        told = [event["data"] for event in events if event["kind"] == f"task.{kind}"]
        for key, value in said.items():
            if not any(key in data and _matches(value, data[key]) for data in told):
                yield f"{kind}.{key} is {[data.get(key) for data in told]!r}, not {value!r}"
