"""What becomes of an agent's files when its process ends in order."""

from __future__ import annotations

import pytest

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.assembly import _facts, leave
from z4j_otel.agent.hello import HelloBuilder
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.agent.seat import Seat
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.config import load_config
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.journal.reader import JournalReader

NOW = 1_800_000_000 * 10**9
BEGIN, END = EventKind.TASK_STARTED, EventKind.TASK_SUCCEEDED
FACTS = TaskFacts("celery", "t1", "n")


def seat_of(folder, *kinds, **settings):
    """Return a seat whose records were all delivered."""
    given = {"brain_url": "http://127.0.0.1:1", "token": "t", "hmac_secret": "k" * 43 + "="}
    given |= settings
    seat = Seat.owner(load_config({**given, "home": str(folder)}, {}))
    for number, kind in enumerate(kinds):
        seat.sink.emit(LifecycleRecord(kind, FACTS, NOW + number))
    buffer = SqliteBuffer(seat.files.buffer_path)
    importer = JournalImporter(
        JournalReader(seat.journal_dir),
        buffer,
        Arbiter(recall=buffer.recall_story),
        source=seat.journal_dir.name,
        life=seat.files.boot_id,
    )
    importer.import_pending(NOW)
    entries = buffer.lease(10, max_bytes=10**6, now_ns=NOW)
    assert len(entries) == len(kinds)
    buffer.ack([entry.sequence for entry in entries])
    importer.close()
    buffer.close()
    return seat


@pytest.mark.parametrize("kinds", [(), (BEGIN, END)])
def test_files_with_nothing_left_are_deleted(tmp_path, kinds):
    """Everything was delivered, and every run has its end."""
    leave(seat_of(tmp_path, *kinds), None)

    assert list(tmp_path.iterdir()) == []


def test_files_with_a_run_that_nobody_ended_stay_for_the_next_agent(tmp_path):
    """Celery stops before it has given up on a child that died; somebody has to tell."""
    seat = seat_of(tmp_path, BEGIN)

    leave(seat, None)

    assert seat.files.buffer_path.exists()
    assert seat.journal_dir.exists()


def test_a_backlog_within_the_settings_stays_whole_at_the_end(tmp_path):
    """The caps at the end are those that the agent lived with, not the usual ones."""
    seat = seat_of(tmp_path, buffer_max_events=200_000)
    buffer = SqliteBuffer(seat.files.buffer_path, max_events=200_000)
    buffer.append([(EntryKind.EVENT, b"{}")] * 100_001, now_ns=NOW)
    buffer.close()
    seat.sink.emit(LifecycleRecord(BEGIN, FACTS, NOW))

    leave(seat, None)

    buffer = SqliteBuffer(seat.files.buffer_path, max_events=200_000)
    assert (buffer.stats().entries, buffer.stats().dropped) == (100_002, {})
    buffer.close()


def test_a_secret_in_the_wrong_setting_is_not_in_the_status(tmp_path):
    """Who pastes a token into the environment's name does not show it to whoever asks."""
    token = "ghp_" + "a1B2" * 9
    seat = seat_of(tmp_path, environment=f"eu {token}"[:40], project_id=token)

    facts = _facts(seat.files, seat.config, HelloBuilder(started_at_ns=0))

    assert (facts["environment"], facts["project"]) == ("eu [REDACTED]", "[REDACTED]")
    leave(seat, None)
