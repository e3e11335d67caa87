"""The gate: the only way from a lifecycle record to the disk.

Every record of a process passes :meth:`EventSink.emit`, which translates it, redacts it,
encodes it and appends it to the journal, in this order. What the journal holds is
therefore exactly what the brain will get; a raw argument never reaches the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from z4j_otel.clock import Clock, SystemClock
from z4j_otel.events import LifecycleRecord, SpanIds
from z4j_otel.exporter.obedience import obey
from z4j_otel.exporter.templates import EncodedIds, EventTemplate, encode_span, shape_of
from z4j_otel.guard import note_failure
from z4j_otel.ids import new_event_id_bytes
from z4j_otel.redaction import Redactor
from z4j_otel.task_policies.lookup import in_use, policy_of
from z4j_otel.translation import MAX_TASK_ID_CHARS, shared_data
from z4j_otel.wire import canonical

__all__ = ["EXCEPTION_BYTES", "UNENCODABLE", "EventSink", "RecordAppender"]

_SAFE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_TRACEBACK_BYTES = 8000
"""The brain keeps the first 8192 characters (PROTOCOL §5.6): ours is cut below that, and
keeps its end, where the raising frame is."""
EXCEPTION_BYTES = 2000
"""Most of a failure's message; the traceback has the rest."""
_PLAIN_INTS = 10**12
"""Integers beyond it may be card numbers, or have more digits than JSON parsers take."""
UNENCODABLE = "unencodable"
"""Dropped: redaction or encoding failed."""
_ID_KEYS = frozenset({"parent_task_id", "root_task_id", "group_id"})
_MAX_TEMPLATES = 1024


class RecordAppender(Protocol):
    """The journal, as the gate knows it."""

    def append(self, record: bytes, *, now_ns: int) -> bool:
        """Append one encoded event; False when it had to be dropped."""
        ...

    def count_lost(self, reason: str, count: int = 1) -> None:
        """Count events that could not even be encoded."""
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
        event_id: Callable[[], bytes] = new_event_id_bytes,
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
        self._redact_small = redactor.redact_small
        self._name = redactor.redact_name
        self._common: dict[str, Any] = redactor.redact(dict(common or {}))
        self._templates: dict[tuple[object, ...], EventTemplate] = {}
        self._max_event_bytes = max_event_bytes
        self._clock = clock or SystemClock()
        self._event_id = event_id
        self._last_ids: tuple[object, SpanIds | None, EncodedIds, bool] = (
            *(object(), None, (b"", *encode_span(None))),
            False,
        )
        self._on_flush = on_flush
        self._call: Callable[[], None] | None = None
        self.captured = 0
        """Records that came in since this object was made."""
        self.dropped = 0
        """Records that could not be encoded, or that the journal could not take."""
        self.skipped = 0
        """Records that their task's policy keeps from being told; no loss, so not in the ledger."""

    def emit(self, record: LifecycleRecord) -> None:
        """Take a record for good; never raises."""
        self.captured += 1
        try:
            try:
                told = self._obeyed(record) if in_use else record
                if told is None:
                    self.skipped += 1
                    return
                body = self.encode(told)
            except Exception:
                self.dropped += 1
                self._journal.count_lost(UNENCODABLE)
                raise
            if not self._journal.append(body, now_ns=record.occurred_at_ns):
                self.dropped += 1
            if self._call is not None:
                # Another thread may have taken it since.
                call, self._call = self._call, None
                if call is not None:
                    call()
        except Exception as error:  # noqa: BLE001 -- the guard, see z4j_otel.guard
            note_failure("capture", error)

    def call_at_next(self, call: Callable[[], None] | None) -> None:
        """Call a function once, behind the next record, on the thread that emits it.

        Args:
            call: Quick, and must not wait; None takes the last one back.
        """
        self._call = call

    def _obeyed(self, record: LifecycleRecord) -> LifecycleRecord | None:
        bound = policy_of(record.facts.task_name)
        return record if bound is None else obey(bound, record, self._common.get("tags") or {})

    def encode(self, record: LifecycleRecord) -> bytes:
        """Return the canonical bytes of the record's event, redacted and bounded."""
        details = record.details
        mono_ns = int(self._clock.monotonic_s() * 1e9)
        # Before the details, which may name the same task again.
        ids = self._encode_ids(record)
        body = self._fill(record, mono_ns, ids, details, self._encode_details(details, None))
        if len(body) <= self._max_event_bytes:
            return body
        # The names and ids take their share; what is left is the details'. JSON escapes
        # make some text longer than its redacted form, hence the halves.
        for share in (2, 4, 16):
            encoded = self._encode_details(details, self._max_event_bytes // share)
            body = self._fill(record, mono_ns, ids, details, encoded)
            if len(body) <= self._max_event_bytes:
                return body
        why = [b'"event too large"']
        return self._fill(record, mono_ns, ids, ("details_dropped",), why)

    def flush(self, timeout_s: float) -> bool:
        """Deliver what was emitted; False when the time did not suffice."""
        return self._on_flush(timeout_s) if self._on_flush is not None else True

    def _fill(
        self,
        record: LifecycleRecord,
        mono_ns: int,
        ids: EncodedIds,
        keys: Iterable[str],
        details: list[bytes],
    ) -> bytes:
        shape = shape_of(record, keys)
        template = self._templates.get(shape)
        if template is None:
            if len(self._templates) >= _MAX_TEMPLATES:
                self._templates.clear()
            shared = shared_data(record.facts, common=self._common, name=self._name)
            if "tags" in keys:
                shared.pop("tags", None)  # the details have the task's own besides
            template = self._templates[shape] = EventTemplate(record, keys, shared)
        return template.fill(record, self._event_id(), mono_ns, ids, details)

    def _encode_ids(self, record: LifecycleRecord) -> EncodedIds:
        """Return the record's ids as JSON; a run's records follow each other and share them."""
        # One read of all: threads replace them whole.
        task_id, span, ids, _ = self._last_ids
        if task_id is record.facts.task_id and span is record.span:
            return ids
        task_id, span = record.facts.task_id, record.span
        is_safe = type(task_id) is str and _SAFE_ID.match(task_id) is not None
        if is_safe:
            encoded = b'"%b"' % task_id.encode()
        else:
            # Applications pass UUID objects and numbers as task ids, and Celery lets them.
            encoded = canonical.encode(self._name(str(task_id)[:MAX_TASK_ID_CHARS]))
        ids = (encoded, *encode_span(span))
        self._last_ids = (task_id, span, ids, is_safe)
        return ids

    def _encode_safe_id(self, task_id: str) -> bytes | None:
        """Return a task's id that is a plain UUID, else None; a root is its own root."""
        known, _, ids, is_safe = self._last_ids
        if is_safe and task_id == known:
            return ids[0]
        return b'"%b"' % task_id.encode() if _SAFE_ID.match(task_id) else None

    def _encode_details(self, details: dict[str, Any], budget_bytes: int | None) -> list[bytes]:
        """Return the values as they may leave the process, in the order of their keys."""
        encoded = []
        for key, value in details.items():
            kind = type(value)
            if value is None:
                encoded.append(b"null")
            elif kind is int and -_PLAIN_INTS < value < _PLAIN_INTS:
                encoded.append(b"%d" % value)
            elif key in _ID_KEYS and kind is str and (known := self._encode_safe_id(value)):
                encoded.append(known)
            else:
                small = self._redact_small(value) if budget_bytes is None else None
                encoded.append(
                    canonical.encode(self._redact_detail(key, value, budget_bytes))
                    if small is None
                    else canonical.encode_plain(small)
                )
        return encoded

    def _redact_detail(self, key: str, value: Any, budget_bytes: int | None) -> Any:
        if type(value) in (bool, float):
            return value
        if key == "traceback":
            limit = min(_TRACEBACK_BYTES, budget_bytes or _TRACEBACK_BYTES)
            return self._redactor.redact_text(value, max_bytes=limit, keep="tail", path=key)
        if key in ("exception", "reason"):
            return self._redactor.redact_text(value, max_bytes=EXCEPTION_BYTES, path=key)
        return self._redactor.redact(value, budget_bytes=budget_bytes, path=key)
