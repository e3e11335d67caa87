"""From the journals to the buffer: what every process appended, in order, once.

The position of the import is stored in the same transaction as the rows it produced, so a
crash repeats nothing and loses nothing: either both are there or neither.
"""

from __future__ import annotations

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.base import EntryKind, EventBuffer
from z4j_otel.journal.reader import JournalReader

__all__ = ["JournalImporter"]

_CHUNK_RECORDS = 500
_CHUNK_BYTES = 4 * 1024 * 1024


class JournalImporter:
    """Reads one journal into the buffer."""

    def __init__(
        self,
        reader: JournalReader,
        buffer: EventBuffer,
        arbiter: Arbiter,
        *,
        source: str,
        ledger: Ledger | None = None,
    ) -> None:
        """Build an importer.

        Args:
            reader: The journal, positioned where ``buffer.positions()[source]`` says.
            buffer: Where accepted events go.
            arbiter: Decides which events are accepted.
            source: The journal's name in the buffer's table of positions.
            ledger: Told of what was not taken over: told before, or not readable.
        """
        self._reader = reader
        self._buffer = buffer
        self._arbiter = arbiter
        self._source = source
        self._ledger = ledger

    def import_pending(self, now_ns: int) -> int:
        """Import what has been appended since the last call.

        Returns:
            The number of records read, accepted or not.
        """
        total = 0
        while True:
            chunk = self._reader.read(_CHUNK_RECORDS, _CHUNK_BYTES)
            if not chunk.records and not chunk.corrupt_records:
                return total
            judge = self._arbiter.judge
            accepted = [told for told in map(judge, chunk.records) if told is not None]
            self._buffer.append(
                [(EntryKind.EVENT, event) for event in accepted],
                now_ns=now_ns,
                positions={self._source: chunk.position},
            )
            self._reader.release(chunk.position)
            total += len(chunk.records)
            if self._ledger is not None:
                self._ledger.told_twice += len(chunk.records) - len(accepted)
                self._ledger.unreadable += chunk.corrupt_records

    def retire(self) -> bool:
        """Delete a journal that has been imported whole and has no writer any more.

        Returns:
            False when it still holds a record, or somebody may still append to it.
        """
        # The first round seals the active segment, the second finds it read and unused.
        for _ in range(3):
            chunk = self._reader.read(1, _CHUNK_BYTES)
            if chunk.records:
                return False
            if self._reader.retire(chunk.position):
                return True
        return False

    def close(self) -> None:
        """Close the journal; what is left in it waits for the next reader."""
        self._reader.close()
