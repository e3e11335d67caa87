"""One segment file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from z4j_otel.journal.format import SEALED_MARK, frame
from z4j_otel.journal.segments import Segment, unread_bytes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return an active segment with one record."""
    path = tmp_path / "active.log"
    path.write_bytes(frame(b"one"))
    return path


def read(segment: Segment, limit: int | None = None) -> list[bytes]:
    """Read up to a limit, the present end by default."""
    upto = segment.size if limit is None else limit
    return segment.read(upto, max_records=1000, max_bytes=1 << 30).records


def test_a_sealed_segment_reads_as_before(path: Path) -> None:
    """The seal changes the first byte, the name and the number, and no record."""
    segment = Segment(path)
    checksum = segment.checksum()
    segment.seal(4)
    assert path.with_name("sealed-4.log").read_bytes().startswith(SEALED_MARK)
    assert (segment.key, segment.checksum(), segment.is_sealed) == ("4", checksum, True)
    assert read(segment) == [b"one"]
    segment.close()


def test_reading_goes_on_where_it_stopped(path: Path) -> None:
    """Each read returns what was added since."""
    segment = Segment(path)
    assert read(segment) == [b"one"]
    with path.open("ab") as out:
        out.write(frame(b"two"))
    assert read(segment) == [b"two"]
    assert read(segment) == []
    segment.close()


def test_a_record_larger_than_the_window_is_read(path: Path) -> None:
    """A record of half a megabyte between small ones comes back whole."""
    with path.open("ab") as out:
        out.write(frame(b"x" * 500_000) + frame(b"two"))
    segment = Segment(path)
    records = [*read(segment), *read(segment), *read(segment)]
    assert [len(record) for record in records] == [3, 500_000, 3]
    segment.close()


def test_an_incomplete_end_waits_for_its_writer(path: Path) -> None:
    """A writer that is alive may be about to finish."""
    with path.open("ab") as writer:
        writer.write(frame(b"two")[:-1])
        writer.flush()

        fcntl.flock(writer, fcntl.LOCK_SH)
        segment = Segment(path)
        assert read(segment) == [b"one"]
        assert segment.is_torn
        writer.write(frame(b"two")[-1:])
    assert read(segment) == [b"two"]
    segment.close()


def test_an_incomplete_end_without_writers_is_damage(path: Path) -> None:
    """Nobody is left who could finish it."""
    with path.open("ab") as out:
        out.write(frame(b"two")[:-1])
    segment = Segment(path)
    found = segment.read(segment.size, max_records=9, max_bytes=99)
    assert (found.records, found.corrupt_records) == ([b"one"], 1)
    assert segment.offset == segment.size
    segment.close()


def test_a_long_incomplete_end_without_writers_is_damage(path: Path) -> None:
    """Also where more of it is there than is read at a time: the file can be given up."""
    with path.open("ab") as out:
        out.write(frame(b"x" * 600_000)[:-100_000])
    segment = Segment(path)
    assert read(segment) == [b"one"]
    found = segment.read(segment.size, max_records=9, max_bytes=99)
    assert (found.records, found.corrupt_records) == ([], 1)
    assert segment.offset == segment.size
    segment.close()


def test_an_incomplete_end_at_an_old_limit_is_no_end(path: Path) -> None:
    """What has grown since the size was taken is judged at the next read."""
    segment = Segment(path)
    assert read(segment, limit=segment.size - 1) == []
    assert segment.is_torn
    assert read(segment) == [b"one"]
    segment.close()


def test_removal_needs_every_byte_read(path: Path) -> None:
    """A late append keeps the file and its name."""
    segment = Segment(path)
    segment.seal(1)
    assert not segment.remove()
    assert segment.path.name == "sealed-1.log"
    assert segment.path.exists()
    segment.close()


def test_removal_waits_for_writers_under_another_name(path: Path) -> None:
    """A consumed segment that somebody holds is drained, and gone when they are."""
    segment = Segment(path)
    segment.seal(1)
    read(segment)
    writer = os.open(segment.path, os.O_RDWR)
    fcntl.flock(writer, fcntl.LOCK_SH)
    assert [segment.remove(), segment.remove()] == [False, False]
    assert segment.path == path.with_name("drained-1.log")
    assert segment.is_at_path()
    os.close(writer)
    assert segment.remove()
    assert list(path.parent.iterdir()) == []


def test_a_segment_without_its_path_counts_as_sealed(path: Path) -> None:
    """A file that somebody deleted is read to its end and then forgotten."""
    segment = Segment(path)
    path.unlink()
    assert not segment.is_at_path()
    segment.lose_path(7)
    assert segment.key == "7"
    assert read(segment) == [b"one"]
    writer = os.open(f"/proc/self/fd/{segment.fd}", os.O_RDWR)

    fcntl.flock(writer, fcntl.LOCK_SH)
    assert not segment.remove()
    os.close(writer)
    assert segment.remove()


def test_unread_bytes_leave_out_drained_segments(tmp_path: Path) -> None:
    """Only what waits to be read counts against the cap."""
    for name in ("active.log", "sealed-1.log", "drained-2.log"):
        (tmp_path / name).write_bytes(b"x" * 10)
    assert unread_bytes(tmp_path) == 20
    assert unread_bytes(tmp_path / "missing") == 0
