"""Heartbeats and diagnostics of the moment."""

from __future__ import annotations

import pytest

from z4j_otel.agent.health import HealthProbe
from z4j_otel.agent.registry import RegistryNews
from z4j_otel.agent.reports import AgentReports
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.redaction import Redactor


@pytest.fixture
def reports(buffer, ledger, clock, kit):
    """Return the reports of an agent with one engine that answers at once."""
    registry = RegistryNews(Redactor())
    registry.note("celery", {"a": {}})
    probe = HealthProbe([kit.FakeEngine()], Redactor(), clock=clock, spawn=lambda job: job())
    return AgentReports(
        buffer,
        ledger,
        probe,
        registry,
        engines=["celery"],
        streaks=lambda: {"auth": 1},
        clock=clock,
    )


def test_registry_begins_anew_with_a_connection(reports):
    """A task is told once on each connection."""
    told = [len(reports.registry(is_first=is_first)) for is_first in (True, False, True)]
    assert told == [1, 0, 1]


def test_heartbeat_uses_last_known_health_and_current_numbers(reports, buffer, ledger, kit):
    """Each heartbeat asks the engines again and holds the buffer's present state."""
    kit.fill(buffer, 2)
    buffer.count_dropped(EntryKind.EVENT, DropReason.JOURNAL_FULL, 4)
    beat = reports.heartbeat()
    assert (beat.buffer_size, beat.dropped_events) == (2, 4)
    assert beat.adapter_health["celery.queue_depths"] == '{"celery": 3}'
    assert ledger.dropped_total() == 4


def test_status_has_streaks(reports, kit):
    """Diagnostics tell the failures before this session."""
    status = reports.status(kit.EPOCH_NS)
    assert (status.auth_failure_streak, status.engines) == (1, ["celery"])


def test_broken_buffer_does_not_end_heartbeats(reports, buffer, kit):
    """While the buffer cannot tell its state the last known one is used."""
    kit.fill(buffer, 2)
    reports.stats()
    buffer.close()
    assert reports.heartbeat().buffer_size == 2


@pytest.mark.parametrize(("offset_s", "told"), [(0.4, None), (-7200.04, "-7200.0")])
def test_clock_difference_goes_with_heartbeats(reports, offset_s, told):
    """A dashboard can see that a machine's clock is wrong, and by how much."""
    reports._clock_offset_s = lambda: offset_s
    assert reports.heartbeat().adapter_health.get("agent.clock_offset_s") == told
