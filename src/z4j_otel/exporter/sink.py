"""The gate: the only way from a lifecycle record to the disk.

Every record of a process passes :meth:`EventSink.emit`, which translates it, redacts it,
encodes it and appends it to the journal, in this order. What the journal holds is
therefore exactly what the brain will get; a raw argument never reaches the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from z4j_otel.clock import Clock, SystemClock
from z4j_otel.events import LifecycleRecord, TaskFacts
from z4j_otel.guard import guard
from z4j_otel.ids import new_event_id
from z4j_otel.redaction import Redactor
from z4j_otel.translation import shared_data, translate
from z4j_otel.wire import canonical

__all__ = ["EventSink", "RecordAppender"]

_SAFE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_TRACEBACK_BYTES = 8000
"""The brain keeps the first 8192 characters (PROTOCOL §5.6): ours is cut below that, and
keeps its end, where the raising frame is."""
_EXCEPTION_BYTES = 2000
_PLAIN_INTS = 10**12
"""Integers beyond it may be card numbers, or have more digits than JSON parsers take."""
_ID_KEYS = frozenset({"parent_task_id", "root_task_id", "group_id"})
_MAX_SHARED = 1024


class RecordAppender(Protocol):
    """The journal, as the gate knows it."""

    def append(self, record: bytes, *, now_ns: int) -> bool:
        """Append one encoded event; False when it had to be dropped."""
        ...


class EventSink:
    """Translates, redacts, encodes and journals every record of one process."""

    def __init__(
        self,
        journal: RecordAppender,
        redactor: Redactor,
        *,
        common: Mapping[str, Any] | None = None,
        max_event_bytes: int = 32 * 1024,
        clock: Clock | None = None,
        event_id: Callable[[], str] = new_event_id,
        on_flush: Callable[[float], bool] | None = None,
    ) -> None:
        """Build a gate.

        Args:
            journal: Where encoded events go.
            redactor: What is applied to everything that enters.
            common: Data of every event, for example ``environment`` and ``tags``.
            max_event_bytes: Most bytes of one encoded event.
            clock: Time of the append, for the journal's own bookkeeping.
            event_id: Makes event ids; a test may count instead.
            on_flush: Called by :meth:`flush` with the time allowed, seconds.
        """
        self._journal = journal
        self._redactor = redactor
        self._name = redactor.redact_name
        self._common: dict[str, Any] = redactor.redact(dict(common or {}))
        self._shared: dict[tuple[str, str | None, str | None], dict[str, Any]] = {}
        self._max_event_bytes = max_event_bytes
        self._clock = clock or SystemClock()
        self._event_id = event_id
        self._on_flush = on_flush
        self.captured = 0
        """Records that came in since this object was made."""
        self.dropped = 0
        """Records that the journal could not take."""

    @guard("capture")
    def emit(self, record: LifecycleRecord) -> None:
        """Take a record for good; never raises."""
        self.captured += 1
        body = self.encode(record)
        if not self._journal.append(body, now_ns=record.occurred_at_ns):
            self.dropped += 1

    def encode(self, record: LifecycleRecord) -> bytes:
        """Return the canonical bytes of the record's event, redacted and bounded."""
        body = self._encode(record, self._redact_details(record.details, None))
        if len(body) <= self._max_event_bytes:
            return body
        # The names and ids take their share; what is left is the details'. JSON escapes
        # make some text longer than its redacted form, hence the halves.
        for share in (2, 4, 16):
            budget = self._max_event_bytes // share
            body = self._encode(record, self._redact_details(record.details, budget))
            if len(body) <= self._max_event_bytes:
                return body
        return self._encode(record, {"details_dropped": "event too large"})

    def flush(self, timeout_s: float) -> bool:
        """Deliver what was emitted; False when the time did not suffice."""
        return self._on_flush(timeout_s) if self._on_flush is not None else True

    def _encode(self, record: LifecycleRecord, details: dict[str, Any]) -> bytes:
        facts = record.facts
        shared = self._shared.get((facts.task_name, facts.queue, facts.worker))
        if shared is None:
            shared = self._share(facts)
        event = translate(record, event_id=self._event_id(), shared=shared, details=details)
        if not _SAFE_ID.match(event["task_id"]):
            event["task_id"] = self._name(event["task_id"])
        return canonical.encode(event, doubtful=(details, self._common))

    def _share(self, facts: TaskFacts) -> dict[str, Any]:
        """Work out once what the events of one task, queue and worker have alike."""
        if len(self._shared) >= _MAX_SHARED:
            self._shared.clear()
        shared = shared_data(facts, common=self._common, name=self._name)
        self._shared[facts.task_name, facts.queue, facts.worker] = shared
        return shared

    def _redact_details(self, details: dict[str, Any], budget_bytes: int | None) -> dict[str, Any]:
        redacted: dict[str, Any] = {}
        for key, value in details.items():
            if (
                value is None
                or type(value) in (bool, float)
                or (type(value) is int and -_PLAIN_INTS < value < _PLAIN_INTS)
                or (key in _ID_KEYS and type(value) is str and _SAFE_ID.match(value))
            ):
                redacted[key] = value
            elif key == "traceback":
                limit = min(_TRACEBACK_BYTES, budget_bytes or _TRACEBACK_BYTES)
                redacted[key] = self._redactor.redact_text(value, max_bytes=limit, keep="tail")
            elif key in ("exception", "reason"):
                redacted[key] = self._redactor.redact_text(value, max_bytes=_EXCEPTION_BYTES)
            else:
                redacted[key] = self._redactor.redact(value, budget_bytes=budget_bytes)
        return redacted
