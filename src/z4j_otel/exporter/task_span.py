"""The task span: what any instrumentation's span about a task says, in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from z4j_otel import semconv
from z4j_otel.events import TaskFacts

__all__ = [
    "DESTINATION_NAMES",
    "MESSAGE_ID_NAMES",
    "Outcome",
    "Role",
    "SkipReason",
    "TaskSpan",
    "status_outcome",
]

# Attribute names, newest first.
DESTINATION_NAMES: Final = (semconv.MESSAGING_DESTINATION_NAME, "messaging.destination")
MESSAGE_ID_NAMES: Final = (semconv.MESSAGING_MESSAGE_ID, "messaging.message_id")


class SkipReason(str, Enum):
    """Why a span gave no record, or fewer than it could."""

    NOT_A_TASK = "not_a_task"
    """The span is about something else; most spans are."""
    CAPTURED = "captured"
    """Its task was captured in its own process."""
    ALREADY_TAKEN = "already_taken"
    """Another way into this process has taken the span."""
    NOT_ENDED = "not_ended"
    NO_TASK_ID = "no_task_id"
    """The span is about a task, and does not say which."""
    NOT_SENT = "not_sent"
    """Sending failed: there is no task."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """The task ran, and the span cannot be trusted to say how it ended."""
    MALFORMED = "malformed"
    NO_SINK = "no_sink"
    """z4j is not configured in this process."""


class Role(Enum):
    """What the span's process did with the task."""

    SEND = "send"
    PROCESS = "process"
    FAILED_ELSEWHERE = "failed_elsewhere"
    """Noted the failure of a run that another span, if any, describes."""


class Outcome(Enum):
    """How a run ended, as far as its span tells the truth."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    REJECTED = "rejected"
    TIME_LIMIT = "time_limit"
    TERMINATED = "terminated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """A span that is about one attempt of one task."""

    facts: TaskFacts
    role: Role
    outcome: Outcome = Outcome.UNKNOWN
    every: Mapping[str, Any] = field(default_factory=dict)
    """Data of every record of the span."""
    received: Mapping[str, Any] = field(default_factory=dict)
    """Data of ``task.received`` and ``task.sent``."""
    ending: Mapping[str, Any] = field(default_factory=dict)
    """Data of the record that ends the attempt."""


def status_outcome(span: ReadableSpan, success: frozenset[StatusCode]) -> Outcome:
    """Return what the span's status tells, given the statuses that prove a success."""
    code = span.status.status_code
    if code is StatusCode.ERROR:
        return Outcome.FAILED
    return Outcome.SUCCEEDED if code in success else Outcome.UNKNOWN
