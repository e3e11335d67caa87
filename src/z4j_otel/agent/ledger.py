"""What became of every record and result: the ledger.

It has two parts. The *account* (:mod:`z4j_otel.agent.books`) is stored with what it counts,
outlives the agent, and proves that nothing is unaccounted for. The *counters* are of this
life of the agent only: what was sent, repeated, refused. The loss report that the brain is
given (PROTOCOL §4.4) comes from the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from z4j_otel.agent.books import Booking, Books
from z4j_otel.agent.conservation import Conservation, weigh
from z4j_otel.buffer.base import BufferStats, DropReason, EntryKind, EventBuffer
from z4j_otel.journal.format import Heard, WriterId
from z4j_otel.wire.frames import TelemetryLoss

__all__ = ["Ledger"]

_MAX_ADAPTERS: Final = 32
"""PROTOCOL §4.4: more names close the connection."""
_MAX_COUNT: Final = 2**53 - 1

_CAPACITY: Final = frozenset({DropReason.BUFFER_FULL, DropReason.JOURNAL_FULL})
_CONTENT: Final = frozenset({DropReason.TOO_LARGE, DropReason.REJECTED, DropReason.UNENCODABLE})


class Ledger:
    """The account of one buffer, and the counters of one life of one agent.

    Touched by the agent's thread; plain counters, :attr:`equation` and :attr:`stats` may be
    read from any other.

    Args:
        buffer_id: Name of the account, 1 to 64 characters, until :meth:`open` is called.
        runtime_id: Name of this life of this process, 1 to 64 characters.
    """

    def __init__(self, *, buffer_id: str, runtime_id: str) -> None:
        self._buffer_id = buffer_id[:64]
        self._runtime_id = runtime_id[:64]
        self.imported = 0
        """Journal records taken into the buffer."""
        self.told_twice = 0
        """Of these, records that told what another one had told; never sent."""
        self.unreadable = 0
        """Journal records that were damaged, as far as they can be counted."""
        self.sent = 0
        """Events put into a frame, once per connection they were sent on."""
        self.resent = 0
        """Events sent again on the same connection, for want of an ack."""
        self.acked = 0
        """Events whose batch the brain has settled."""
        self.rejected = 0
        """Events the brain did not store anew, duplicates included; no loss."""
        self.results_sent = 0
        """Command results sent, repeats included."""
        self.frames_refused = 0
        """Frames of the brain that failed our checks."""
        self.losses: Mapping[tuple[EntryKind, DropReason], int] = {}
        """The buffer's totals of what was lost, by kind and reason."""
        self.stats = BufferStats(entries=0, bytes=0, oldest_ns=None)
        """The buffer's state when it was last looked at."""
        self.equation = Conservation()
        """The account's terms when they were last put together."""
        self._books = Books()
        self._lost_by_engine: Counter[str] = Counter()

    @property
    def buffer_id(self) -> str:
        """Name of the account."""
        return self._buffer_id

    def open(self, buffer: EventBuffer) -> None:
        """Go on with the account that a buffer has stored.

        Raises:
            BufferError_: The storage failed.
        """
        self._buffer_id = buffer.buffer_id
        self._books = Books(buffer.accounts())
        stats = buffer.stats()
        if stats.files_set_aside and not self._books.writers:
            # What the writers did before is written in a file that cannot be read.
            self._books.sums.is_partial = True
        if stats.files_set_aside and (
            booking := self._books.make_up(stats.stored[EntryKind.EVENT])
        ):
            buffer.append([], now_ns=0, accounts=booking.encode())
            self._books.keep(booking, 0)
        self.refresh(stats)

    def refresh(self, stats: BufferStats) -> Conservation:
        """Take note of the buffer's state and return the equation of this moment."""
        self.stats = stats
        self.equation = weigh(self._books, stats)
        self.losses = self.equation.dropped
        return self.equation

    def conservation(self, buffer: EventBuffer) -> Conservation:
        """Return the terms of the equation, asked of the buffer now, and whether it closes.

        Raises:
            BufferError_: The storage failed.
        """
        return self.refresh(buffer.stats())

    def book(
        self,
        heard: Mapping[WriterId, Heard],
        *,
        records: int,
        told_twice: int,
        unnamed_damage: int,
    ) -> Booking:
        """Prepare what a chunk of the journal says; see :meth:`Books.book`.

        The caller stores the booking with the chunk's records, then calls :meth:`keep`.
        """
        return self._books.book(
            heard, records=records, told_twice=told_twice, unnamed_damage=unnamed_damage
        )

    def settle(self, now_ns: int, *, is_final: bool = False) -> Booking | None:
        """Prepare that gaps are waited for no longer; see :meth:`Books.settle`."""
        return self._books.settle(now_ns, is_final=is_final)

    def adopt(self, events: int) -> Booking:
        """Prepare events of a dead agent, behind its accounts; see :meth:`Books.adopt`."""
        return self._books.adopt(events)

    def merge(self, accounts: Mapping[str, bytes], *, stored: int, held: int) -> Booking:
        """Prepare a dead agent's accounts; see :meth:`Books.merge`."""
        return self._books.merge(accounts, stored=stored, held=held)

    def keep(self, booking: Booking, now_ns: int) -> None:
        """Remember a booking that has been stored."""
        self._books.keep(booking, now_ns)

    def lost_at_capture(self, engine: str, count: int = 1) -> None:
        """Name the engine of records that never reached the buffer.

        They are expected in :attr:`losses` too; here they only get their engine's name.
        """
        self._lost_by_engine[engine] += count

    def dropped_total(self) -> int:
        """Return how many entries and records were lost, for all reasons."""
        return sum(self.losses.values())

    def telemetry_loss(self, engines: Iterable[str] = ()) -> TelemetryLoss:
        """Build the loss report of heartbeats and status frames.

        Args:
            engines: Names to list even when nothing was lost of them.
        """
        by_engine = {**dict.fromkeys(engines, 0), **self._lost_by_engine}
        capacity = self._lost(reasons=_CAPACITY)
        content = self._lost(reasons=_CONTENT)
        return TelemetryLoss(
            buffer_id=self._buffer_id,
            runtime_id=self._runtime_id,
            capacity_evicted_frames=capacity,
            content_rejected_frames=content,
            event_records=self._lost(kind=EntryKind.EVENT),
            command_results=self._lost(kind=EntryKind.COMMAND_RESULT),
            unclassified_frames=self._lost() - capacity - content,
            adapter_events=dict(list(by_engine.items())[:_MAX_ADAPTERS]),
        )

    def _lost(
        self, *, kind: EntryKind | None = None, reasons: frozenset[DropReason] | None = None
    ) -> int:
        count = sum(
            number
            for (its_kind, reason), number in self.losses.items()
            if (kind is None or its_kind is kind) and (reasons is None or reason in reasons)
        )
        return min(count, _MAX_COUNT)

    def snapshot(self) -> dict[str, Any]:
        """Return everything, as the report at the agent's end shows it.

        The :meth:`counters`, and ``buffer_id``; ``account``, the equation of
        :class:`Conservation`, which outlives the agent; and ``processes``.
        """
        return {
            **self.counters(),
            "buffer_id": self._buffer_id,
            "account": self.equation.describe(),
            "processes": self.processes(),
        }

    def counters(self) -> dict[str, Any]:
        """Return the counters of this life of the agent, and all losses, by name."""
        return {
            "imported": self.imported,
            "told_twice": self.told_twice,
            "unreadable": self.unreadable,
            "sent": self.sent,
            "resent": self.resent,
            "acked": self.acked,
            "rejected": self.rejected,
            "results_sent": self.results_sent,
            "frames_refused": self.frames_refused,
            "dropped": {
                f"{kind.name.lower()}.{reason.value}": number
                for (kind, reason), number in self.losses.items()
                if number
            },
        }

    def processes(self) -> list[dict[str, Any]]:
        """Return the account of each process, those heard last at the end."""
        processes: list[dict[str, Any]] = [
            {
                "process": name,
                "captured": account.known,
                "imported": account.imported,
                "missing": account.gap,
                "dropped": {reason: count for reason, count in account.lost.items() if count},
            }
            for name, account in self._books.writers.items()
        ]
        sums = self._books.sums
        if sums.writers:
            others = {
                "process": f"{sums.writers} others",
                "captured": sums.captured,
                "imported": sums.imported,
                "missing": sums.missing,
                "dropped": dict(sums.lost),
            }
            processes.insert(0, others)
        return processes
