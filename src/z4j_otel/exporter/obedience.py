"""What a task's policy makes of a record, at the gate.

All that is told of a run passes here, from whatever process and hook it comes, so there is
no path on which a policy could be forgotten. The common redaction comes afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from z4j_otel.events import EventKind, LifecycleRecord
from z4j_otel.guard import guard
from z4j_otel.redaction.arguments import hide_arguments, hides_result_inside
from z4j_otel.redaction.occurrences import forms_of, without_occurrences
from z4j_otel.redaction.policy import REDACTED
from z4j_otel.task_policies.lookup import BoundPolicy, finders

__all__ = ["obey"]

_RESULT: Final = "result"
_REPEATING: Final = (_RESULT, "exception", "traceback", "reason", "shadow")
"""The details that hold what the application says; the others are words of ours, and ids."""
_BEGINNINGS: Final = frozenset({EventKind.TASK_SENT, EventKind.TASK_RECEIVED})


def obey(
    bound: BoundPolicy, record: LifecycleRecord, common_tags: Mapping[str, str]
) -> LifecycleRecord | None:
    """Return a record as its task's policy lets it be told; None for not at all.

    Args:
        bound: The policy of the record's task.
        record: What was observed.
        common_tags: The configured tags; the policy's come after them.
    """
    facts, policy = record.facts, bound.policy
    if not policy.tells_of(facts.task_id):
        return None
    details = dict(record.details)
    if policy.hides_arguments or bound.is_canvas:
        _hide(details, bound, facts.task_name, facts.task_id)
    if policy.redact_result and _RESULT in details:
        details[_RESULT] = REDACTED
    if policy.tags:
        details["tags"] = {**common_tags, **policy.tags}
    if policy.priority is not None and record.kind in _BEGINNINGS:
        # A message's own says more of this one run.
        details["priority"] = details.get("priority") or policy.priority
    for name in ("expected_duration_ms", "deadline_ms"):
        value = getattr(policy, name)
        if value is not None:
            details[name] = value
    return LifecycleRecord(record.kind, facts, record.occurred_at_ns, details, record.span)


def _hide(details: dict[str, Any], bound: BoundPolicy, name: str, task_id: str) -> None:
    hidden: list[Any] = []
    args, kwargs = details.get("args"), details.get("kwargs")
    told = hide_arguments(bound, args, kwargs, hidden)
    for key, value in zip(("args", "kwargs"), told, strict=True):
        if key in details:
            details[key] = value
    others = [key for key in _REPEATING if key in details]
    if not others:
        return
    if args is None and kwargs is None:
        args, kwargs = _arguments_of(name, task_id) or (None, None)
        hide_arguments(bound, args, kwargs, hidden)
    if _RESULT in details and bound.is_canvas and hides_result_inside(args, kwargs):
        details[_RESULT] = REDACTED
    forms = forms_of(hidden)
    for key in others:
        details[key] = without_occurrences(details[key], forms)


@guard("a look at the arguments of a run")
def _arguments_of(name: str, task_id: str) -> tuple[Any, Any] | None:
    for engine in finders():
        found = engine.arguments(name, task_id)
        if found is not None:
            return found
    return None
