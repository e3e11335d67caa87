"""Small real implementations of ports, for tests."""

from __future__ import annotations

from z4j_otel.buffer.memory import MemoryBuffer as InMemoryBuffer
from z4j_otel.events import EventKind, LifecycleRecord

__all__ = ["InMemoryBuffer", "RecordingSink"]


class RecordingSink:
    """Keeps the lifecycle records it is given, raw and in order."""

    def __init__(self) -> None:
        self.records: list[LifecycleRecord] = []

    def emit(self, record: LifecycleRecord) -> None:
        """Keep a record."""
        self.records.append(record)

    def kinds(self, task_id: str | None = None) -> list[str]:
        """Return the kinds seen, of one task or of all, for example ``task.sent``."""
        return [
            EventKind(record.kind).value
            for record in self.records
            if task_id in {None, record.facts.task_id}
        ]

    def clear(self) -> None:
        """Forget all records."""
        self.records.clear()
