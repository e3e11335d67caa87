"""The agent's counts and its loss report."""

from __future__ import annotations

import msgspec
import pytest

from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.journal.format import Heard, WriterId
from z4j_otel.wire.frames import TelemetryLoss

ONE = WriterId(7, 0xAB)
LOSSES = {
    (EntryKind.EVENT, DropReason.BUFFER_FULL): 5,
    (EntryKind.EVENT, DropReason.TOO_LARGE): 2,
    (EntryKind.EVENT, DropReason.JOURNAL_CORRUPT): 1,
    (EntryKind.COMMAND_RESULT, DropReason.REJECTED): 3,
    (EntryKind.COMMAND_RESULT, DropReason.BUFFER_CORRUPT): 0,
}


def test_loss_report_sorts_by_cause_and_kind(ledger):
    """Every lost entry appears once among the causes and once among the kinds."""
    ledger.losses = LOSSES
    report = ledger.telemetry_loss()
    assert (report.capacity_evicted_frames, report.content_rejected_frames) == (5, 5)
    assert report.unclassified_frames == 1
    assert (report.event_records, report.command_results) == (8, 3)
    assert ledger.dropped_total() == 11


def test_report_names_engines(ledger):
    """All engines are listed, with what was lost of them at capture."""
    ledger.lost_at_capture("rq", 4)
    assert ledger.telemetry_loss(["celery", "rq"]).adapter_events == {"celery": 0, "rq": 4}


def test_report_keeps_the_bounds_of_the_wire():
    """Ids, names and numbers stay within what the brain accepts, whatever happens."""
    ledger = Ledger(buffer_id="b" * 100, runtime_id="r" * 100)
    ledger.losses = {(EntryKind.EVENT, DropReason.BUFFER_FULL): 2**60}
    report = ledger.telemetry_loss([f"engine-{n}" for n in range(50)])
    assert msgspec.convert(msgspec.to_builtins(report), TelemetryLoss) == report
    assert len(report.adapter_events) == 32


@pytest.mark.parametrize("name", ["imported", "sent", "resent", "acked", "results_sent"])
def test_snapshot_shows_every_counter(ledger, name):
    """Each counter is found under its own name."""
    setattr(ledger, name, 9)
    assert ledger.snapshot()[name] == 9


def test_snapshot_shows_only_what_was_dropped(ledger):
    """Reasons without a loss are left out."""
    ledger.losses = LOSSES
    assert ledger.snapshot()["dropped"] == {
        "event.buffer_full": 5,
        "event.too_large": 2,
        "event.journal_corrupt": 1,
        "command_result.rejected": 3,
    }


def kept(ledger: Ledger, heard: dict[WriterId, Heard], buffer, **more: int) -> None:
    """Book a stretch of the journal with its entries, as an importer does."""
    records = sum(one.records for one in heard.values())
    twice = more.get("told_twice", 0)
    booking = ledger.book(heard, records=records, told_twice=twice, unnamed_damage=0)
    entries = [(EntryKind.EVENT, b"{}")] * (records - twice)
    buffer.append(entries, now_ns=0, accounts=booking.encode())
    ledger.keep(booking, 0)


def test_what_processes_dropped_is_reported(ledger):
    """Losses in task processes stand beside those of the buffer."""
    buffer = MemoryBuffer(max_events=3)
    ledger.open(buffer)
    kept(ledger, {ONE: Heard(5, 9, {"journal_full": 3, "unencodable": 1})}, buffer)
    terms = ledger.conservation(buffer)
    assert terms.closes
    report = ledger.telemetry_loss()
    assert (report.capacity_evicted_frames, report.content_rejected_frames) == (5, 1)
    assert report.buffer_id == buffer.buffer_id
    assert ledger.counters()["dropped"] == {
        "event.buffer_full": 2,
        "event.journal_full": 3,
        "event.unencodable": 1,
    }


def test_the_account_outlives_the_agent(ledger, tmp_path):
    """A restarted agent goes on counting where the last commit was."""
    buffer = SqliteBuffer(tmp_path / "b.sqlite")
    ledger.open(buffer)
    kept(ledger, {ONE: Heard(2, 2)}, buffer, told_twice=1)
    buffer.ack([1])
    buffer.close()
    buffer = SqliteBuffer(tmp_path / "b.sqlite")
    again = Ledger(buffer_id="x", runtime_id="r")
    again.open(buffer)
    assert (again.equation.captured, again.equation.acked, again.equation.told_twice) == (2, 1, 1)
    assert again.equation.closes
    assert again.snapshot()["buffer_id"] == ledger.buffer_id
    buffer.close()


def test_processes_are_listed(ledger):
    """Each with what it was given and what became of that; forgotten ones as one sum."""
    ledger.open(MemoryBuffer())
    heard = {WriterId(n, 0): Heard(1, 1) for n in range(512)}
    kept(ledger, heard | {ONE: Heard(1, 4, {"journal_full": 1})}, MemoryBuffer())
    others, *_, last = ledger.snapshot()["processes"]
    assert (others["process"], others["captured"]) == ("1 others", 1)
    assert last == {
        "process": "7-000000ab",
        "captured": 4,
        "imported": 1,
        "missing": 2,
        "dropped": {"journal_full": 1},
    }


def test_an_unreadable_database_leaves_the_past_unknown(ledger, tmp_path):
    """Numbers that were delivered before are not taken for lost."""
    path = tmp_path / "b.sqlite"
    path.write_bytes(b"no database" * 500)
    buffer = SqliteBuffer(path)
    ledger.open(buffer)
    kept(ledger, {ONE: Heard(2, 900)}, buffer)
    terms = ledger.conservation(buffer)
    assert (terms.captured, terms.late, terms.closes) == (2, 0, True)
    buffer.close()
