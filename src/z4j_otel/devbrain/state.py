"""What all connections of an embedded brain share, behind one lock."""

from __future__ import annotations

import secrets
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, RLock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from z4j_otel.clock import Clock, parse_iso_ns
from z4j_otel.devbrain.admission import keeps_retry_contract
from z4j_otel.devbrain.brain_rules import BrainRules
from z4j_otel.devbrain.faults import Faults
from z4j_otel.devbrain.orders import IssuedCommand, OrderStatus
from z4j_otel.devbrain.projects import AgentRecord, Project
from z4j_otel.wire.frames import CommandPayload
from z4j_otel.wire.session import CommandAcked, CommandFinished

if TYPE_CHECKING:
    from z4j_otel.devbrain.connection import BrainConnection

__all__ = ["BrainSettings", "BrainState"]

_NS: Final = 1_000_000_000
_MAX_HISTORY: Final = 10_000
_MAX_PENDING: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainSettings:
    """The real brain's settings that an agent can notice, with their defaults."""

    brain_version: str = "1.13.0"
    max_frame_bytes: int = 1_048_576
    heartbeat_interval_s: int = 10
    idle_timeout_s: float = 90.0
    """Silence after which a connection is closed with 4408."""
    worker_cap: int = 64
    """Connections of one agent; 0 means unlimited."""
    connects_per_minute: int = 600
    """Connections and HTTP requests of one address within 60 seconds."""
    max_request_bytes: int = 8192
    """Largest body of an HTTP request; frames of a WebSocket have their own limit."""
    ip_allowlist: frozenset[str] | None = None
    command_timeout_s: float = 60.0
    reconcile_after_s: float = 900.0
    max_string_bytes: int = 8192
    extra_key_patterns: tuple[str, ...] = ()
    is_projecting: bool = True
    """False: verify, count and acknowledge only. For benchmarks."""

    @property
    def idle_ns(self) -> int:
        """The idle timeout in nanoseconds."""
        return int(self.idle_timeout_s * _NS)


class BrainState:
    """Projects, agents, commands and what is to go wrong; guarded by ``changed``."""

    def __init__(self, clock: Clock, settings: BrainSettings) -> None:
        self.clock = clock
        self.settings = settings
        self.changed = Condition(RLock())
        self.faults = Faults()
        self.agents: dict[str, AgentRecord] = {}
        """By token."""
        self.commands: dict[str, IssuedCommand] = {}
        """By id, in order of issue."""
        self.heartbeats: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_MAX_HISTORY)
        self.statuses: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_MAX_HISTORY)
        self.counts: Counter[str] = Counter()
        self._master = secrets.token_urlsafe(32)
        self._rules = BrainRules(
            max_string_bytes=settings.max_string_bytes,
            extra_key_patterns=settings.extra_key_patterns,
        )
        self._projects: dict[str, Project] = {}
        self.readers: WeakSet[BrainConnection] = WeakSet()
        """Connections that may hold unread messages."""

    def project(self, slug: str) -> Project:
        """Return a project, made on first use."""
        project = self._projects.get(slug)
        if project is None:
            project = Project(slug, self._master, self._rules, self._is_foreign)
            self._projects[slug] = project
        return project

    def connections(self) -> list[BrainConnection]:
        """Return the connections that hold a slot."""
        return [conn for agent in self.agents.values() for conn in agent.connections()]

    def order(self, agent: AgentRecord, payload: CommandPayload) -> IssuedCommand:
        """Enter a command and deliver it when the agent is there."""
        command = IssuedCommand(
            id=str(uuid.uuid4()),
            project_id=agent.project.id,
            agent_id=agent.id,
            payload=payload,
            issued_at_ns=self.clock.now_ns(),
            waiter=self._is_reached,
        )
        self.commands[command.id] = command
        self.deliver_pending(agent)
        return command

    def take_events(self, agent: AgentRecord, events: list[Any], now_ns: int) -> int:
        """Take in one batch; returns how many events are newly stored."""
        self.counts["batches"] += 1
        self.counts["events"] += len(events)
        accepted = len(events)
        if self.settings.is_projecting:
            take = agent.project.intake.take
            accepted = sum([take(event, agent.id, now_ns) for event in events])
        self.counts["accepted"] += accepted
        return accepted

    def take_ack(self, agent: AgentRecord, session_id: str, ack: CommandAcked) -> None:
        """Note that a command arrived."""
        command = self._answered(agent, ack.command_id)
        if command and command.may_answer(session_id, ack.claim_token):
            command.is_acked = True

    def take_result(
        self, agent: AgentRecord, session_id: str, finished: CommandFinished, now_ns: int
    ) -> None:
        """Take a command's outcome; unknown, foreign, late and repeated ones change nothing."""
        command = self._answered(agent, finished.command_id)
        if command is None or not command.may_answer(session_id, finished.claim_token):
            return
        command.expire(now_ns)
        if command.finish(finished.result, now_ns) and command.action == "reconcile_task":
            self._reconcile(agent.project, command, now_ns)

    def deliver_pending(self, agent: AgentRecord) -> None:
        """Send an agent its waiting commands, oldest first (PROTOCOL §2.3, §6.1)."""
        now_ns = self.clock.now_ns()
        waiting = [
            command
            for command in self.commands.values()
            if command.agent_id == agent.id and command.status is OrderStatus.PENDING
        ]
        for command in waiting[:_MAX_PENDING]:
            engine = command.payload.target.engine
            for connection in agent.connections():
                if connection.hello and keeps_retry_contract(
                    connection.hello, command.action, engine
                ):
                    connection.send_command(command, now_ns)
                    break

    def _is_reached(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        with self.changed:
            return self.changed.wait_for(predicate, timeout_s)

    def _is_foreign(self, own: Project, task_id: str) -> bool:
        return any(
            project.tasks.has_id(task_id)
            for project in self._projects.values()
            if project is not own
        )

    def _answered(self, agent: AgentRecord, command_id: str) -> IssuedCommand | None:
        command = self.commands.get(command_id)
        return command if command is not None and command.agent_id == agent.id else None

    def _reconcile(self, project: Project, command: IssuedCommand, now_ns: int) -> None:
        if command.status is not OrderStatus.COMPLETED or not isinstance(command.result, dict):
            return
        parameters = command.payload.parameters
        finished_at = command.result.get("finished_at")
        try:
            finished_ns = parse_iso_ns(finished_at) if isinstance(finished_at, str) else None
        except ValueError:
            finished_ns = None
        project.tasks.reconcile(
            str(parameters.get("engine")),
            str(parameters.get("task_id")),
            {**command.result, "finished_at_ns": finished_ns},
            now_ns,
        )
