"""What one dead agent left, while we own it: theory of operation.

Constraints
    What was left moves from its database and journal into our buffer. There are two
    databases and no transaction over both, and we may be killed between any two of them.
    Another agent may then come by, which can open what we left, but not, while somebody
    owns them, the files of a third.

Format
    Beside the positions of journals, a buffer that adopts keeps two rows per estate, under
    the estate's key: ``adopted:<key>``, the highest sequence taken from its database, and
    ``adopting:<key>``, the position in its journal. The estate's own database names in
    ``taker`` the key of the files it is moving to.

Operation
    *Begin.* The taker is written first. Then stories, commands, and the first mark together
    with the accounts, in this order, so that the mark says that all of them are ours. From
    then on its entries count here as they come.

    *Take.* Entries go over in chunks: our transaction stores them with the mark, then they
    are deleted there. The journal is imported like our own, by the same arbiter, with its
    position in our database only.

    *Tend.* Children of a dead agent may live on and append, for days. Then we keep the files
    and look at the journal whenever we look at our own.

    *Remove.* A journal that is imported whole and has no writer any more is deleted, and
    with it the files. Our two rows go last.

Recovery
    An estate whose taker is alive waits for it. A dead taker's files are adopted first, by
    an heir that *settles* what they had begun: it writes marks of its own, which say that
    the stories are there, and then into the estate what had been taken, the position and
    its own name as the taker. So stories and accounts are always where the taker is; a
    taker whose files are gone had settled everything. An agent that stops settles with
    itself and gives the stories back. Nothing is taken twice, whoever dies when, and
    nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Mapping

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.books import Books
from z4j_otel.agent.importer import JournalImporter, ledger_of
from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.base import EntryKind, EventBuffer, Legacy
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.errors import BufferError_
from z4j_otel.journal.reader import JournalReader

__all__ = ["Estate", "marks_in"]

_CHUNK = 1000
_CHUNK_BYTES = 8 * 1024 * 1024
_HOLD_S = 600.0
_MOST_ENTRIES = 1 << 40
_MOST_BYTES = 1 << 40
"""What is left only shrinks, and its own agent may have been allowed more than we are."""
_TAKER = "taker"
_MARK = "adopted:"
_POSITION = "adopting:"


def marks_in(positions: Mapping[str, str]) -> list[str]:
    """Return the keys of the estates that a buffer has begun to take and not settled."""
    return [name.removeprefix(_MARK) for name in positions if name.startswith(_MARK)]


class Estate:
    """A dead agent's files, owned by us until :meth:`close`. Used by one thread."""

    def __init__(
        self,
        files: AgentFiles,
        buffer: EventBuffer,
        arbiter: Arbiter,
        *,
        taker: str,
        ledger: Ledger | None = None,
    ) -> None:
        """Look after files from ``find_abandoned``; nothing is opened yet.

        Args:
            files: What was left.
            buffer: Where it goes.
            arbiter: Judges the records of its journal, and ours.
            taker: The key of the files that the buffer belongs to.
            ledger: Has the accounts of what is in the buffer.
        """
        self.files = files
        self.last_seen_ns = files.last_alive_ns
        """The last sign of life of any process that belongs to it, by the wall clock."""
        self._buffer = buffer
        self._arbiter = arbiter
        self._me = taker
        self._ledger = ledger or ledger_of(buffer)
        self._left: SqliteBuffer | None = None
        self._importer: JournalImporter | None = None

    @property
    def key(self) -> str:
        """The name of the files."""
        return self.files.key

    def taker(self) -> str:
        """Return the key of the files it was moving to, or an empty text."""
        return self._opened().positions().get(_TAKER, "")

    def positions(self) -> dict[str, str]:
        """Return what its own buffer knew of journals and estates."""
        return self._opened().positions()

    def unsettled(self) -> list[str]:
        """Return the keys of the estates that this agent had begun to take itself."""
        return marks_in(self._opened().positions())

    def take(self, now_ns: int) -> int:
        """Move everything that is there now into the buffer.

        Returns:
            How many entries and records that was.

        Raises:
            BufferError_: One of the databases failed; to be repeated.
            OSError: The journal cannot be read; to be repeated.
        """
        left = self._opened()
        self._make_sure(now_ns)
        if not left.append([], now_ns=now_ns, positions={_TAKER: self._me}):
            raise BufferError_("the disk takes nothing")
        mark = self._buffer.positions().get(_MARK + self.key)
        if mark is None:
            self._arbiter.take_over(left.stories())
            self._buffer.take_commands(left.commands())
            self._buffer.append([], now_ns=now_ns, stories=self._arbiter.changes())
            self._take_counts(left, now_ns)
        count = self._take_entries(left, int(mark or 0), now_ns)
        return count + self.import_pending(now_ns)

    def import_pending(self, now_ns: int) -> int:
        """Import what was appended to the journal; returns the number of records."""
        if self._importer is None:
            name = self.files.journal_dir.name
            known = self._buffer.positions().get(_POSITION + self.key)
            reader = JournalReader(
                self.files.journal_dir, known or self._opened().positions().get(name)
            )
            self._importer = JournalImporter(
                reader,
                self._buffer,
                self._arbiter,
                source=_POSITION + self.key,
                life=self.files.boot_id,
                ledger=self._ledger,
            )
        count = self._importer.import_pending(now_ns)
        if count:
            self.last_seen_ns = max(self.last_seen_ns, self._last_append_ns(now_ns))
        return count

    @property
    def is_waiting(self) -> bool:
        """Whether something was judged that the buffer has not taken: it must be kept."""
        return self._importer is not None and self._importer.is_waiting

    def is_finished(self) -> bool:
        """Whether the journal is imported whole and no writer is left; then it is deleted."""
        return self._importer is not None and self._importer.retire()

    def remove(self, now_ns: int) -> bool:
        """Delete the files of an estate that is finished, and forget it.

        Returns:
            False when somebody has appended to the journal meanwhile; then all stays.
        """
        self._make_sure(now_ns)
        self.rest()
        if not self.files.remove():
            return False
        self._buffer.append([], now_ns=now_ns, positions=self._rows("", ""))
        self.close()
        return True

    def inherit(self, taker: str, positions: Mapping[str, str], now_ns: int) -> None:
        """Go on where a dead agent, adopted by us before, stopped taking this estate.

        Args:
            taker: The key of that agent's files.
            positions: What its buffer knows of journals and estates.
            now_ns: Current time, nanoseconds since the epoch.
        """
        if self.taker() == taker:
            # What it knew of these tasks is ours by now: as if we had begun.
            position = positions.get(_POSITION + self.key, "")
            self._buffer.append([], now_ns=now_ns, positions=self._rows("0", position))
            self._settle(positions, now_ns, heir=self._me, stories={})

    def hand_on(self, now_ns: int) -> int:
        """Settle with ourselves, and give the files up for the next agent; returns 0."""
        if self.taker() == self._me:
            life = self.files.boot_id.encode()
            known = self._buffer.stories().items()
            stories = {key: body for key, body in known if life in body}
            self._settle(self._buffer.positions(), now_ns, heir="", stories=stories)
        self._buffer.append([], now_ns=now_ns, positions=self._rows("", ""))
        self.close()
        return 0

    def _settle(
        self,
        positions: Mapping[str, str],
        now_ns: int,
        *,
        heir: str,
        stories: Mapping[str, bytes],
    ) -> None:
        """Write down here what was taken, what is known of it, and who goes on."""
        left = self._opened()
        mark = positions.get(_MARK + self.key)
        rows = {_TAKER: heir}
        if mark is not None:
            self._delete_taken(left, int(mark), now_ns)
            left.forget_stories()
            left.begin_account(Books.orphan(left.stats().held[EntryKind.EVENT]))
            if position := positions.get(_POSITION + self.key):
                rows[self.files.journal_dir.name] = position
        left.append([], now_ns=now_ns, positions=rows, stories=stories)

    def forget_settled(self, key: str, now_ns: int) -> None:
        """Note in this agent's own database that an estate of its own is settled."""
        self._opened().append([], now_ns=now_ns, positions={_MARK + key: "", _POSITION + key: ""})

    def rest(self) -> None:
        """Close its database; the journal stays open."""
        if self._left is not None:
            self._left.close()
            self._left = None

    def close(self) -> None:
        """Close everything and give the files up. Idempotent."""
        if self._importer is not None:
            self._importer.close()
            self._importer = None
        self.rest()
        self.files.close()

    def _take_counts(self, left: SqliteBuffer, now_ns: int) -> None:
        """Go on with its accounts, and mark that we do."""
        counted = left.stats()
        booking = self._ledger.merge(
            left.accounts(),
            stored=counted.stored[EntryKind.EVENT],
            held=counted.held[EntryKind.EVENT],
        )
        self._buffer.take_counts(Legacy(counted, booking.encode(), {_MARK + self.key: "0"}))
        self._ledger.keep(booking, now_ns)

    def _take_entries(self, left: SqliteBuffer, mark: int, now_ns: int) -> int:
        self._delete_taken(left, mark, now_ns)
        count = 0
        while entries := left.lease(_CHUNK, max_bytes=_CHUNK_BYTES, now_ns=now_ns, hold_s=_HOLD_S):
            events = sum(entry.kind is EntryKind.EVENT for entry in entries)
            booking = self._ledger.adopt(events)
            self._buffer.append(
                [(entry.kind, entry.body) for entry in entries],
                now_ns=now_ns,
                positions={_MARK + self.key: str(entries[-1].sequence)},
                accounts=booking.encode(),
            )
            self._ledger.keep(booking, now_ns)
            self._make_sure(now_ns)
            left.ack([entry.sequence for entry in entries])
            count += len(entries)
        return count

    @staticmethod
    def _delete_taken(left: SqliteBuffer, mark: int, now_ns: int) -> None:
        """Delete the entries up to a sequence; they are elsewhere."""
        while mark:
            entries = left.lease(_CHUNK, max_bytes=_CHUNK_BYTES, now_ns=now_ns, hold_s=_HOLD_S)
            taken = [entry.sequence for entry in entries if entry.sequence <= mark]
            left.ack(taken)
            if len(taken) < len(entries) or not entries:
                left.release(entry.sequence for entry in entries[len(taken) :])
                return

    def _rows(self, mark: str, position: str) -> dict[str, str]:
        return {_MARK + self.key: mark, _POSITION + self.key: position}

    def _last_append_ns(self, now_ns: int) -> int:
        """Return when the journal was last written, as far as its files still tell."""
        times = [now_ns]
        for path in self.files.journal_dir.glob("*.log"):
            try:
                times.append(path.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
        return min(now_ns, max(times[1:], default=now_ns))

    def _make_sure(self, now_ns: int) -> None:
        """Refuse to delete what is elsewhere in memory only."""
        if not self._buffer.append([], now_ns=now_ns):
            raise BufferError_("the disk takes nothing")

    def _opened(self) -> SqliteBuffer:
        if self._left is None:
            self._left = SqliteBuffer(
                self.files.buffer_path, max_events=_MOST_ENTRIES, max_bytes=_MOST_BYTES
            )
        return self._left
