"""The writing end: what is in the file, and what happens when it cannot be."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from pathlib import Path

import pytest

from z4j_otel.disk import Disk
from z4j_otel.journal.format import (
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    SEALED_MARK,
    Heard,
    WriterId,
    frame,
)
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import FULL, TOO_LARGE, UNWRITABLE, JournalWriter, _pass_on_foreign

SECOND = 1_000_000_000


def read_all(directory: Path) -> list[bytes]:
    """Return every record of a journal."""
    reader = JournalReader(directory)
    records = reader.read(100_000, 1 << 30).records
    reader.close()
    return records


def heard_of(directory: Path) -> dict[WriterId, Heard]:
    """Return what a journal says about its writers."""
    reader = JournalReader(directory)
    heard = reader.read(100_000, 1 << 30).heard
    reader.close()
    return heard


def run_in_child(action) -> int:
    """Fork, run, and return the child's exit status."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = int(action() or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_nothing_is_opened_before_the_first_append(tmp_path: Path) -> None:
    """A writer that never writes leaves no trace."""
    JournalWriter(tmp_path / "j").close()
    assert not (tmp_path / "j").exists()


def test_a_record_is_one_frame_in_a_private_file(tmp_path: Path) -> None:
    """The file holds the framed record and is readable by its owner only."""
    writer = JournalWriter(tmp_path / "j")
    assert writer.append(b"one", now_ns=0)
    assert writer.append(b"two", now_ns=1)
    path = tmp_path / "j" / "active.log"
    us = writer.writer_id
    assert path.read_bytes() == frame(b"one", us, 1) + frame(b"two", us, 2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    writer.close()


def test_writers_share_a_file(tmp_path: Path) -> None:
    """Records of several writers stand in the order of the appends."""
    writers = [JournalWriter(tmp_path) for _ in range(3)]
    for number in range(30):
        assert writers[number % 3].append(b"%d" % number, now_ns=number)
    assert read_all(tmp_path) == [b"%d" % number for number in range(30)]


def test_a_seal_is_followed_at_once(tmp_path: Path) -> None:
    """The first append after a rotation goes to the new segment."""
    writer = JournalWriter(tmp_path)
    writer.append(b"old", now_ns=0)
    path = tmp_path / "active.log"
    with path.open("r+b") as segment:
        segment.write(SEALED_MARK)
    path.rename(tmp_path / "sealed-1.log")
    assert writer.append(b"new", now_ns=1)
    assert path.read_bytes() == frame(b"new", writer.writer_id, 2)


def test_a_sealed_file_that_is_not_renamed_yet_still_takes_records(tmp_path: Path) -> None:
    """Between mark and rename there is no other place to write to."""
    writer = JournalWriter(tmp_path)
    writer.append(b"old", now_ns=0)
    with (tmp_path / "active.log").open("r+b") as segment:
        segment.write(SEALED_MARK)
    assert writer.append(b"new", now_ns=1)
    assert read_all(tmp_path) == [b"old", b"new"]


@pytest.mark.parametrize("now_ns", [SECOND, -1])
def test_a_removed_file_is_noticed_after_a_second_or_a_clock_set_back(
    tmp_path: Path, now_ns: int
) -> None:
    """A writer does not write into the void for longer than a second."""
    writer = JournalWriter(tmp_path)
    writer.append(b"lost", now_ns=0)
    (tmp_path / "active.log").unlink()
    assert writer.append(b"kept", now_ns=now_ns)
    assert read_all(tmp_path) == [b"kept"]


def test_a_removed_file_is_noticed_after_256_kib(tmp_path: Path) -> None:
    """Nor for more bytes than it may write between two looks."""
    writer = JournalWriter(tmp_path)
    framed = HEADER_BYTES + 10_000
    whole = 256 * 1024 // framed
    for number in range(whole + 3):
        writer.append(b"%d" % number * (10_000 // len(b"%d" % number)), now_ns=0)
        if not number:
            (tmp_path / "active.log").unlink()
    assert 2 <= len(read_all(tmp_path)) <= 4


def test_a_writer_never_passes_the_cap(tmp_path: Path) -> None:
    """To the byte: a record that does not fit waits, and a smaller one behind it, too."""
    writer = JournalWriter(tmp_path, max_bytes=1000)
    record = b"x" * (500 - HEADER_BYTES)
    assert [writer.append(record, now_ns=0) for _ in range(3)] == [True, True, False]
    assert not writer.append(b"", now_ns=0)
    assert (tmp_path / "active.log").stat().st_size == 1000
    (tmp_path / "foreign.bin").write_bytes(b"x" * 5000)
    (tmp_path / "active.log").rename(tmp_path / "drained-1.log")
    assert writer.append(b"", now_ns=0)
    assert len(read_all(tmp_path)) == 5


@pytest.mark.parametrize("writers", [2, 5])
def test_several_writers_pass_the_cap_by_little(tmp_path: Path, writers: int) -> None:
    """Each but one by what it may write between two looks."""
    cap = 2 * 1024 * 1024
    many = [JournalWriter(tmp_path, max_bytes=cap) for _ in range(writers)]
    for _ in range(cap // 10_000 + 300):
        for writer in many:
            writer.append(b"x" * 10_000, now_ns=0)
    size = (tmp_path / "active.log").stat().st_size
    assert cap - 10_000 - HEADER_BYTES < size <= cap + (writers - 1) * 256 * 1024


def test_a_directory_is_not_made_twice(tmp_path: Path) -> None:
    """A journal that was retired stays so: nobody would read it."""
    writer = JournalWriter(tmp_path / "j")
    writer.append(b"one", now_ns=0)
    (tmp_path / "j" / "active.log").unlink()
    (tmp_path / "j").rmdir()
    assert not writer.append(b"two", now_ns=SECOND)
    assert not (tmp_path / "j").exists()


def test_what_cannot_be_written_is_written_later_in_order(tmp_path: Path) -> None:
    """Records wait in memory while the directory cannot be had."""
    (tmp_path / "j").write_text("in the way")
    writer = JournalWriter(tmp_path / "j")
    assert [writer.append(b"%d" % number, now_ns=number) for number in range(3)] == [False] * 3
    assert not writer.flush()
    (tmp_path / "j").unlink()
    assert writer.append(b"3", now_ns=3)
    assert read_all(tmp_path / "j") == [b"0", b"1", b"2", b"3"]
    assert writer.dropped == {}


def test_one_append_writes_32_waiting_records_at_most(tmp_path: Path) -> None:
    """A task does not pay for all that waited; flush does."""
    (tmp_path / "j").write_text("in the way")
    writer = JournalWriter(tmp_path / "j")
    for number in range(50):
        writer.append(b"%d" % number, now_ns=number)
    (tmp_path / "j").unlink()
    assert not writer.append(b"50", now_ns=50)
    assert len(read_all(tmp_path / "j")) == 32
    assert writer.flush()
    assert read_all(tmp_path / "j") == [b"%d" % number for number in range(51)]


def test_what_memory_cannot_hold_is_counted(tmp_path: Path) -> None:
    """Beyond a thousand waiting records the oldest are dropped under their reason."""
    (tmp_path / "j").write_text("in the way")
    writer = JournalWriter(tmp_path / "j")
    for number in range(1005):
        assert not writer.append(b"%d" % number, now_ns=0)
    assert writer.dropped == {UNWRITABLE: 5}


def test_a_journal_at_its_cap_takes_nothing_until_it_is_read(tmp_path: Path) -> None:
    """The cap counts unread segments; drained ones do not matter."""
    (tmp_path / "drained-1.log").write_bytes(b"x" * 1000)
    (tmp_path / "sealed-2.log").write_bytes(b"x" * 60_000)
    writer = JournalWriter(tmp_path, max_bytes=60_000)
    for _ in range(1003):
        assert not writer.append(b"late", now_ns=0)
    assert writer.dropped == {FULL: 3}
    (tmp_path / "sealed-2.log").unlink()
    assert writer.flush()
    assert len(read_all(tmp_path)) == 1000


def test_a_record_that_is_too_large_is_counted(tmp_path: Path) -> None:
    """The largest record fits; one byte more does not."""
    writer = JournalWriter(tmp_path)
    assert not writer.append(b"x" * (MAX_RECORD_BYTES + 1), now_ns=0)
    assert writer.append(b"x" * MAX_RECORD_BYTES, now_ns=0)
    assert writer.dropped == {TOO_LARGE: 1}
    assert read_all(tmp_path) == [b"x" * MAX_RECORD_BYTES]


def test_losses_are_told_before_the_next_record(tmp_path: Path) -> None:
    """The reader learns what was dropped, and why, no later than it can miss it."""
    (tmp_path / "j").write_text("in the way")
    writer = JournalWriter(tmp_path / "j")
    for _ in range(1005):
        writer.append(b"late", now_ns=0)
    (tmp_path / "j").unlink()
    writer.append(b"next", now_ns=0)
    assert heard_of(tmp_path / "j") == {writer.writer_id: Heard(32, 1006, {UNWRITABLE: 6})}
    assert writer.flush()
    assert heard_of(tmp_path / "j") == {writer.writer_id: Heard(1000, 1006, {UNWRITABLE: 6})}


def test_losses_are_told_when_the_process_leaves(tmp_path: Path) -> None:
    """A writer whose last record was dropped says so when it is closed."""
    writer = JournalWriter(tmp_path)
    assert not writer.append(b"x" * (MAX_RECORD_BYTES + 1), now_ns=0)
    writer.close()
    assert heard_of(tmp_path) == {writer.writer_id: Heard(0, 1, {TOO_LARGE: 1})}


def test_what_never_became_bytes_is_told_too(tmp_path: Path) -> None:
    """The caller's own losses get numbers, and are told with the next record, once."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    writer.count_lost("unencodable", 2)
    assert writer.append(b"two", now_ns=1)
    assert writer.append(b"three", now_ns=2)
    size = (tmp_path / "active.log").stat().st_size
    us = writer.writer_id
    told = frame(b'{"unencodable":2}', us, 4, 1)
    records = frame(b"one", us, 1) + frame(b"two", us, 4) + frame(b"three", us, 5)
    assert heard_of(tmp_path) == {us: Heard(3, 5, {"unencodable": 2})}
    assert size == len(told) + len(records)


def test_losses_that_were_cut_off_are_told_again(tmp_path: Path) -> None:
    """A short write of the counts is repeated and counts nothing twice."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    writer.count_lost("unencodable")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(frame(b"one")) + 40, limits[1]))
        assert not writer.append(b"two", now_ns=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert writer.append(b"three", now_ns=2)
    assert heard_of(tmp_path) == {writer.writer_id: Heard(3, 4, {"unencodable": 1})}


def test_a_child_has_its_own_name_and_numbers(tmp_path: Path) -> None:
    """A forked child is another writer, also where Python did not see the fork."""
    writer = JournalWriter(tmp_path)
    writer.append(b"parent", now_ns=0)
    writer.count_lost("unencodable")
    assert run_in_child(lambda: not writer.append(b"child", now_ns=0)) == 0
    heard = heard_of(tmp_path)
    assert [one.highest for one in heard.values()] == [1, 1]
    before = writer.writer_id
    writer._pid -= 1
    writer.count_lost("unencodable")
    assert writer.writer_id != before
    assert writer.dropped == {"unencodable": 1}


def test_a_short_write_is_written_again(tmp_path: Path) -> None:
    """A record cut off by the file size limit is repeated whole once there is room."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for room in (5, 8):
            most = len(frame(b"one")) + room
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
            assert not writer.append(b"%d" % room, now_ns=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert writer.append(b"three", now_ns=2)
    assert writer.dropped == {}
    chunk = JournalReader(tmp_path).read(10, 1000)
    assert chunk.records == [b"one", b"5", b"8", b"three"]
    assert (chunk.corrupt_records, chunk.corrupt_bytes) == (1, 8)


def test_a_segment_being_removed_is_not_used(tmp_path: Path) -> None:
    """While the reader holds a segment exclusively, a new writer keeps its record."""
    path = tmp_path / "active.log"
    path.touch()
    writer = JournalWriter(tmp_path)
    with path.open("r+b") as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        assert not writer.append(b"one", now_ns=0)
    assert writer.append(b"two", now_ns=1)
    assert read_all(tmp_path) == [b"one", b"two"]


def test_a_foreign_descriptor_under_our_number_is_left_alone(tmp_path: Path) -> None:
    """After a daemon has closed everything, the number is someone else's."""
    writer = JournalWriter(tmp_path / "j")
    writer.append(b"one", now_ns=0)
    with (tmp_path / "other").open("wb") as other:
        os.dup2(other.fileno(), writer._fd)
        assert writer.append(b"two", now_ns=SECOND)
    writer.close()
    assert read_all(tmp_path / "j") == [b"one", b"two"]
    assert (tmp_path / "other").read_bytes() == b""


def test_a_closed_descriptor_is_replaced(tmp_path: Path) -> None:
    """A record is not lost because somebody closed our file."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    os.close(writer._fd)
    assert writer.append(b"two", now_ns=1)
    assert read_all(tmp_path) == [b"one", b"two"]


def test_a_writer_keeps_its_descriptors_number(tmp_path: Path) -> None:
    """A thread that is about to write never holds a number that was given away."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    number = writer._fd
    (tmp_path / "active.log").rename(tmp_path / "sealed-1.log")
    assert writer.append(b"two", now_ns=SECOND)
    assert writer._fd == number
    assert not os.get_inheritable(number)


def test_an_append_after_close_opens_again(tmp_path: Path) -> None:
    """What happens at the very end of a process is not lost."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    writer.close()
    assert writer.append(b"two", now_ns=0)
    assert read_all(tmp_path) == [b"one", b"two"]


def test_a_forked_child_writes_through_its_own_descriptor(tmp_path: Path) -> None:
    """A child holds no lock of its parent's and appends to the same file."""
    writer = JournalWriter(tmp_path)
    writer.append(b"parent", now_ns=0)

    def child() -> None:
        assert writer._fd == -1
        assert writer.append(b"child", now_ns=0)

    assert run_in_child(child) == 0
    assert read_all(tmp_path) == [b"parent", b"child"]


def test_a_forked_child_does_not_repeat_what_waits_in_the_parent(tmp_path: Path) -> None:
    """Records and counters in memory stay with the process that has them."""
    (tmp_path / "j").write_text("in the way")
    writer = JournalWriter(tmp_path / "j")
    writer.append(b"parent", now_ns=0)
    writer.append(b"x" * (MAX_RECORD_BYTES + 1), now_ns=0)
    assert run_in_child(lambda: not writer.flush() or writer.dropped) == 0
    assert writer.dropped == {TOO_LARGE: 1}


def test_a_fork_that_python_did_not_see_is_noticed(tmp_path: Path) -> None:
    """The pid is compared on every append."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    writer._pid -= 1
    assert writer.flush()
    assert writer.append(b"two", now_ns=0)
    assert writer._pid == os.getpid()


def test_a_short_write_leaves_no_gap(tmp_path: Path) -> None:
    """A record that was cut off and repeated is heard once, under its own number."""
    writer = JournalWriter(tmp_path)
    writer.append(b"one", now_ns=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(frame(b"one")) * 2 - 1, limits[1]))
        assert not writer.append(b"two", now_ns=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert writer.append(b"three", now_ns=2)
    assert heard_of(tmp_path) == {writer.writer_id: Heard(3, 3)}


def test_an_error_of_the_applications_signal_handler_passes() -> None:
    """A TimeoutError raised by the application is not taken for the disk's."""
    with pytest.raises(TimeoutError):
        _pass_on_foreign(TimeoutError("soft limit"))
    _pass_on_foreign(OSError(errno.ENOSPC, "full"))


def test_a_writer_whose_journal_is_gone_asks_where_to_write(tmp_path: Path) -> None:
    """What is appended after the move, and what waited, is in the other journal."""
    (tmp_path / "next").mkdir()
    asked: list[int] = []
    answers = [None, tmp_path / "vanished", tmp_path / "next"]

    def successor() -> Path | None:
        asked.append(1)
        return answers.pop(0)

    writer = JournalWriter(tmp_path / "gone", successor=successor)
    assert not writer.append(b"a", now_ns=0)
    assert not writer.append(b"b", now_ns=1)  # it was asked a moment ago
    assert writer.append(b"c", now_ns=2 * SECOND)
    assert (len(asked), answers) == (3, [])
    assert read_all(tmp_path / "next") == [b"a", b"b", b"c"]
    assert not (tmp_path / "gone").exists()
    writer.close()


def test_a_writer_with_a_segment_stays_where_it_is(tmp_path: Path) -> None:
    """Nobody is asked while there is a journal."""
    (tmp_path / "j").mkdir()
    writer = JournalWriter(tmp_path / "j", successor=lambda: pytest.fail("asked"))
    assert writer.append(b"a", now_ns=0)
    assert writer.append(b"b", now_ns=2 * SECOND)
    writer.close()


def test_a_descriptor_is_not_forgotten_over_an_error(tmp_path: Path) -> None:
    """It would hold its lock for the life of the process, and the segment with it."""

    class Failing(Disk):
        error = 0

        def fstat(self, fd: int) -> os.stat_result:
            if self.error:
                raise OSError(self.error, "cannot be asked")
            return os.fstat(fd)

    disk = Failing()
    writer = JournalWriter(tmp_path, disk=disk)
    writer.append(b"one", now_ns=0)
    disk.error = errno.EIO
    assert not writer.append(b"two", now_ns=SECOND)
    disk.error = 0
    assert writer.append(b"three", now_ns=SECOND)
    writer.close()
    with (tmp_path / "active.log").open() as segment:
        fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)
