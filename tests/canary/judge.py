"""What must still be there: the surroundings of each secret, and nothing blanked for nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from z4j_otel.redaction import REDACTED

from .decoys import DECOYS
from .places import plant
from .plants import PLANTS, WAYS, Plant
from .run import Outcome

__all__ = [
    "find_changed",
    "find_lost",
    "find_lost_elsewhere",
    "find_merged",
]

_MEMBERS = {
    "task name": ("task name", "task_name"),
    "name of a task that runs": ("name of a task that runs", "task_name"),
    "name of a task that is rejected": ("name of a task that is rejected", "task_name"),
    "name of a task that dies": ("name of a task that dies", "task_name"),
    "queue name": ("queue name", "queue"),
    "shadow name": ("shadow name", "shadow"),
    "group id": ("group id", "group_id"),
    "worker's host name": ("group id", "worker"),
    "name of the deployment": ("group id", "environment"),
    "submitted argument": ("submitted, again", "args"),
    "result of a retry": ("to retry, again", "result"),
}
"""By plant, the task whose events show it, and as what."""
_SHARED = ("queue", "worker", "tags", "environment")
"""Members of every event that hold a plant of their own in this run."""


def find_lost(outcome: Outcome, events: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield each plant whose surroundings were lost, or beside which too much was taken.

    Args:
        outcome: The run.
        events: The events to look at, by task: as they were sent, or as a brain shows them.
    """
    for each in PLANTS:
        way = WAYS[each.way]
        found = [e for e in events.get(outcome.ids[each.name], ()) if e["kind"] == way.kind]
        if not found:
            yield f"{each.name}: no {way.kind}"
            continue
        reason = _what_is_lost(each, found[0]["data"])
        if reason:
            yield f"{each.name}: {reason}"
    yield from _lost_names(outcome, events)


def _what_is_lost(each: Plant, data: dict[str, Any]) -> str:
    told = {name: value for name, value in data.items() if name not in _SHARED}
    if each.shown is None:
        return ""
    shown = _as_text(each.shown)
    place = _as_text(told.get(WAYS[each.way].field))
    if shown not in place:
        return f"expected {shown!r} in {WAYS[each.way].field}, got {place[-400:]!r}"
    rest = _as_text(told).replace(shown, "")
    return f"needless {REDACTED} in {rest[-400:]!r}" if REDACTED in rest else ""


def _lost_names(outcome: Outcome, events: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    for name, (task, member) in _MEMBERS.items():
        found = [event["data"].get(member) for event in events.get(outcome.ids[task], ())]
        shown = plant(name).shown
        if shown not in found and [shown] not in found:
            yield f"{name}: expected {shown!r} as {member}, got {found}"
    for number, value in enumerate(DECOYS):
        for event in events.get(outcome.ids[f"decoy {number}"], ()):
            data = event["data"]
            if data.get("args", [value]) != [value] or data.get("result", value) != value:
                yield f"decoy {value!r}: shown as {data.get('args', data.get('result'))!r}"


def find_lost_elsewhere(outcome: Outcome) -> Iterator[str]:
    """Yield each plant outside of tasks whose surroundings were lost."""
    commands = outcome.commands
    told = {
        "worker's host name": json.dumps(outcome.heartbeats),
        "queue name": json.dumps(outcome.heartbeats[-1:]),
        "name of a task that runs": json.dumps(outcome.heartbeats[-1:]),
        "unknown task of a rate limit": str(commands["rate limit"]["error"]),
        "unknown queue of a purge": str(commands["purge"]["error"]),
        "unknown worker": str(commands["rate limit of a worker"]["error"]),
        "agent's name": str(outcome.surfaces["frames to the brain"]),
        **{
            name: str(outcome.surfaces["frames to the brain"])
            for name in (
                *("name of a schedule", "argument of a schedule"),
                *("name of a schedule in the database", "argument of a schedule in the database"),
            )
        },
        "name of the deployment": str(outcome.surfaces["z4j-otel status"]),
    }
    if outcome.letters:
        told["name of a task that is rejected"] = json.dumps(outcome.letters)
        for each in PLANTS:
            letter = outcome.letters.get(outcome.ids[each.name])
            if each.way == "reason of a rejection" and letter is None:
                yield f"{each.name}: no dead letter"
    for name, text in told.items():
        if str(plant(name).shown) not in text:
            yield f"{name}: expected {plant(name).shown!r} in {text[-400:]}"


def find_changed(outcome: Outcome) -> Iterator[str]:
    """Yield each event that the brain shows otherwise than any that was sent to it."""
    for task_id, shown in outcome.shown.items():
        for event in shown:
            sent = [
                each["data"]
                for each in outcome.events.get(task_id, ())
                if each["kind"] == event["kind"]
            ]
            if event["data"] not in sent:
                yield f"{event['kind']} of {task_id} is shown as {_difference(sent, event['data'])}"


def _difference(sent: list[dict[str, Any]], shown: dict[str, Any]) -> str:
    for each in sent:
        for name in sorted({*each, *shown}):
            if shown.get(name) != each.get(name):
                return f"{name}={shown.get(name)!r}, was {each.get(name)!r}"[:600]
    return "something that was never sent"


def find_merged(outcome: Outcome) -> Iterator[str]:
    """Yield that the brain takes different failures for one, or one for several."""
    shown = Counter(
        (row["exception"], row["traceback"])
        for row in outcome.rows.values()
        if row.get("state") == "failure"
    )
    if sorted(shown.values()) != sorted(outcome.issues):
        yield f"{len(shown)} different failures are {len(outcome.issues)} issues at the brain"


def _as_text(value: Any) -> str:
    """Return a value as text in which strings stand as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_as_text(value[key])}" for key in sorted(value))
    if isinstance(value, list):
        return "\n".join(map(_as_text, value))
    return json.dumps(value)
