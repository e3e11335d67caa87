"""``Z4JExporter``: finished spans to z4j, on any tracer provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from z4j_otel.exporter.intake import SpanIntake
from z4j_otel.exporter.task_span import SkipReason
from z4j_otel.guard import guard

__all__ = ["Z4JExporter"]

_MAX_SHUTDOWN_S: Final = 5.0
"""An application that stops must not hang because a brain is away."""


class Z4JExporter(SpanExporter):
    """Reports the tasks that finished spans are about.

    OpenTelemetry builds it by its name, ``OTEL_TRACES_EXPORTER=z4j``, without arguments;
    then every setting comes from the environment or from a file. Building it connects to
    nothing. Spans that are not about a task are passed over, and so are spans whose task
    z4j captured itself. Exporting never raises and never waits for the network.

    An exporter sees a span when it has ended and was sampled. Where running tasks and
    unsampled ones matter, add :class:`~z4j_otel.exporter.processor.Z4JSpanProcessor`; with
    both, each span is still reported once.
    """

    def __init__(self, brain_url: str | None = None, **settings: Any) -> None:
        """Build an exporter; each argument wins over the environment.

        Args:
            brain_url: Where the brain is.
            settings: Any other setting, by the name it has in the settings table:
                ``token``, ``hmac_secret``, ``project_id``, …

        Raises:
            ConfigError: A setting is unknown or malformed.
        """
        self._intake = SpanIntake({"brain_url": brain_url, **settings})
        self._take = guard("export of a span")(self._take_one)
        self._flush = guard("flush of spans")(self._intake.flush)
        self._is_shut_down = False

    @property
    def skipped(self) -> Mapping[SkipReason, int]:
        """How many spans gave no record, or fewer than they could, by reason."""
        return dict(self._intake.skipped)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Report the tasks of these spans.

        Returns:
            SUCCESS when every span was reported or passed over, also when z4j is not
            configured (which is warned of once); FAILURE after shutdown, or when the sink
            could not be opened.
        """
        if self._is_shut_down:
            return SpanExportResult.FAILURE
        taken = [self._take(span) for span in spans]
        return SpanExportResult.SUCCESS if all(taken) else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what was exported; True when nothing is left."""
        return self._flush(timeout_millis / 1000) is True

    # float, and by this name: the batch processor passes what is left of its own time.
    def shutdown(self, timeout_millis: float = 5_000) -> None:
        """Deliver what was exported, for 5 s at most, and take no more."""
        if not self._is_shut_down:
            self._is_shut_down = True
            self._flush(min(timeout_millis / 1000, _MAX_SHUTDOWN_S))

    def _take_one(self, span: ReadableSpan) -> bool:
        self._intake.take_end(span)
        return True
