"""The agent's counts and its loss report."""

from __future__ import annotations

import msgspec
import pytest

from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.wire.frames import TelemetryLoss

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
