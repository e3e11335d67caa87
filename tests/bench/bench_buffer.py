"""What the buffer costs, against plain SQLite inserts in the same run."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.sqlite import SqliteBuffer

BATCHES = 100
ROWS = 500
BODY = b"x" * 600
ENTRIES = [(EntryKind.EVENT, BODY)] * ROWS
_clock = time.perf_counter_ns


def run() -> dict[str, float]:
    """Return microseconds per entry of 600 bytes in batches of 500, and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        batched, single = _plain_inserts(Path(folder) / "plain.sqlite")
        buffer = SqliteBuffer(Path(folder) / "b.sqlite")
        appends = _times(lambda: buffer.append(ENTRIES, now_ns=0, positions={"j": "position"}))
        leases = _times(lambda: _lease_and_ack(buffer))
        assert buffer.stats().entries == 0
        buffer.close()
        full = SqliteBuffer(Path(folder) / "full.sqlite", max_events=ROWS * 10)
        evicting = _times(lambda: full.append(ENTRIES, now_ns=0))[: BATCHES * 99 // 100]
        full.close()
    return {
        "insert_batched_p50_us": _at(batched, 50),
        "insert_single_p50_us": single,
        "append_p50_us": _at(appends, 50),
        "append_p99_us": _at(appends, 99),
        "append_full_p50_us": _at(evicting, 50),
        "lease_ack_p50_us": _at(leases, 50),
        "lease_ack_p99_us": _at(leases, 99),
        "append_to_insert_p50_ratio": _at(appends, 50) / _at(batched, 50),
        "append_to_single_insert_p50_ratio": _at(appends, 50) / single,
    }


def _plain_inserts(path: Path) -> tuple[list[float], float]:
    """Return the times per row of batches, and the median of single inserts."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
    rows = [(BODY,)] * ROWS

    def insert() -> None:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t (body) VALUES (?)", rows)
        connection.execute("COMMIT")

    batched = _times(insert)
    single = _times(lambda: connection.execute("INSERT INTO t (body) VALUES (?)", (BODY,)))
    connection.close()
    return batched, _at(single, 50) * ROWS


def _lease_and_ack(buffer: SqliteBuffer) -> None:
    entries = buffer.lease(ROWS, max_bytes=1 << 30, now_ns=0)
    buffer.ack([entry.sequence for entry in entries])


def _times(action: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(BATCHES):
        start = _clock()
        action()
        times.append((_clock() - start) / ROWS / 1000)
    return sorted(times)


def _at(times: list[float], percentile: int) -> float:
    return times[len(times) * percentile // 100]


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:36} {value:8.2f}")  # noqa: T201 -- this is what it is for
