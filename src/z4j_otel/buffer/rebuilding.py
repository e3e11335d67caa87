"""A new database in the place of one that cannot be used, with all that is intact in the old.

Theory of operation
    The new file is written whole beside the old one, as ``<name>.new``, and only then put in
    its place. Until that moment the old one is untouched: where there is no room for the
    new, nothing is lost, and it is tried again later.

    Entries come from :mod:`z4j_otel.buffer.carving`, or, from the first version of the
    schema, which had no checksums, from its tables. The state says which entries should be
    there; those that were not found are counted as ``buffer_corrupt``. Where no copy of the
    state is left, everything that is found is taken, and what is missing is not known.
    Stories and commands are copied row by row, as far as SQLite reads them.

    The old file stays as ``<name>.corrupt-1``, and takes the place of an older one: what
    lies about is bounded, too.

Recovery
    A process that dies in between leaves ``<name>.new``. It is whole if its state is there
    and newer than every copy of the old state; then its successor puts it in place, else it
    is thrown away.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from z4j_otel.buffer import accounts
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.carving import Carver
from z4j_otel.buffer.database import UNREADABLE, Connect, make_tables, read_only, transaction
from z4j_otel.buffer.first_version import FirstVersion
from z4j_otel.buffer.names import COMPANIONS, NEW, aside_of, beside, mirror_of
from z4j_otel.buffer.records import Row, write_row
from z4j_otel.buffer.state import State
from z4j_otel.disk import DISK, Disk

__all__ = ["Rebuilder"]

_NONE = ".none"
_STEP = 1_000_000
_COPIED = ("stories", "accounts", "commands")


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """Rebuilds one database, which nobody has open."""

    path: Path
    disk: Disk = DISK
    connect: Connect = sqlite3.connect

    def rebuild(
        self,
        known: State | None = None,
        *,
        rows: Iterator[Row] | None = None,
        old: sqlite3.Connection | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """Put a new database in place; its state counts what was lost.

        Args:
            known: What should be there, if somebody knows better than the file.
            rows: The entries, where the file at the path is not the one they are in.
            old: What lies beside these entries, in the same case.
            release: Closes whatever the caller has open of the old one; called when the new
                one is written, for closing may write to the old.

        Raises:
            OSError: There is no room, or no right; the old file is as it was.
            UNREADABLE: The same, as SQLite tells it.
        """
        carver = Carver()
        try:
            carver.carve(self.path, beside(self.path, "-wal"), mirror_of(self.path))
            if known is not None and not self._exists(self.path):
                # An earlier attempt came as far as taking the old file away.
                carver.carve(self._new, beside(self.path, _NONE), beside(self.path, _NONE))
            first = FirstVersion.at(self.path, self.connect) if known is None else None
            if known is not None and rows is not None:
                self._write(rows, known)
            elif first is not None:
                self._write(first.rows(), first.state)
            else:
                expected = known or carver.state
                self._write(_intact(carver, expected), expected or _unknown(carver))
            self._copy_beside(carver, old)
        finally:
            carver.close()
        release()
        self._put_in_place()

    def finish(self) -> None:
        """Do what a process that died could not: put a whole new file in place, or drop it."""
        if not self._exists(self._new):
            return
        new = Carver()
        old = Carver()
        try:
            new.carve(self._new, beside(self.path, _NONE), beside(self.path, _NONE))
            old.carve(self.path, beside(self.path, "-wal"), mirror_of(self.path))
        finally:
            new.close()
            old.close()
        if new.state is not None and (
            old.state is None or new.state.generation > old.state.generation
        ):
            self._put_in_place()
        else:
            self.disk.unlink(self._new)

    def _write(self, rows: Iterator[Row], expected: State) -> None:
        """Write a whole database; its last transaction stores the state."""
        try:
            self._try_to_write(rows, expected)
        except BaseException:
            with contextlib.suppress(OSError):
                self.disk.unlink(self._new)  # where there is no room it must not take any
            raise

    def _try_to_write(self, rows: Iterator[Row], expected: State) -> None:
        self._remove(self._new)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.disk.close(self.disk.open(self._new, flags, 0o600))
        with contextlib.closing(self.connect(self._new, isolation_level=None)) as connection:
            for pragma in ("page_size=4096", "journal_mode=OFF", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")
            with transaction(connection):
                make_tables(connection)
            with transaction(connection):
                state = _store(connection, rows, expected)
            with transaction(connection):
                connection.execute("INSERT INTO state VALUES (1, ?, 0)", (state.encode(),))

    def _copy_beside(self, carver: Carver, old: sqlite3.Connection | None) -> None:
        """Copy what lies beside the entries, as far as it can be read."""
        mirror = carver.mirror
        is_current = mirror is not None and mirror.state is carver.state
        with contextlib.closing(self.connect(self._new, isolation_level=None)) as new:
            for table in _COPIED:
                with contextlib.suppress(*UNREADABLE), transaction(new):
                    if table == "accounts" and is_current and mirror and mirror.accounts:
                        accounts.store(new, mirror.accounts)
                    elif old is not None:
                        _copy_table(table, old, new)
                    else:
                        with contextlib.closing(read_only(self.path, self.connect)) as at_path:
                            _copy_table(table, at_path, new)

    @property
    def _new(self) -> Path:
        return beside(self.path, NEW)

    def _put_in_place(self) -> None:
        aside = aside_of(self.path)
        for suffix in ("", *COMPANIONS):
            self._remove(beside(aside, suffix))
        # The file before its log, which never stands without it, nor beside the new one.
        for suffix in ("", *COMPANIONS):
            with contextlib.suppress(FileNotFoundError):
                self.disk.rename(beside(self.path, suffix), beside(aside, suffix))
        self.disk.rename(self._new, self.path)

    def _exists(self, path: Path) -> bool:
        try:
            self.disk.lstat(path)
        except OSError:
            return False
        return True

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.disk.unlink(path)


def _copy_table(table: str, old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    with contextlib.suppress(*UNREADABLE):
        for row in old.execute(f"SELECT * FROM {table}"):  # noqa: S608 -- a name of ours
            marks = ",".join("?" * len(row))
            new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608 -- as above


def _unknown(carver: Carver) -> State:
    """Return a state for entries of which nobody knows how many there were."""
    state = State.begin()
    state.last_sequence = max(carver.rows, default=0) + _STEP
    return state


def _intact(carver: Carver, expected: State | None) -> Iterator[Row]:
    """Yield the entries that were found and should be there, in order."""
    for sequence in sorted(carver.rows):
        if expected is None or sequence in expected.runs:
            row = carver.read(sequence)
            if row is not None:
                yield row


def _store(connection: sqlite3.Connection, rows: Iterator[Row], expected: State) -> State:
    """Store entries, and return the state with what is missing of those expected."""
    state = State()
    for row in rows:
        record = write_row(*row)
        connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (row.sequence, record, row.kind))
        state.add(row.sequence, EntryKind(row.kind), len(row.body))
    state.generation = expected.generation + 1
    state.last_sequence = max(expected.last_sequence, state.last_sequence)
    state.positions = dict(expected.positions)
    state.dropped = dict(expected.dropped)
    state.passed = expected.passed
    for kind, count in expected.totals.entries.items():
        lost = max(0, count - state.totals.entries[kind])
        state.count_dropped(kind, DropReason.BUFFER_CORRUPT, lost)
    return state
