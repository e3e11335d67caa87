"""Reading a database of the first version of the schema, which had no checksums."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from z4j_otel.buffer.accounts import Passed
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.database import UNREADABLE, Connect, read_only
from z4j_otel.buffer.records import Row
from z4j_otel.buffer.state import State

__all__ = ["FirstVersion"]

_VERSION = 1


class FirstVersion:
    """What such a database holds, as far as SQLite can read it."""

    def __init__(self, path: Path, connect: Connect, state: State) -> None:
        self._path = path
        self._connect = connect
        self.state = state
        """What should be there."""

    @classmethod
    def at(cls, path: Path, connect: Connect) -> FirstVersion | None:
        """Return what lies at a path; None when it is of another version, or unreadable."""
        try:
            with contextlib.closing(read_only(path, connect)) as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version != _VERSION:
                    return None
                return cls(path, connect, _read_state(connection))
        except UNREADABLE:
            return None

    def rows(self) -> Iterator[Row]:
        """Yield the entries in order, up to the first that cannot be read."""
        with (
            contextlib.suppress(*UNREADABLE),
            contextlib.closing(read_only(self._path, self._connect)) as connection,
        ):
            for sequence, kind, created_ns, body in connection.execute(
                "SELECT sequence, kind, created_ns, body FROM entries ORDER BY sequence"
            ):
                yield Row(sequence, EntryKind(kind), created_ns, bytes(body))


def _read_state(connection: sqlite3.Connection) -> State:
    state = State.begin()
    for kind, entries, last in connection.execute(
        "SELECT kind, count(*), max(sequence) FROM entries GROUP BY kind"
    ):
        state.totals.add(EntryKind(kind), entries, 0)
        state.last_sequence = max(state.last_sequence, last)
    state.store_positions(dict(connection.execute("SELECT journal, position FROM positions")))
    for kind, reason, count in connection.execute("SELECT kind, reason, count FROM dropped"):
        state.count_dropped(EntryKind(kind), DropReason(reason), count)
    state.passed = _read_passed(connection) or state.passed.plus(
        stored=Counter(state.totals.entries) + _by_kind(state)
    )
    return state


def _by_kind(state: State) -> Counter[EntryKind]:
    lost: Counter[EntryKind] = Counter()
    for (kind, _), count in state.dropped.items():
        lost[kind] += count
    return lost


def _read_passed(connection: sqlite3.Connection) -> Passed | None:
    """Return the account that the latest databases of the version had."""
    try:
        row = connection.execute("SELECT body FROM accounts WHERE owner = 'buffer'").fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Passed)
    except (sqlite3.OperationalError, ValueError, RecursionError):
        return None
