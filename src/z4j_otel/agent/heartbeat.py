"""``heartbeat`` and ``agent_status``: what they say at this moment (PROTOCOL §4.3, §4.5).

Building them never waits: what engines tell comes from :mod:`z4j_otel.agent.health`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from z4j_otel.agent.health import HealthProbe
from z4j_otel.agent.hello import agent_version
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.registry import RegistryNews
from z4j_otel.buffer.base import BufferStats, EventBuffer
from z4j_otel.clock import Clock, iso_z
from z4j_otel.errors import BufferError_
from z4j_otel.wire.frames import AgentStatus, Heartbeat, RegistryDelta

__all__ = ["AgentReports", "build_heartbeat", "build_status"]

_logger = logging.getLogger(__name__)

_NS: Final = 1_000_000_000
_MAX_GAUGE: Final = 10_000_000
_MAX_STREAK: Final = 1_000_000
_WORTH_TELLING_S: Final = 1.0


class AgentReports:
    """Implements :class:`z4j_otel.agent.connection.Reports` from the agent's parts.

    Args:
        buffer: Asked for its state at every report.
        ledger: Takes over the buffer's losses.
        probe: Asked to look again behind every heartbeat.
        registry: Knows which tasks have not been told.
        engines: Names of all engines.
        streaks: Failures in a row by class name.
        clock: For ages.
        clock_offset_s: How far this machine's clock is behind the brain's, seconds.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        ledger: Ledger,
        probe: HealthProbe,
        registry: RegistryNews,
        *,
        engines: Sequence[str],
        streaks: Callable[[], dict[str, int]],
        clock: Clock,
        clock_offset_s: Callable[[], float] = float,
    ) -> None:
        self._buffer = buffer
        self._ledger = ledger
        self._probe = probe
        self._registry = registry
        self._engines = engines
        self._streaks = streaks
        self._clock = clock
        self._clock_offset_s = clock_offset_s
        self._stats = BufferStats(entries=0, bytes=0, oldest_ns=None)

    def stats(self) -> BufferStats:
        """Return the buffer's state, or the last known one while it cannot tell."""
        try:
            self._stats = self._buffer.stats()
        except BufferError_ as error:
            _logger.debug("the buffer cannot tell its state: %s", type(error).__name__)
        self._ledger.refresh(self._stats)
        return self._stats

    def heartbeat(self) -> Heartbeat:
        """Build a heartbeat with what the engines told last."""
        health = self._probe.latest()
        offset_s = self._clock_offset_s()
        if abs(offset_s) >= _WORTH_TELLING_S:
            health = {**health, "agent.clock_offset_s": f"{offset_s:.1f}"}
        return build_heartbeat(self.stats(), self._ledger, self._engines, health)

    def ask(self) -> None:
        """Have the engines asked for what the next heartbeat tells; returns at once."""
        self._probe.refresh()

    def registry(self, *, is_first: bool) -> list[RegistryDelta]:
        """Return which tasks appeared or went since the last call.

        Args:
            is_first: Return all tasks, for a connection that has been told none.
        """
        if is_first:
            self._registry.begin()
        return self._registry.take()

    def status(self, connected_at_ns: int) -> AgentStatus:
        """Build the diagnostics frame of a session."""
        return build_status(
            self.stats(),
            self._ledger,
            self._engines,
            streaks=self._streaks(),
            connected_at_ns=connected_at_ns,
            now_ns=self._clock.now_ns(),
        )


def build_heartbeat(
    stats: BufferStats, ledger: Ledger, engines: Iterable[str], health: dict[str, str]
) -> Heartbeat:
    """Build a heartbeat.

    Args:
        stats: The buffer's state.
        ledger: What was lost so far.
        engines: Names of all engines.
        health: ``<engine>.queue_depths`` and ``<engine>.worker_details`` as JSON text,
            already redacted.
    """
    return Heartbeat(
        buffer_size=min(stats.entries, _MAX_GAUGE),
        # The brain takes it for the workers' last sign of life: with the time of the last
        # delivery an idle worker would look dead. Without it the brain uses its own clock.
        last_flush_at=None,
        dropped_events=min(ledger.dropped_total(), _MAX_GAUGE),
        telemetry_loss=ledger.telemetry_loss(engines),
        adapter_health=health,
    )


def build_status(
    stats: BufferStats,
    ledger: Ledger,
    engines: Sequence[str],
    *,
    streaks: Mapping[str, int],
    connected_at_ns: int,
    now_ns: int,
) -> AgentStatus:
    """Build the diagnostics frame.

    Args:
        stats: The buffer's state.
        ledger: What was lost so far.
        engines: Names of all engines.
        streaks: Failures in a row before this connection, by class name.
        connected_at_ns: When this session was established, nanoseconds since the epoch.
        now_ns: Current time, nanoseconds since the epoch.
    """
    oldest_ns = stats.oldest_ns
    age_s = max(0, now_ns - oldest_ns) // _NS if oldest_ns else None
    return AgentStatus(
        telemetry_loss=ledger.telemetry_loss(engines),
        auth_failure_streak=min(streaks.get("auth", 0), _MAX_STREAK),
        protocol_failure_streak=min(streaks.get("protocol", 0), _MAX_STREAK),
        connection_failure_streak=min(streaks.get("connection", 0), _MAX_STREAK),
        last_successful_connect_at=iso_z(connected_at_ns),
        current_session_age_seconds=max(0, now_ns - connected_at_ns) // _NS,
        buffer_depth=stats.entries,
        buffer_oldest_age_seconds=age_s,
        agent_version=agent_version()[:40],
        engines=list(engines)[:32],
    )
