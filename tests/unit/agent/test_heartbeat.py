"""Heartbeats and diagnostics of the moment."""

from __future__ import annotations

import msgspec
import pytest

from z4j_otel.agent.health import HealthProbe
from z4j_otel.agent.heartbeat import AgentReports, build_heartbeat, build_status
from z4j_otel.agent.registry import RegistryNews
from z4j_otel.buffer.base import BufferStats, DropReason, EntryKind
from z4j_otel.redaction import Redactor
from z4j_otel.wire.frames import AgentStatus, Heartbeat

STATS = BufferStats(entries=7, bytes=70, oldest_ns=1_699_999_990_000_000_000)


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
    """A heartbeat has what the engines told when last asked, and the buffer's present state."""
    kit.fill(buffer, 2)
    buffer.count_dropped(EntryKind.EVENT, DropReason.JOURNAL_FULL, 4)
    reports.ask()
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


def test_heartbeat_tells_buffer_and_losses(ledger):
    """A heartbeat has the buffer's size, all losses and the engines' health."""
    ledger.losses = {(EntryKind.EVENT, DropReason.BUFFER_FULL): 3}
    beat = build_heartbeat(STATS, ledger, ["celery"], {"celery.queue_depths": "{}"})
    assert (beat.buffer_size, beat.dropped_events) == (7, 3)
    assert beat.telemetry_loss.adapter_events == {"celery": 0}
    assert beat.adapter_health == {"celery.queue_depths": "{}"}
    assert beat.last_flush_at is None


def test_heartbeat_keeps_the_bounds_of_the_wire(ledger):
    """Enormous numbers are capped rather than refused by the brain."""
    ledger.losses = {(EntryKind.EVENT, DropReason.BUFFER_FULL): 10**9}
    beat = build_heartbeat(BufferStats(10**9, 0, None), ledger, [], {})
    assert msgspec.convert(msgspec.to_builtins(beat), Heartbeat) == beat


def test_status_tells_ages_and_streaks(kit, ledger):
    """Diagnostics hold ages in seconds and the failures before this session."""
    now_ns = kit.EPOCH_NS
    status = build_status(
        STATS,
        ledger,
        ["celery"],
        streaks={"auth": 2, "connection": 5},
        connected_at_ns=now_ns - 3_000_000_000,
        now_ns=now_ns,
    )
    assert (status.current_session_age_seconds, status.buffer_oldest_age_seconds) == (3, 10)
    assert (status.auth_failure_streak, status.protocol_failure_streak) == (2, 0)
    assert status.connection_failure_streak == 5
    assert msgspec.convert(msgspec.to_builtins(status), AgentStatus) == status


def test_status_of_an_empty_buffer_has_no_age(kit, ledger):
    """Without entries there is no oldest one."""
    stats = BufferStats(0, 0, None)
    status = build_status(stats, ledger, [], streaks={}, connected_at_ns=kit.EPOCH_NS, now_ns=0)
    assert status.buffer_oldest_age_seconds is None
    assert status.current_session_age_seconds == 0
