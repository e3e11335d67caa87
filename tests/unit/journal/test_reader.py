"""The reading end: order, rotation, positions and removal."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from pathlib import Path

import pytest

from z4j_otel.disk import Disk
from z4j_otel.journal.format import SEALED_MARK, frame
from z4j_otel.journal.reader import JournalChunk, JournalReader
from z4j_otel.journal.segments import Segment
from z4j_otel.journal.writer import JournalWriter


def read(reader: JournalReader) -> JournalChunk:
    """Return all there is."""
    return reader.read(1000, 1 << 30)


def names(directory: Path) -> list[str]:
    """Return the names of the files in a directory."""
    return sorted(path.name for path in directory.iterdir())


def write(directory: Path, *records: bytes) -> None:
    """Append records with a writer that then goes away."""
    writer = JournalWriter(directory)
    for record in records:
        assert writer.append(record, now_ns=0)
    writer.close()


def test_a_missing_directory_is_empty(tmp_path: Path) -> None:
    """The reader may be there before the first writer."""
    reader = JournalReader(tmp_path / "j")
    assert read(reader) == JournalChunk([], "{}", 0, 0)
    write(tmp_path / "j", b"one")
    assert read(reader).records == [b"one"]


def test_limits_bound_a_chunk(tmp_path: Path) -> None:
    """A chunk ends at the number of records, or with the record that reaches the bytes."""
    write(tmp_path, b"12345", b"12345", b"12345")
    reader = JournalReader(tmp_path)
    assert len(reader.read(2, 1000).records) == 2
    reader.close()
    assert len(reader.read(1000, 6).records) == 2
    assert len(reader.read(1000, 1).records) == 1


def test_a_stored_position_is_resumed(tmp_path: Path) -> None:
    """A new reader goes on where the position says."""
    write(tmp_path, b"one", b"two")
    position = JournalReader(tmp_path).read(1, 1000).position
    assert read(JournalReader(tmp_path, position)).records == [b"two"]


def test_a_position_outlives_a_rotation_that_it_did_not_see(tmp_path: Path) -> None:
    """What a position calls active may have become a number."""
    write(tmp_path, b"one", b"two")
    reader = JournalReader(tmp_path, segment_bytes=1 << 20)
    position = reader.read(1, 1000).position
    JournalReader(tmp_path, position, segment_bytes=1).read(1, 1)
    assert names(tmp_path) == ["sealed-1.log"]
    assert read(JournalReader(tmp_path, position)).records == [b"two"]


@pytest.mark.parametrize("fields", [(0,), (1, 3)])
def test_a_recycled_name_is_not_mistaken(tmp_path: Path, fields: tuple[int, ...]) -> None:
    """Another inode or other contents: it is read from its start."""
    write(tmp_path, b"one", b"two")
    places = json.loads(JournalReader(tmp_path).read(1, 1000).position)
    for field in fields:
        places["active"][field] += 1000
    assert read(JournalReader(tmp_path, json.dumps(places))).records == [b"one", b"two"]


@pytest.mark.parametrize("damaged", [1, 3])
def test_a_segment_is_known_although_it_is_damaged(tmp_path: Path, damaged: int) -> None:
    """What was read is not read again for a byte that is wrong, or for want of a mark."""
    write(tmp_path, b"one", b"two")
    places = json.loads(JournalReader(tmp_path).read(1, 1000).position)
    places["active"][damaged] += 1000
    assert read(JournalReader(tmp_path, json.dumps(places))).records == [b"two"]
    if damaged == 3:
        del places["active"][damaged]
        assert read(JournalReader(tmp_path, json.dumps(places))).records == [b"two"]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_segment_cut_off_below_its_position_goes_on_at_its_end(
    tmp_path: Path, is_restarted: bool
) -> None:
    """What is left of it was read; what is appended is not."""
    writer = JournalWriter(tmp_path)
    for record in (b"one", b"two"):
        writer.append(record, now_ns=0)
    reader = JournalReader(tmp_path)
    chunk = read(reader)
    os.truncate(tmp_path / "active.log", (tmp_path / "active.log").stat().st_size - 1)
    if is_restarted:
        reader = JournalReader(tmp_path, chunk.position)
    assert read(reader).records == []
    writer.append(b"three", now_ns=0)
    assert read(reader).records == [b"three"]


@pytest.mark.parametrize("name", ["active.log", "sealed-3.log"])
@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_what_is_no_segment_is_passed_over(
    tmp_path: Path, kind: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Planted names stop nobody: it is told once, and records are written and read."""
    if kind == "link":
        (tmp_path / name).symlink_to("/etc/passwd")
    elif kind == "directory":
        (tmp_path / name).mkdir()
    else:
        os.mkfifo(tmp_path / name)
    reader = JournalReader(tmp_path, segment_bytes=1)
    read(reader)
    writer = JournalWriter(tmp_path)
    for number in range(3):
        assert writer.append(b"%d" % number, now_ns=number)
        assert read(reader).records == [b"%d" % number]
    assert caplog.text.count("left alone") == 1
    assert Path("/etc/passwd").stat().st_size > 0


def test_a_file_that_cannot_be_opened_for_now_is_waited_for(tmp_path: Path) -> None:
    """Out of descriptors is not the file's fault."""

    class Exhausted(Disk):
        def open(self, *_: object) -> int:
            raise OSError(errno.EMFILE, "too many open files")

    write(tmp_path, b"one")
    with pytest.raises(OSError, match="too many"):
        read(JournalReader(tmp_path, disk=Exhausted()))


@pytest.mark.parametrize(
    "position",
    ["", "{", "[]", '{"active":3}', '{"x":[1,2,3]}', "3", '{"active":[1,2,1e999]}', "[" * 9999],
)
def test_a_position_that_means_nothing_reads_everything(
    tmp_path: Path, position: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Repeating is better than losing; anything but an empty text is reported."""
    write(tmp_path, b"one")
    with caplog.at_level(logging.WARNING):
        assert read(JournalReader(tmp_path, position)).records == [b"one"]
    assert len(caplog.records) == bool(position)


def test_a_large_segment_is_sealed_and_removed_when_stored(tmp_path: Path) -> None:
    """A segment leaves the disk only after its end was stored under its number."""
    write(tmp_path, b"one", b"two")
    reader = JournalReader(tmp_path, segment_bytes=20)
    chunk = read(reader)
    assert names(tmp_path) == ["sealed-1.log"]
    reader.release(chunk.position)
    assert names(tmp_path) == []
    assert read(reader).position == "{}"


def test_release_believes_only_what_is_proved(tmp_path: Path) -> None:
    """Not read, not wholly read, or read under the name active: the segment stays."""
    write(tmp_path, b"one", b"two")
    reader = JournalReader(tmp_path, segment_bytes=1 << 20)
    as_active = read(reader).position
    reader.close()
    reader = JournalReader(tmp_path, segment_bytes=20)
    half = reader.read(1, 1000).position
    for position in ("{}", half, as_active):
        reader.release(position)
    assert names(tmp_path) == ["sealed-1.log"]
    reader.release(read(reader).position)
    assert names(tmp_path) == []


def test_numbers_are_not_used_again_while_a_position_knows_them(tmp_path: Path) -> None:
    """A new sealed segment never has a number that a stored position means otherwise."""
    position = '{"7":[1,2,3]}'
    write(tmp_path, b"one")
    JournalReader(tmp_path, position, segment_bytes=1).read(1, 1)
    assert names(tmp_path) == ["sealed-8.log"]


def test_a_late_append_to_a_sealed_segment_is_read_and_keeps_it(tmp_path: Path) -> None:
    """A writer caught between look and write loses nothing."""
    write(tmp_path, b"one")
    late = os.open(tmp_path / "active.log", os.O_WRONLY | os.O_APPEND)
    reader = JournalReader(tmp_path, segment_bytes=1)
    first = read(reader)
    os.write(late, frame(b"late"))
    reader.release(first.position)
    chunk = read(reader)
    assert chunk.records == [b"late"]
    reader.release(chunk.position)
    assert names(tmp_path) == []
    os.close(late)


def test_a_segment_with_a_silent_writer_is_drained(tmp_path: Path) -> None:
    """It is removed when the writer has moved on, and read until then."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    reader = JournalReader(tmp_path, segment_bytes=1)
    reader.release(read(reader).position)
    assert names(tmp_path) == ["drained-1.log"]
    writer.append(b"two", now_ns=1)
    assert names(tmp_path) == ["active.log", "drained-1.log"]
    chunk = read(reader)
    assert chunk.records == [b"two"]
    reader.release(chunk.position)
    assert names(tmp_path) == ["drained-2.log"]


def test_a_drained_segment_is_known_again_after_a_restart(tmp_path: Path) -> None:
    """Its number, not its prefix, is its name in a position."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    reader = JournalReader(tmp_path, segment_bytes=1)
    position = read(reader).position
    reader.release(position)
    assert read(JournalReader(tmp_path, position)).records == []


def test_a_segment_marked_by_a_reader_that_died_is_renamed(tmp_path: Path) -> None:
    """The successor completes the rotation."""
    write(tmp_path, b"one")
    with (tmp_path / "active.log").open("r+b") as segment:
        segment.write(SEALED_MARK)
    assert read(JournalReader(tmp_path)).records == [b"one"]
    assert names(tmp_path) == ["sealed-1.log"]


def test_a_rotation_that_fails_does_not_stop_reading(tmp_path: Path) -> None:
    """A directory in the way of the new name costs disk, not records."""
    write(tmp_path, b"one")
    (tmp_path / "sealed-1.log").mkdir()
    reader = JournalReader(tmp_path, segment_bytes=1)
    reader._names = lambda: ["active.log"]
    assert read(reader).records == [b"one"]
    assert "active.log" in names(tmp_path)


def test_old_segments_are_read_before_new_ones(tmp_path: Path) -> None:
    """Segments come in the order of their numbers, the active one last."""
    for number in (10, 9, 2):
        (tmp_path / f"sealed-{number}.log").write_bytes(frame(b"%d" % number))
    write(tmp_path, b"active")
    (tmp_path / "notes.txt").write_text("not ours")
    reader = JournalReader(tmp_path)
    assert [reader.read(1, 99).records for _ in range(4)] == [[b"2"], [b"9"], [b"10"], [b"active"]]


def test_an_append_in_the_making_does_not_hide_newer_segments(tmp_path: Path) -> None:
    """Its writer has not returned, so nothing can depend on it."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    with (tmp_path / "active.log").open("ab") as torn:
        torn.write(frame(b"torn")[:4])
    reader = JournalReader(tmp_path, segment_bytes=1)
    assert read(reader).records == [b"one"]
    write(tmp_path, b"new")
    chunk = read(reader)
    assert (chunk.records, chunk.corrupt_records) == ([b"new"], 0)
    writer.close()
    assert read(reader).corrupt_records == 1


def test_a_file_that_somebody_deleted_is_read_to_its_end(tmp_path: Path) -> None:
    """The open descriptor still has what the path no longer leads to."""
    write(tmp_path, b"one", b"two")
    reader = JournalReader(tmp_path)
    assert reader.read(1, 99).records == [b"one"]
    (tmp_path / "active.log").unlink()
    write(tmp_path, b"three")
    chunk = read(reader)
    assert chunk.records == [b"two", b"three"]
    reader.release(chunk.position)
    assert list(json.loads(read(reader).position)) == ["active"]


def test_an_empty_file_that_somebody_deleted_is_forgotten(tmp_path: Path) -> None:
    """Nothing remains of a segment that never had a record."""
    (tmp_path / "active.log").touch()
    reader = JournalReader(tmp_path)
    read(reader)
    (tmp_path / "active.log").unlink()
    reader.release(read(reader).position)
    assert reader._segments == []


def test_a_dead_agents_journal_comes_to_its_end(tmp_path: Path) -> None:
    """Read, store, retire, until nothing is left."""
    write(tmp_path, b"one")
    reader = JournalReader(tmp_path)
    assert not reader.retire(read(reader).position)
    assert not reader.retire("{}")
    assert reader.retire(read(reader).position)
    assert names(tmp_path) == []


def test_an_empty_active_segment_is_retired_at_once(tmp_path: Path) -> None:
    """There is nothing in it to read."""
    (tmp_path / "active.log").touch()
    assert JournalReader(tmp_path).retire("{}")
    assert names(tmp_path) == []


def test_unread_records_are_not_retired(tmp_path: Path) -> None:
    """Retiring never overtakes reading."""
    write(tmp_path, b"one")
    reader = JournalReader(tmp_path)
    assert not reader.retire("{}")
    assert names(tmp_path) == ["active.log"]


def test_a_journal_with_a_living_writer_is_not_retired(tmp_path: Path) -> None:
    """An orphaned task process may still report its end."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    reader = JournalReader(tmp_path)
    for _ in range(3):
        assert not reader.retire(read(reader).position)
    writer.append(b"two", now_ns=1)
    assert read(reader).records == [b"two"]
    writer.close()
    assert not reader.retire(read(reader).position)
    assert reader.retire(read(reader).position)


def test_an_empty_active_segment_with_a_writer_is_kept(tmp_path: Path) -> None:
    """It is about to be written."""
    with (tmp_path / "active.log").open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        assert not JournalReader(tmp_path).retire("{}")
    assert names(tmp_path) == ["active.log"]


def test_a_forked_child_keeps_no_descriptor(tmp_path: Path) -> None:
    """The reader's files are closed in a child, and untouched in the parent."""
    write(tmp_path, b"one", b"two")
    reader = JournalReader(tmp_path)
    reader.read(1, 99)
    fd = reader._segments[0].fd
    pid = os.fork()
    if not pid:
        os._exit(len(reader._segments))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.fstat(fd)
    assert read(reader).records == [b"two"]


def test_a_follower_is_never_read_before_what_it_follows(tmp_path: Path) -> None:
    """A late append to an old segment, then one to the new, between two looks at sizes."""
    write(tmp_path, b"one")
    late = os.open(tmp_path / "active.log", os.O_WRONLY | os.O_APPEND)
    reader = JournalReader(tmp_path, segment_bytes=1)
    assert read(reader).records == [b"one"]
    write(tmp_path, b"")
    reader._segment_bytes = 1 << 20

    class Racing(Segment):
        @property
        def size(self) -> int:
            size = super().size
            if not appended:
                appended.append(os.write(late, frame(b"cause")))
                write(tmp_path, b"effect")
            return size

    appended = [0]
    read(reader)
    for segment in reader._segments:
        segment.__class__ = Racing
    reader._rotate = lambda: None  # it looks at sizes, too
    appended.clear()
    assert [*read(reader).records, *read(reader).records] == [b"cause", b"effect"]
    os.close(late)


class FailsOnce(Disk):
    """A disk that cannot give the second of two segments, once."""

    reads_left = 1 << 30

    def read_at(self, fd: int, length: int, offset: int) -> bytes:
        """Read, or fail."""
        if length > 100:  # not the few bytes that tell a segment from others
            self.reads_left -= 1
            if self.reads_left == 0:
                raise OSError(errno.EIO, "Input/output error")
        return super().read_at(fd, length, offset)


def test_what_was_read_before_an_error_is_read_again(tmp_path: Path) -> None:
    """Nobody got it: the first segment's record is not skipped for the second's sake."""
    disk = FailsOnce()
    first, second = b"1" * 200, b"2" * 200
    write(tmp_path, first)
    (tmp_path / "active.log").rename(tmp_path / "sealed-1.log")
    write(tmp_path, second)
    reader = JournalReader(tmp_path, disk=disk)
    disk.reads_left = 2
    with pytest.raises(OSError, match="Input"):
        read(reader)
    assert read(reader).records == [first, second]


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    """Segments behind it are neither read nor sealed nor deleted."""
    write(tmp_path / "theirs", b"one")
    before = (tmp_path / "theirs" / "active.log").read_bytes()
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    assert read(JournalReader(tmp_path / "ours", segment_bytes=1)).records == []
    assert not JournalWriter(tmp_path / "ours").append(b"two", now_ns=1)
    assert (tmp_path / "theirs" / "active.log").read_bytes() == before
