"""``Z4JSpanProcessor``: spans to z4j as they start and end, sampled or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from z4j_otel.exporter.intake import SpanIntake
from z4j_otel.exporter.task_span import SkipReason
from z4j_otel.guard import guard

__all__ = ["Z4JSpanProcessor"]

_MAX_SHUTDOWN_S: Final = 5.0


class Z4JSpanProcessor(SpanProcessor):
    """Reports the tasks of spans without waiting for a batch.

    Beyond what an exporter sees: spans that are recorded but not sampled, and the start of
    a task where the instrumentation names the task at the start (most do not). It runs on
    the application's threads, so nothing of its own ever leaves it.
    """

    def __init__(self, brain_url: str | None = None, **settings: Any) -> None:
        """Build a processor; each argument wins over the environment.

        Args:
            brain_url: Where the brain is.
            settings: Any other setting, by the name it has in the settings table:
                ``token``, ``hmac_secret``, ``project_id``, …

        Raises:
            ConfigError: A setting is unknown or malformed.
        """
        self._intake = SpanIntake({"brain_url": brain_url, **settings})
        self._take_start = guard("span start")(self._intake.take_start)
        self._take_end = guard("span end")(self._intake.take_end)
        self._flush = guard("flush of spans")(self._intake.flush)
        self._is_shut_down = False

    @property
    def skipped(self) -> Mapping[SkipReason, int]:
        """How many spans gave no record, or fewer than they could, by reason."""
        return dict(self._intake.skipped)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 -- OpenTelemetry's signature
        """Report the start of a task, where the span tells which task it is."""
        if not self._is_shut_down:
            self._take_start(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Report what the span tells and its start did not."""
        if not self._is_shut_down:
            self._take_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what was reported; True when nothing is left."""
        return self._flush(timeout_millis / 1000) is True

    def shutdown(self) -> None:
        """Deliver what was reported, for 5 s at most, and take no more."""
        if not self._is_shut_down:
            self._is_shut_down = True
            self._flush(_MAX_SHUTDOWN_S)
