"""From the journals to the buffer: what every process appended, in order, once.

The position of the import, what the arbiter has learnt, and the accounts are stored in the
same transaction as the rows they produced, so a crash repeats nothing, loses nothing and
counts nothing twice: either all are there or none. A chunk that the buffer did not take
is kept, and offered next time; one that could not be judged to its end, because what is
stored of a task cannot be read now, is judged on from there. The journal is deleted only as
far as the buffer has it on disk, or nothing is left in its memory.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.base import EntryKind, EventBuffer
from z4j_otel.errors import BufferError_
from z4j_otel.guard import note_failure
from z4j_otel.ids import new_boot_id
from z4j_otel.journal.reader import JournalChunk, JournalReader

__all__ = ["JournalImporter", "ledger_of"]

_CHUNK_RECORDS = 500
_CHUNK_BYTES = 4 * 1024 * 1024


class _Judged(NamedTuple):
    """A chunk of the journal, and what became of it."""

    chunk: JournalChunk
    accepted: list[bytes]
    notes: list[bytes]
    stories: dict[str, bytes]


class JournalImporter:
    """Reads one journal into the buffer."""

    def __init__(
        self,
        reader: JournalReader,
        buffer: EventBuffer,
        arbiter: Arbiter,
        *,
        source: str,
        life: str = "",
        ledger: Ledger | None = None,
    ) -> None:
        """Build an importer.

        Args:
            reader: The journal, positioned where ``buffer.positions()[source]`` says.
            buffer: Where accepted events go.
            arbiter: Decides which events are accepted.
            source: The journal's name in the buffer's table of positions.
            life: The agent's life that the journal belongs to, for the arbiter; the
                source's name when empty.
            ledger: Has the accounts; one that continues those of ``buffer`` when None. All
                importers into one buffer share it.
        """
        self._reader = reader
        self._buffer = buffer
        self._arbiter = arbiter
        self._source = source
        self._life = life or source
        self.ledger = ledger or ledger_of(buffer)
        """Keeps the accounts of what is imported."""
        self._chunk: JournalChunk | None = None
        self._told: list[bytes | None] = []
        self._judged: _Judged | None = None
        self._is_stored = True
        self._read_to: str | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether something was judged that the buffer has not taken.

        The arbiter knows of it, and would take it for told if it were read again.
        """
        return self._chunk is not None or self._judged is not None

    def import_pending(self, now_ns: int) -> int:
        """Import what has been appended since the last call.

        Returns:
            The number of records read, accepted or not.
        """
        total = 0
        while self._judged is not None or self._judge_next():
            assert self._judged is not None  # or there is nothing to import
            chunk, accepted = self._judged.chunk, self._judged.accepted
            booking = self.ledger.book(
                chunk.heard,
                records=len(chunk.records),
                told_twice=len(chunk.records) - len(accepted),
                unnamed_damage=chunk.unnamed_damage,
            )
            self._is_stored = self._buffer.append(
                [
                    *((EntryKind.EVENT, event) for event in accepted),
                    *((EntryKind.SCHEDULE, note) for note in self._judged.notes),
                ],
                now_ns=now_ns,
                positions={self._source: chunk.position},
                stories=self._judged.stories,
                accounts=booking.encode(),
            )
            self.ledger.keep(booking, now_ns)
            # Only now: neither reader nor arbiter would give a second time what they gave.
            self._judged = None
            self._read_to = chunk.position
            self._release()
            total += len(chunk.records)
            self.ledger.told_twice += len(chunk.records) - len(accepted)
            self.ledger.unreadable += chunk.corrupt_records
        if not self._is_stored:
            positions = {} if self._read_to is None else {self._source: self._read_to}
            self._is_stored = self._buffer.append([], now_ns=now_ns, positions=positions)
            self._release()
        self.settle(now_ns)
        return total

    def _release(self) -> None:
        """Let the journal go as far as it is on the buffer's disk, or delivered."""
        if self._read_to is None:
            return
        if self._is_stored:
            self._reader.release(self._read_to)
            self._read_to = None
        elif not self._buffer.stats().unsaved:
            # The disk is full, perhaps of this journal: what is delivered makes room, down
            # to the segment that is being written. Where that fails the buffer has told why,
            # and it is tried again.
            with suppress(OSError):
                self._reader.retire(self._read_to)

    def settle(self, now_ns: int, *, is_final: bool = False) -> None:
        """Count as lost what has been missing for long, or at once when nobody writes."""
        booking = self.ledger.settle(now_ns, is_final=is_final)
        if booking is not None:
            self._buffer.append([], now_ns=now_ns, accounts=booking.encode())
            self.ledger.keep(booking, now_ns)

    def _judge_next(self) -> bool:
        chunk = self._chunk or self._reader.read(_CHUNK_RECORDS, _CHUNK_BYTES)
        if chunk.is_empty:
            if not self._is_stored:
                self._read_to = chunk.position  # names segments that were sealed meanwhile
            return False
        self._chunk = chunk
        for record in chunk.records[len(self._told) :]:
            self._told.append(self._judge(record))
        accepted = [event for event in self._told if event is not None]
        self._chunk, self._told = None, []
        self._judged = _Judged(chunk, accepted, self._arbiter.notes(), self._arbiter.changes())
        return True

    def _judge(self, record: bytes) -> bytes | None:
        try:
            return self._arbiter.judge(record, source=self._life)
        except BufferError_:
            raise
        except Exception as error:  # noqa: BLE001 -- one record must not hold up or cost the others
            note_failure("judgement of an event", error)
            return record

    def retire(self) -> bool:
        """Delete a journal that has been imported whole and has no writer any more.

        Returns:
            False when it still holds a record, or somebody may still append to it.
        """
        if not self._is_stored or self.is_waiting:
            return False
        # The first round seals the active segment, the second finds it read and unused.
        for _ in range(3):
            chunk = self._reader.read(1, _CHUNK_BYTES)
            if not chunk.is_empty:
                return False
            if self._reader.retire(chunk.position):
                return True
        return False

    def close(self) -> None:
        """Close the journal; what is left in it waits for the next reader."""
        self._reader.close()


def ledger_of(buffer: EventBuffer) -> Ledger:
    """Return a ledger that goes on with a buffer's account."""
    ledger = Ledger(buffer_id=buffer.buffer_id, runtime_id=new_boot_id())
    ledger.open(buffer)
    return ledger
