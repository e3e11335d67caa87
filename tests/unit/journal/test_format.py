"""Framing of records, and what is found in damaged bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.journal.format import (
    HEADER_BYTES,
    LOSSES,
    MAX_RECORD_BYTES,
    OPEN_MARK,
    Heard,
    Scan,
    WriterId,
    drained_name,
    frame,
    scan,
    sealed_name,
    segment_number,
)

TEXTS = st.lists(st.text(max_size=40).map(str.encode), max_size=8)


ONE = WriterId(7, 0xF55A)
TWO = WriterId(8, 1)


def scan_all(data: bytes, *, at_end: bool = True, is_final: bool = False) -> Scan:
    """Scan without limits."""
    return scan(data, max_records=1000, max_bytes=1 << 30, at_end=at_end, is_final=is_final)


@given(TEXTS)
def test_records_come_back_as_they_were_framed(payloads: list[bytes]) -> None:
    """Whatever is framed is found again, in order, without a remark."""
    data = b"".join(map(frame, payloads))
    assert scan_all(data) == Scan(payloads, len(data), sum(map(len, payloads)))


@given(TEXTS.filter(bool), st.data())
def test_a_flipped_bit_loses_one_record_at_most(payloads: list[bytes], data: st.DataObject) -> None:
    """Damage to one bit hides the record it hits and no other."""
    frames = [frame(payload) for payload in payloads]
    framed = bytearray(b"".join(frames))
    bit = data.draw(st.integers(0, len(framed) * 8 - 1))
    framed[bit // 8] ^= 1 << bit % 8
    hit = next(n for n in range(len(frames)) if bit // 8 < sum(map(len, frames[: n + 1])))
    found = scan_all(bytes(framed), is_final=True)
    assert (found.consumed, found.corrupt_records) == (len(framed), 1)
    assert found.records == payloads[:hit] + payloads[hit + 1 :]


@given(st.binary(max_size=200))
def test_any_bytes_are_dealt_with_to_the_end(data: bytes) -> None:
    """Bytes that were never records are counted and passed, whatever they are."""
    found = scan_all(data, is_final=True)
    assert found.consumed == len(data)
    assert found.corrupt_bytes + sum(HEADER_BYTES + len(one) for one in found.records) == len(data)


@pytest.mark.parametrize("kept", [1, 2, 5, HEADER_BYTES, HEADER_BYTES + 2])
def test_an_incomplete_end_is_waited_for(kept: int) -> None:
    """The start of a record at the very end is neither returned nor counted."""
    found = scan_all(frame(b"one") + frame(b"two")[:kept])
    assert (found.records, found.is_torn, found.corrupt_records) == ([b"one"], True, 0)
    assert found.consumed == len(frame(b"one"))


@pytest.mark.parametrize("kept", [1, 2, 5, HEADER_BYTES, HEADER_BYTES + 2])
def test_an_incomplete_end_is_torn_once_valid_data_follow(kept: int) -> None:
    """What was begun and overtaken by a whole record is skipped and counted once."""
    found = scan_all(frame(b"first")[:kept] + frame(b"next"))
    assert (found.records, found.corrupt_records, found.corrupt_bytes) == ([b"next"], 1, kept)


def test_an_incomplete_end_is_torn_once_nobody_writes() -> None:
    """Nothing more will come: the rest is damage."""
    found = scan_all(frame(b"one")[:-1], is_final=True)
    assert (found.corrupt_records, found.corrupt_bytes) == (1, len(frame(b"one")) - 1)


def test_a_record_beyond_the_stretch_is_left_alone() -> None:
    """A stretch that ends early says nothing about its last record."""
    data = frame(b"one") + frame(frame(b"inner") + b"rest")[:-1]
    found = scan_all(data, at_end=False)
    assert (found.records, found.consumed) == ([b"one"], len(frame(b"one")))
    assert not found.is_torn


def test_damage_before_an_incomplete_record_is_skipped_and_the_record_waited_for() -> None:
    """Only what can still become whole is waited for."""
    found = scan_all(b"\0" * 20 + frame(b"one")[:6])
    assert (found.corrupt_bytes, found.consumed, found.is_torn) == (20, 20, True)


def test_damage_with_nothing_after_it_is_passed() -> None:
    """Zero bytes left by a power loss do not hold up the reader."""
    found = scan_all(b"\0" * 20)
    assert (found.corrupt_records, found.consumed, found.is_torn) == (1, 20, False)


def test_a_length_beyond_the_largest_record_is_damage() -> None:
    """A wild length is not waited for."""
    header = frame(b"")[:2] + (MAX_RECORD_BYTES + 1).to_bytes(4, "little") + b"\0" * 4
    assert scan_all(header + frame(b"one")).records == [b"one"]


def test_limits_stop_a_scan() -> None:
    """A scan ends with the record that reaches a limit."""
    data = frame(b"12345") * 4
    few = scan(data, max_records=2, max_bytes=99, at_end=True, is_final=False)
    small = scan(data, max_records=9, max_bytes=6, at_end=True, is_final=False)
    assert len(few.records) == len(small.records) == 2


def test_scans_add_up() -> None:
    """Stretches read one after the other make one result."""
    total = Scan([b"a"], 11, 1, 1, 4, is_torn=True, heard={ONE: Heard(1, 1, {"x": 2})})
    total.add(Scan([b"b"], 12, 2, 3, 5, heard={ONE: Heard(2, 9, {"x": 1, "y": 1})}))
    assert total == Scan([b"a", b"b"], 23, 3, 4, 9, heard={ONE: Heard(3, 9, {"x": 2, "y": 1})})


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (sealed_name(12), 12),
        (drained_name(3), 3),
        ("active.log", None),
        ("sealed-.log", None),
        ("sealed-1.txt", None),
        ("sealed--1.log", None),
    ],
)
def test_a_segments_number_is_read_from_its_name(name: str, number: int | None) -> None:
    """Only names that we give have a number."""
    assert segment_number(name) == number


def test_the_mark_begins_every_record() -> None:
    """A record starts with the byte that also says that a segment is written."""
    assert frame(b"x").startswith(OPEN_MARK)


def test_what_is_read_is_heard_by_writer() -> None:
    """Records are counted for their writers, and the highest number is kept."""
    data = frame(b"a", ONE, 2) + frame(b"b", TWO, 5) + frame(b"c", ONE, 1) + frame(b"d")
    found = scan_all(data)
    assert found.records == [b"a", b"b", b"c", b"d"]
    assert found.heard == {ONE: Heard(2, 2), TWO: Heard(1, 5)}


def test_losses_are_heard_and_are_no_record() -> None:
    """The writer's own account is not handed on; of two the later one counts."""
    data = frame(b'{"full":3}', ONE, 4, LOSSES) + frame(b'{"full":5}', ONE, 6, LOSSES)
    assert scan_all(data) == Scan([], len(data), heard={ONE: Heard(0, 6, {"full": 5})})


@pytest.mark.parametrize("payload", [b"", b"[]", b"3", b'{"a":"b"}', b'{"a":[]}', b"\xff"])
def test_losses_that_cannot_be_read_tell_nothing(payload: bytes) -> None:
    """Whatever another version wrote does no harm."""
    assert scan_all(frame(payload, ONE, 4, LOSSES)).heard == {ONE: Heard(0, 4)}


def test_a_kind_of_later_versions_is_passed_over() -> None:
    """An unknown kind is neither handed on nor counted."""
    assert scan_all(frame(b"?", ONE, 4, 9)) == Scan(
        [], len(frame(b"")) + 1, heard={ONE: Heard(0, 4)}
    )


@given(st.integers(0, len(frame(b"second")) * 8 - 1), st.booleans())
def test_every_flipped_bit_shows_as_a_gap_or_as_a_place(bit: int, has_follower: bool) -> None:
    """The damaged record's number was used; if its header is damaged too, the place tells."""
    framed = bytearray(frame(b"second", ONE, 2))
    framed[bit // 8] ^= 1 << bit % 8
    follower = frame(b"third", ONE, 3) if has_follower else b""
    found = scan_all(frame(b"first", ONE, 1) + bytes(framed) + follower, is_final=True)
    heard = found.heard[ONE]
    gap = heard.highest - heard.records
    assert len(found.heard) == 1
    assert max(gap, found.unnamed_damage) == 1


def test_a_torn_beginning_could_hold_no_record() -> None:
    """Less than a header that was overtaken is no loss by itself."""
    found = scan_all(frame(b"one", ONE, 1)[: HEADER_BYTES - 1] + frame(b"one", ONE, 1))
    assert (found.corrupt_records, found.unnamed_damage) == (1, 0)
    assert found.heard == {ONE: Heard(1, 1)}


def test_a_writer_is_shown_by_process_and_boot() -> None:
    """People read the process; the rest tells two lives of one number apart."""
    assert str(ONE) == "7-0000f55a"
