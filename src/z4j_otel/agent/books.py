"""What became of every record, by the process that captured it: theory of operation.

Constraints
    A process may be killed at any moment, so it cannot be asked; what is known of it stands
    in the journal. The agent may be killed at any moment, too, so what it has counted must be
    stored in the transaction of what it counts, or not be counted.

Accounts
    Every writer of the journal has one (:class:`WriterAccount`). Its highest number says how
    much the writer was given; of these, some were read, some it has reported as dropped, and
    the rest is the *gap*: records that were damaged, or are late, because threads of one
    process append out of their order. A gap that has stood for ten seconds, or whose writer
    is gone, is *missing*.

    Damage whose header is unreadable shows as a gap when a later record of its writer comes,
    and before that only as a damaged place. Therefore what is lost to damage is the larger of
    the two: places that do not tell whose they are, and missing numbers.

Bounds
    The 512 writers heard last have accounts of their own; the others are one sum. As long as
    nobody was summed up, a writer that is first heard in the middle of its numbers has lost
    those before; afterwards, or in a database that replaced an unreadable one, nothing is
    known about them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from z4j_otel.journal.format import Heard, WriterId

__all__ = ["Booking", "Books", "Sums", "WriterAccount"]

MOST_WRITERS: Final = 512
LATE_NS: Final = 10_000_000_000
_SUMS: Final = "sums"
"""The owner of what belongs to no single writer; writers' names have a hyphen."""

_T = TypeVar("_T")


class WriterAccount(msgspec.Struct, omit_defaults=True):
    """What is known of one writer, as stored."""

    captured: int = 0
    """The highest number that it has used."""
    imported: int = 0
    """Records of it that were read."""
    lost: dict[str, int] = msgspec.field(default_factory=dict)
    """What it has dropped, by reason, as it told."""
    missing: int = 0
    """Of the gap, what is no longer waited for."""
    before: int = 0
    """Numbers that it had used before anything was known of it."""

    @property
    def gap(self) -> int:
        """Numbers that were used and neither read nor told as lost."""
        return max(0, self.captured - self.before - self.imported - sum(self.lost.values()))

    @property
    def known(self) -> int:
        """Records that the writer was given, as far as is known."""
        return self.imported + sum(self.lost.values()) + self.gap

    def take(self, heard: Heard) -> None:
        """Add what a stretch of the journal says."""
        self.captured = max(self.captured, heard.highest)
        self.imported += heard.records
        self.take_losses(heard.lost)

    def merge(self, other: WriterAccount) -> None:
        """Add what another buffer knows of the same writer."""
        self.captured = max(self.captured, other.captured)
        self.imported += other.imported
        self.missing = max(self.missing, other.missing)
        self.before = min(self.before, other.before)
        self.take_losses(other.lost)

    def take_losses(self, told: Mapping[str, int]) -> None:
        """Add what it is told to have dropped since it began."""
        self.lost = {
            reason: max(self.lost.get(reason, 0), told.get(reason, 0))
            for reason in (*self.lost, *told)
        }


class Sums(msgspec.Struct, omit_defaults=True):
    """What belongs to no single writer, as stored."""

    told_twice: int = 0
    """Records that told what another one had told."""
    unnamed_damage: int = 0
    """Damaged places that do not tell whose they are."""
    unnamed: int = 0
    """Records without a writer."""
    adopted: int = 0
    """Events taken over, less those whose accounts were: 0 when both have come whole."""
    writers: int = 0
    """Writers that have no account of their own any more; the rest is theirs."""
    captured: int = 0
    imported: int = 0
    missing: int = 0
    lost: dict[str, int] = msgspec.field(default_factory=dict)
    losers: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """Of ``lost``, whose it is: the last 512 of them. Writers tell totals, so that one which
    is heard again tells these losses again."""
    is_partial: bool = False
    """Whether the accounts began in the middle of their writers' lives."""

    def fold(self, name: str, account: WriterAccount) -> None:
        """Close a writer's account."""
        if account.lost:
            self.losers = dict([*self.losers.items(), (name, account.lost)][-MOST_WRITERS:])
        self.writers += 1
        self.captured += account.known
        self.imported += account.imported
        self.missing += account.gap
        self.lost = _added(self.lost, account.lost)
        self.is_partial = True

    def reopen(self, name: str) -> dict[str, int]:
        """Take back the losses of a writer that is heard again; empty when there are none."""
        lost = self.losers.get(name, {})
        if lost:
            self.losers = {other: its for other, its in self.losers.items() if other != name}
            self.captured -= sum(lost.values())
            self.lost = {name: count - lost.get(name, 0) for name, count in self.lost.items()}
        return lost

    def merge(self, other: Sums) -> None:
        """Add the sums of another buffer."""
        for name in ("told_twice", "unnamed_damage", "unnamed", "adopted", "writers"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("captured", "imported", "missing"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.lost = _added(self.lost, other.lost)
        self.losers = dict([*self.losers.items(), *other.losers.items()][-MOST_WRITERS:])
        self.is_partial = self.is_partial or other.is_partial


@dataclass(slots=True)
class Booking:
    """Changes that are to be stored with what they count, and then kept."""

    sums: Sums
    writers: dict[str, WriterAccount] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)

    def encode(self) -> dict[str, bytes]:
        """Return the changes as a buffer stores them."""
        rows = {name: msgspec.json.encode(account) for name, account in self.writers.items()}
        rows |= dict.fromkeys(self.closed, b"")
        rows[_SUMS] = msgspec.json.encode(self.sums)
        return rows


class Books:
    """The accounts of one buffer, in memory; changed only after a booking was stored."""

    def __init__(self, stored: Mapping[str, bytes] | None = None) -> None:
        """Read the accounts that a buffer has stored; what cannot be read begins anew."""
        rows = dict(stored or {})
        self.sums = _decode(rows.pop(_SUMS, b"{}"), Sums)
        self.writers: OrderedDict[str, WriterAccount] = OrderedDict(
            (name, _decode(body, WriterAccount)) for name, body in rows.items()
        )
        # What an earlier life has left open has been waited for long enough.
        self._late_since_ns = {
            name: 0 for name, account in self.writers.items() if account.gap > account.missing
        }

    def book(
        self,
        heard: Mapping[WriterId, Heard],
        *,
        records: int = 0,
        told_twice: int = 0,
        unnamed_damage: int = 0,
    ) -> Booking:
        """Prepare what a stretch of the journal says.

        Args:
            heard: What it says of each writer.
            records: How many records it has, of whomever.
            told_twice: How many of them are held back.
            unnamed_damage: Damaged places that do not tell whose they are.
        """
        booking = self._begin()
        sums = booking.sums
        sums.told_twice += told_twice
        sums.unnamed_damage += unnamed_damage
        sums.unnamed += records - sum(one.records for one in heard.values())
        for writer, one in heard.items():
            account = self._copy(str(writer))
            is_new = account.captured == 0
            if is_new:
                account.lost = sums.reopen(str(writer))
            account.take(one)
            if is_new and sums.is_partial:
                lost = sum(account.lost.values())
                account.before = max(0, one.highest - one.records - lost)
            booking.writers[str(writer)] = account
        self._close_oldest(booking)
        return booking

    def adopt(self, events: int) -> Booking:
        """Prepare events that come from another buffer, behind its accounts."""
        booking = self._begin()
        booking.sums.adopted += events
        return booking

    def merge(self, accounts: Mapping[str, bytes], *, stored: int, held: int) -> Booking:
        """Prepare the accounts of another buffer, ahead of its events.

        Args:
            accounts: As it stored them; damaged ones are made up for (:meth:`make_up`).
            stored: How many events it was given, by its own count.
            held: How many events it holds, which are to come.
        """
        other = Books(accounts)
        if made_up := other.make_up(stored):
            other.sums = made_up.sums
        booking = self._begin()
        booking.sums.merge(other.sums)
        booking.sums.adopted -= held
        for name, theirs in other.writers.items():
            account = self._copy(name)
            if account.captured:
                account.merge(theirs)
            else:
                account = theirs
                account.take_losses(booking.sums.reopen(name))
            booking.writers[name] = account
        self._close_oldest(booking)
        return booking

    @staticmethod
    def orphan(held: int) -> dict[str, bytes]:
        """Return the accounts of a buffer whose own another one has taken over.

        Args:
            held: How many events it still holds.
        """
        return Booking(Sums(adopted=held)).encode()

    @property
    def stored(self) -> int:
        """How many events the buffer was given, as far as these accounts tell."""
        sums = self.sums
        imported = sums.unnamed + sums.imported + sum(one.imported for one in self.writers.values())
        return imported + sums.adopted - sums.told_twice

    def make_up(self, stored: int) -> Booking | None:
        """Prepare that accounts which were damaged agree with their buffer again.

        What it was given and no account tells of is of unknown writers.

        Args:
            stored: How many events the buffer was given, by its own count.

        Returns:
            None when they agree.
        """
        if stored == self.stored:
            return None
        booking = self._begin()
        booking.sums.unnamed += stored - self.stored
        booking.sums.is_partial = True
        return booking

    def settle(self, now_ns: int, *, is_final: bool = False) -> Booking | None:
        """Prepare that gaps are waited for no longer; None when there is none to give up.

        Args:
            now_ns: Current time, nanoseconds since the epoch.
            is_final: Whether no writer is left, so that nothing can be late.
        """
        booking = None
        for name, since_ns in list(self._late_since_ns.items()):
            if is_final or not 0 <= now_ns - since_ns < LATE_NS:
                account = self._copy(name)
                account.missing = account.gap
                booking = booking or self._begin()
                booking.writers[name] = account
        return booking

    def keep(self, booking: Booking, now_ns: int) -> None:
        """Remember what has been stored."""
        self.sums = booking.sums
        for name, account in booking.writers.items():
            self.writers[name] = account
            self.writers.move_to_end(name)
            if account.gap > account.missing:
                self._late_since_ns.setdefault(name, now_ns)
            else:
                self._late_since_ns.pop(name, None)
        for name in booking.closed:
            self.writers.pop(name, None)
            self._late_since_ns.pop(name, None)

    def _begin(self) -> Booking:
        return Booking(msgspec.structs.replace(self.sums))

    def _copy(self, name: str) -> WriterAccount:
        known = self.writers.get(name)
        return WriterAccount() if known is None else msgspec.structs.replace(known)

    def _close_oldest(self, booking: Booking) -> None:
        known = [name for name in self.writers if name not in booking.writers]
        oldest_first = [*known, *booking.writers]
        for name in oldest_first[: max(0, len(oldest_first) - MOST_WRITERS)]:
            heard_now = booking.writers.pop(name) if name in booking.writers else None
            booking.sums.fold(name, heard_now or self.writers[name])
            booking.closed.append(name)


def _added(known: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: known.get(name, 0) + more.get(name, 0) for name in (*known, *more)}


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        return kind()
