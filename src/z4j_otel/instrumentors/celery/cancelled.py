"""Runs that a worker cut off: told when their end is known, not when it is ordered.

A worker that is stopped coldly, or has lost its broker, sends SIGTERM to its children and
announces that their messages come again. But a task may not die of that: it can still return,
and its message is then acked, or run into its hard time limit, where Celery acks the message
too and, in a cold stop, stores and signals nothing. So the end waits for one of these: the
child's own word, the pool's that it is gone, the time limit, the end of the worker.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from z4j_otel.events import Cause, EventKind
from z4j_otel.guard import guard
from z4j_otel.instrumentors.celery import extract
from z4j_otel.instrumentors.tracing import TaskTracer

__all__ = ["CancelledRuns"]

_MOST: Final = 1000
_CANCELLED: Final = "the worker stopped its child while the task ran"


class CancelledRuns:
    """The cancelled runs of children whose end is not known, the latest thousand."""

    def __init__(self, tracer: TaskTracer) -> None:
        self._tracer = tracer
        self._requests: OrderedDict[int, Any] = OrderedDict()

    def add(self, request: Any) -> None:
        """Note a run that was cut off."""
        self._requests[id(request)] = request
        if len(self._requests) > _MOST:
            self._settle(next(iter(self._requests.values())))

    def failed(self, request: Any, exception: BaseException | None) -> None:
        """Take note of a failure that Celery has handled, of whatever run.

        Args:
            request: The run's.
            exception: What it failed with.
        """
        is_limit = exception is not None and extract.cause_of(exception) is Cause.TIME_LIMIT
        if not is_limit:  # that one is heard of again, with the limit
            self._settle(request)

    @guard("capture of a time limit")
    def timed_out(self, request: Any, limit_s: Any, *, is_told: bool) -> None:
        """Take note of a hard time limit that Celery has handled, of whatever run.

        Args:
            request: The run's.
            limit_s: The limit, as Celery has it.
            is_told: Whether Celery signalled a failure.
        """
        from celery.worker import state  # noqa: PLC0415 -- Celery is an extra

        is_ours = self._requests.pop(id(request), None) is not None
        # A run that began at the very moment of a cold stop was not cancelled, and Celery keeps
        # as quiet of it.
        if request.acknowledged and not is_told and (is_ours or state.should_terminate):
            from billiard.exceptions import TimeLimitExceeded  # noqa: PLC0415 -- comes with Celery

            details = extract.failure_details(TimeLimitExceeded(limit_s))
            details |= extract.process_of(request)
            facts = extract.facts_of_request(self._tracer.engine, request)
            self._tracer.record(EventKind.TASK_FAILED, facts, details)
        elif is_ours:
            self.tell(request, comes_again=_comes_again(request))

    def settle_all(self) -> None:
        """Tell the ends of all runs: their worker ends."""
        for request in list(self._requests.values()):
            self._settle(request)

    @guard("capture of a cancelled run")
    def _settle(self, request: Any) -> None:
        if self._requests.pop(id(request), None) is not None:
            # What the child told of its own end comes before this, and stands.
            self.tell(request, comes_again=_comes_again(request))

    @guard("capture of a cancelled run")
    def tell(self, request: Any, *, comes_again: bool) -> None:
        """Tell that a run was cut off.

        Args:
            request: The run's.
            comes_again: Whether its message is delivered again.
        """
        facts = extract.facts_of_request(self._tracer.engine, request)
        details = {"cause": Cause.WORKER_LOST.value, **extract.process_of(request)}
        if comes_again:
            details |= {"retry_count": facts.attempt + 1, "reason": _CANCELLED}
            self._tracer.record(EventKind.TASK_RETRIED, facts, details)
            return
        details["exception"] = f"WorkerLostError: {_CANCELLED}"
        details["exception_type"] = "WorkerLostError"
        self._tracer.record(EventKind.TASK_FAILED, facts, details)


def _comes_again(request: Any) -> bool:
    return bool(request.task.acks_late and not request.acknowledged)
