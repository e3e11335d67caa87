"""From a span at hand to the sink: mapping, taking each span once, counting.

An exporter and a span processor may both be set up in one process, and either may see a
span first. Whoever comes first takes it; the other one finds that out here, by the span's
ids. The memory of taken spans is bounded, in two generations: it outlasts any span that
waits in a batch processor of the default size.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.trace import ReadableSpan

from z4j_otel import sinks
from z4j_otel.events import RecordSink
from z4j_otel.exporter.spans import MappedSpan, SpanPart, map_span
from z4j_otel.exporter.task_span import SkipReason
from z4j_otel.guard import guard

__all__ = ["TAKEN", "SpanIntake", "TakenSpans"]

_logger = logging.getLogger(__name__)

SpanKey = tuple[int, int, int]
"""Trace id, span id, start: generators that repeat ids exist in tests."""


class TakenSpans:
    """Remembers which parts of recent spans were taken.

    It has no lock, as a fork could leave it locked: each operation is one read or one
    write of a dict, and losing a race means a record told twice, never one lost.
    """

    def __init__(self, generation_spans: int = 8192) -> None:
        """Start with an empty memory.

        Args:
            generation_spans: How many spans are remembered at least; twice as many at most.
        """
        self._generation_spans = generation_spans
        self._recent: dict[SpanKey, SpanPart] = {}
        self._older: dict[SpanKey, SpanPart] = {}

    def get(self, key: SpanKey) -> SpanPart | None:
        """Return what was taken of a span: ``START``, ``WHOLE``, or None."""
        return self._recent.get(key) or self._older.get(key)

    def put(self, key: SpanKey, part: SpanPart) -> None:
        """Note that this part of a span is taken."""
        if len(self._recent) >= self._generation_spans:
            self._older, self._recent = self._recent, {}
        self._recent[key] = part


TAKEN: Final = TakenSpans()
"""The memory of this process."""


class SpanIntake:
    """Takes spans on behalf of one exporter or processor."""

    def __init__(self, settings: Mapping[str, Any], *, taken: TakenSpans = TAKEN) -> None:
        """Check the settings; connect to nothing.

        Args:
            settings: Settings by name, given in code or in a configuration file; None
                stands for a setting that was not given.
            taken: The memory shared with the process's other intakes.

        Raises:
            ConfigError: A setting is unknown or malformed.
        """
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self._taken = taken
        self._used: RecordSink | None = None
        self._used_pid = 0
        self._has_warned = False
        self.skipped: dict[SkipReason, int] = {}
        """How many spans gave no record, or fewer than they could, by reason."""
        self.emitted = 0
        """How many records went to the sink."""
        self.is_enabled = os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() != "true"
        if self._settings and self.is_enabled:
            sinks.check_settings(self._settings)

    def take_start(self, span: ReadableSpan) -> None:
        """Report what a running span tells already."""
        if not self.is_enabled:
            return
        mapped = _map_guarded(span, SpanPart.START)
        if mapped is not None and mapped.records:
            self._emit(mapped, _key_of(span), SpanPart.START)

    def take_end(self, span: ReadableSpan) -> None:
        """Report an ended span, or what is left of it."""
        if not self.is_enabled:
            return
        key = _key_of(span)
        before = None if key is None else self._taken.get(key)
        if before is SpanPart.WHOLE:
            self._skip(SkipReason.ALREADY_TAKEN)
            return
        part = SpanPart.WHOLE if before is None else SpanPart.END
        mapped = _map_guarded(span, part)
        if mapped is None:
            self._skip(SkipReason.MALFORMED)
            return
        if mapped.skipped is not None:
            self._skip(mapped.skipped)
        if mapped.records:
            self._emit(mapped, key, SpanPart.WHOLE)

    def flush(self, timeout_s: float) -> bool:
        """Deliver what this process reported; True when nothing is left.

        A process that reported nothing, a forked child for example, has nothing to wait for.
        """
        if self._used_pid != os.getpid():
            return True
        # The sink that was used: asking for one anew would open files after the agent's end.
        flush = getattr(self._used, "flush", None)
        return flush is None or flush(timeout_s) is not False

    def _emit(self, mapped: MappedSpan, key: SpanKey | None, part: SpanPart) -> None:
        sink = self._open_sink()
        if sink is None:
            self._skip(SkipReason.NO_SINK)
            return
        if key is not None:
            self._taken.put(key, part)
        for record in mapped.records:
            sink.emit(record)
        self.emitted += len(mapped.records)

    def _open_sink(self) -> RecordSink | None:
        # Only now, with a record in hand: interpreters that never run a task, such as
        # helper processes of multiprocessing, must not start an agent.
        sink = sinks.current_sink(self._settings or None)
        if sink is not None:
            self._used, self._used_pid = sink, os.getpid()
        elif not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "z4j is not configured; task spans are not reported to a brain",
                extra={"action": "spans_not_reported"},
            )
        return sink

    def _skip(self, reason: SkipReason) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


_map_guarded = guard("reading a span")(map_span)


def _key_of(span: ReadableSpan) -> SpanKey | None:
    context = span.get_span_context()
    if context is None or not context.is_valid:
        return None
    return context.trace_id, context.span_id, span.start_time or 0
