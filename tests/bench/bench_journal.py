"""What the journal costs, against a plain write of the same bytes in the same run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter

ROUNDS = 20_000
RECORD = b"x" * 600
_clock = time.perf_counter_ns


def run() -> dict[str, float]:
    """Return microseconds per record of 600 bytes, and ratios to ``os.write``."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        plain = _plain_writes(directory / "plain.log")
        writer = JournalWriter(directory / "journal", max_bytes=1 << 30)
        appends = _times(lambda now_ns: writer.append(RECORD, now_ns=now_ns))
        assert not writer.dropped
        writer.close()
        read_us = _reads(directory / "journal")
    return {
        "write_p50_us": _at(plain, 50),
        "write_p99_us": _at(plain, 99),
        "append_p50_us": _at(appends, 50),
        "append_p99_us": _at(appends, 99),
        "append_to_write_p50_ratio": _at(appends, 50) / _at(plain, 50),
        "append_to_write_p99_ratio": _at(appends, 99) / _at(plain, 99),
        "read_us": read_us,
    }


def _plain_writes(path: Path) -> list[int]:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return _times(lambda _: os.write(fd, RECORD))
    finally:
        os.close(fd)


def _times(action: Callable[[int], object]) -> list[int]:
    times = []
    for _ in range(ROUNDS):
        now_ns = time.time_ns()
        start = _clock()
        action(now_ns)
        times.append(_clock() - start)
    return sorted(times)


def _at(times: list[int], percentile: int) -> float:
    return times[len(times) * percentile // 100] / 1000


def _reads(directory: Path) -> float:
    reader = JournalReader(directory)
    records = 0
    start = _clock()
    while chunk := reader.read(500, 1 << 20).records:
        records += len(chunk)
    elapsed_ns = _clock() - start
    reader.close()
    assert records == ROUNDS
    return elapsed_ns / records / 1000


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:30} {value:8.2f}")  # noqa: T201 -- this is what it is for
