"""The spans of OpenTelemetry's Celery instrumentation, read into task spans.

What they tell and what they do not: attributes come at the end only; ``celery.hostname``
is where the message was published, never the worker, so no worker is named; retries are
counted from 0 and the attribute is left out for 0; a status without an error proves
nothing; a task listed in ``throws`` fails like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from z4j_otel.events import TaskFacts
from z4j_otel.exporter.attributes import identifier, number, seconds, text
from z4j_otel.exporter.task_span import (
    DESTINATION_NAMES,
    MESSAGE_ID_NAMES,
    Outcome,
    Role,
    SkipReason,
    TaskSpan,
    status_outcome,
)

__all__ = ["CELERY_SCOPE", "read_celery_span"]

_NS_PER_S: Final = 1_000_000_000

CELERY_SCOPE: Final = "opentelemetry.instrumentation.celery"
_STATES: Final = {
    "SUCCESS": Outcome.SUCCEEDED,
    "IGNORED": Outcome.SUCCEEDED,
    "FAILURE": Outcome.FAILED,
    "RETRY": Outcome.RETRIED,
    "REJECTED": Outcome.REJECTED,
}
_ACTIONS: Final = {"run": Role.PROCESS, "apply_async": Role.SEND}


def read_celery_span(span: ReadableSpan, attributes: Mapping[str, Any]) -> TaskSpan | SkipReason:
    """Return the task span that a span of the Celery instrumentation is, or why it is none."""
    action, _, named = span.name.partition("/")
    role = _ACTIONS.get(text(attributes, "celery.action") or action)
    if role is None:
        return SkipReason.NOT_A_TASK
    task_id = identifier(attributes, *MESSAGE_ID_NAMES)
    if task_id is None:
        return SkipReason.NO_TASK_ID
    attempt = number(attributes, "celery.retries") or 0
    facts = TaskFacts(
        engine="celery",
        task_id=task_id,
        task_name=text(attributes, "celery.task_name") or named or "unknown",
        queue=text(attributes, *DESTINATION_NAMES),
        attempt=attempt,
    )
    eta = text(attributes, "celery.eta")
    outcome = _outcome(span, attributes)
    return TaskSpan(
        facts,
        role,
        outcome,
        every={"eager": True} if _is_eager(attributes) else {},
        received={"eta": eta} if eta else {},
        ending=_ending(attributes, outcome),
    )


def _outcome(span: ReadableSpan, attributes: Mapping[str, Any]) -> Outcome:
    """Say how a run ended.

    Success needs a state that says so: the span of a task whose process was stopped (hard
    time limit, revoke with terminate) also ends, with no error and no state. Such a task
    did not finish. It was the time limit for certain only when the message set one and the
    task lived that long: whatever else stops a task does it earlier.
    """
    state = text(attributes, "celery.state")
    if state is not None:
        return _STATES.get(state) or status_outcome(span, frozenset())
    if span.status.status_code is StatusCode.ERROR:
        return Outcome.FAILED
    limits = attributes.get("celery.timelimit")
    if isinstance(limits, (list, tuple)) and limits and span.start_time and span.end_time:
        hard_s = seconds(limits[0])
        if hard_s is not None and span.end_time - span.start_time >= hard_s * _NS_PER_S:
            return Outcome.TIME_LIMIT
    return Outcome.TERMINATED


def _ending(attributes: Mapping[str, Any], outcome: Outcome) -> Mapping[str, Any]:
    if outcome is Outcome.RETRIED:
        reason = text(attributes, "celery.retry.reason")
        return {"reason": reason} if reason else {}
    if outcome is Outcome.SUCCEEDED and text(attributes, "celery.state") == "IGNORED":
        return {"celery_state": "IGNORED"}
    return {}


def _is_eager(attributes: Mapping[str, Any]) -> bool:
    # The attribute is the repr of a dict.
    return "'is_eager': True" in (text(attributes, "celery.delivery_info") or "")
