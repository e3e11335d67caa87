"""What dead agents of the same deployment left behind, taken over whole."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.buffer.base import EventBuffer
from z4j_otel.buffer.files import AgentFiles, find_abandoned
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.errors import BufferError_
from z4j_otel.journal.reader import JournalReader

__all__ = ["AdoptingImporter"]

_logger = logging.getLogger(__name__)

ADOPT_EVERY_NS = 30 * 1_000_000_000
_CHUNK = 1000
_CHUNK_BYTES = 8 * 1024 * 1024
_HOLD_S = 600.0


class AdoptingImporter:
    """The agent's own journal, and every 30 s whatever dead agents left.

    Adoption repeats after a crash and never loses: an abandoned file is deleted only after
    its entries are in our buffer. The brain drops what it has already.
    """

    def __init__(
        self,
        own: JournalImporter,
        buffer: EventBuffer,
        *,
        home: Path,
        deployment: str,
        arbiter: Callable[[], Arbiter] = Arbiter,
    ) -> None:
        """Build an importer.

        Args:
            own: Imports this agent's own journal.
            buffer: Where everything goes.
            home: The directory to look for abandoned files in.
            deployment: Whose files may be adopted: the same project and secret.
            arbiter: Makes the arbiter for one abandoned journal.
        """
        self._own = own
        self._buffer = buffer
        self._home = home
        self._deployment = deployment
        self._arbiter = arbiter
        self._next_ns = 0
        self.adopted = 0
        """Entries and records taken over so far."""

    def import_pending(self, now_ns: int) -> int:
        """Import what was appended, and adopt what was abandoned.

        Returns:
            The number of records and entries taken in.
        """
        count = 0
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + ADOPT_EVERY_NS
            count = self._adopt_all(now_ns)
        return count + self._own.import_pending(now_ns)

    def close(self) -> None:
        """Close the own journal."""
        self._own.close()

    def _adopt_all(self, now_ns: int) -> int:
        count = 0
        for files in find_abandoned(self._home, self._deployment):
            try:
                count += self._adopt(files, now_ns)
            except (BufferError_, OSError) as error:
                _logger.warning(
                    "left-over files of process %s cannot be taken over (%s)",
                    files.pid,
                    type(error).__name__,
                    extra={"action": "adoption_failed"},
                )
            finally:
                files.close()
        return count

    def _adopt(self, files: AgentFiles, now_ns: int) -> int:
        left = SqliteBuffer(files.buffer_path)
        try:
            count = self._take_entries(left, now_ns)
            count += self._take_journal(files, left, now_ns)
        finally:
            left.close()
        files.remove()
        self.adopted += count
        if count:
            _logger.info(
                "took over %d events of process %s, which ended without delivering them",
                count,
                files.pid,
                extra={"action": "adopted"},
            )
        return count

    def _take_entries(self, left: EventBuffer, now_ns: int) -> int:
        count = 0
        while True:
            entries = left.lease(_CHUNK, max_bytes=_CHUNK_BYTES, now_ns=now_ns, hold_s=_HOLD_S)
            if not entries:
                return count
            self._buffer.append([(entry.kind, entry.body) for entry in entries], now_ns=now_ns)
            left.ack([entry.sequence for entry in entries])
            count += len(entries)

    def _take_journal(self, files: AgentFiles, left: EventBuffer, now_ns: int) -> int:
        source = files.journal_dir.name
        reader = JournalReader(files.journal_dir, left.positions().get(source))
        importer = JournalImporter(reader, self._buffer, self._arbiter(), source=source)
        try:
            count = importer.import_pending(now_ns)
            if count:
                # A child that outlives the dead agent goes on appending, perhaps for days:
                # whoever looks here next begins where we stopped.
                position = self._buffer.positions()[source]
                left.append([], now_ns=now_ns, positions={source: position})
            importer.retire()
        finally:
            importer.close()
        return count
