"""What is counted beside the entries, in the transactions of what it counts.

An account is a few bytes under its owner's name; they mean nothing here. The buffer's own
is :class:`Passed`, a part of its state. The transaction is the caller's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from z4j_otel.buffer.base import EntryKind, Legacy
from z4j_otel.ids import new_boot_id

__all__ = ["Passed", "read_all", "store"]


class Passed(msgspec.Struct, frozen=True):
    """What went through a buffer since its database was made."""

    buffer_id: str = ""
    """The database's name; 32 hexadecimal digits."""
    stored: tuple[int, ...] = (0,) * len(EntryKind)
    """Entries that were offered, by the number of their kind."""
    acked: tuple[int, ...] = (0,) * len(EntryKind)
    """Entries that were acked, by the number of their kind."""

    @classmethod
    def begin(cls) -> Passed:
        """Return the account of a new database."""
        return cls(new_boot_id())

    def widened(self) -> Passed:
        """Return the account with a place for every kind; older versions knew fewer."""
        more = (0,) * (len(EntryKind) - len(self.stored))
        return Passed(self.buffer_id, self.stored + more, self.acked + more)

    def plus(
        self,
        *,
        stored: Mapping[EntryKind, int] | None = None,
        acked: Mapping[EntryKind, int] | None = None,
    ) -> Passed:
        """Return the account after more has passed; itself when nothing has."""
        if not stored and not acked:
            return self
        return Passed(self.buffer_id, _sum(self.stored, stored), _sum(self.acked, acked))

    def plus_legacy(self, legacy: Legacy) -> Passed:
        """Return the account after another buffer's has been added."""
        counted = legacy.counted
        settled = {kind: counted.stored[kind] - counted.held[kind] for kind in EntryKind}
        return self.plus(stored=settled, acked=counted.acked)


def _sum(known: tuple[int, ...], more: Mapping[EntryKind, int] | None) -> tuple[int, ...]:
    if not more:
        return known
    return tuple(known[kind] + more.get(kind, 0) for kind in EntryKind)


def read_all(connection: sqlite3.Connection) -> dict[str, bytes]:
    """Return the accounts by owner, the one touched last at the end."""
    return dict(connection.execute("SELECT owner, body FROM accounts ORDER BY turn"))


def store(connection: sqlite3.Connection, bodies: Mapping[str, bytes]) -> None:
    """Replace accounts; empty bytes delete one."""
    # Without a number a replaced row gets the highest: their order is that of touch.
    rows = [(owner, body) for owner, body in bodies.items() if body]
    if rows:
        connection.executemany("REPLACE INTO accounts (owner, body) VALUES (?, ?)", rows)
    gone = [(owner,) for owner, body in bodies.items() if not body]
    if gone:
        connection.executemany("DELETE FROM accounts WHERE owner = ?", gone)
