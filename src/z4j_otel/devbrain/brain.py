"""The embedded brain itself: everything in memory, no sockets, no threads of its own.

All state is guarded by one condition, which every public method takes.
Time passes only where ``tick`` is called: by the server, or by a test with its own clock.
"""

from __future__ import annotations

import secrets
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from z4j_otel.clock import Clock, SystemClock
from z4j_otel.devbrain.admission import IssueRefused, check_admission
from z4j_otel.devbrain.connection import BrainConnection
from z4j_otel.devbrain.faults import CloseWith
from z4j_otel.devbrain.longpoll import LongPollDesk
from z4j_otel.devbrain.operator import Operator
from z4j_otel.devbrain.orders import IssuedCommand, build_payload
from z4j_otel.devbrain.projects import AgentRecord, Credentials, Project
from z4j_otel.devbrain.rows import AgentRow, EventRow, QueueRow, TaskRow, WorkerRow
from z4j_otel.devbrain.state import BrainSettings, BrainState
from z4j_otel.wire.signing import purge_token

__all__ = [
    "BrainConnection",
    "BrainSettings",
    "CloseWith",
    "Credentials",
    "DevBrain",
    "IssueRefused",
]

_BUCKET_NS: Final = 60_000_000_000

T = TypeVar("T")


class DevBrain:
    """A brain without sockets.

    ``faults`` says what is to go wrong, ``operator`` is for what happens to it from
    outside. ``heartbeats`` and ``statuses`` hold the latest payloads with their agent's id,
    ``counts`` the numbers of connections, batches, events and accepted events.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        settings: BrainSettings = BrainSettings(),  # noqa: B008 -- frozen
    ) -> None:
        self._state = BrainState(clock or SystemClock(), settings)
        self._connects: dict[str, deque[int]] = {}
        self.faults = self._state.faults
        self.operator = Operator(self._state)
        self.heartbeats = self._state.heartbeats
        self.statuses = self._state.statuses
        self.counts = self._state.counts
        self.longpoll = LongPollDesk(self._state, self._check_bucket)
        """The HTTP routes for agents."""

    @property
    def settings(self) -> BrainSettings:
        """The settings it was made with."""
        return self._state.settings

    @property
    def clock(self) -> Clock:
        """The clock it was made with."""
        return self._state.clock

    @property
    def commands(self) -> list[IssuedCommand]:
        """All commands, in order of issue."""
        with self._state.changed:
            return list(self._state.commands.values())

    def mint_agent(self, name: str = "agent", *, project: str = "default") -> Credentials:
        """Make an agent, and its project when that is new."""
        with self._state.changed:
            home = self._state.project(project)
            agent = AgentRecord(str(uuid.uuid4()), name, home)
            token = secrets.token_urlsafe(32)
            self._state.agents[token] = agent
            return Credentials(token, home.hmac_secret, agent.id, home.id, home.slug)

    def open(self, token: str | None, *, peer: str = "127.0.0.1") -> BrainConnection:
        """Accept a connection, in the brain's own order of checks (PROTOCOL §1.5).

        Args:
            token: The bearer token, or None when the header was missing or malformed.
            peer: The address it came from.

        Raises:
            CloseWith: The brain closes at once: 4429, 4403 or 4401.
        """
        with self._state.changed:
            self._check_bucket(peer)
            allowed = self.settings.ip_allowlist
            if allowed is not None and peer not in allowed:
                raise CloseWith(4403)
            agent = self._state.agents.get(token or "")
            if agent is None or not agent.is_live:
                raise CloseWith(4401)
            self.counts["connections"] += 1
            return BrainConnection(self._state, agent)

    def issue(
        self,
        action: str,
        *,
        engine: str | None = None,
        task_id: str | None = None,
        agent_id: str | None = None,
        unchecked: bool = False,
        **parameters: Any,
    ) -> IssuedCommand:
        """Issue a command as an operator would, and deliver it when the agent is there.

        Args:
            action: As in PROTOCOL §6.7.
            engine: The engine it is for, for example ``celery``.
            task_id: The task it is about.
            agent_id: The agent to send it to; by default the one online that has the
                engine.
            unchecked: Skip the brain's admission rules, and wait for an agent that is
                not there yet.
            parameters: What else the command carries; ``observed_depth`` becomes the
                token of a ``purge_queue``.

        Raises:
            IssueRefused: The brain's API would refuse it.
        """
        with self._state.changed:
            now_ns = self.clock.now_ns()
            agent = self._addressee(agent_id, engine, now_ns, unchecked=unchecked)
            if not unchecked:
                check_admission(
                    action,
                    engine,
                    parameters,
                    agent_id=agent.id,
                    hello=agent.hello,
                    inventory=agent.project.inventory,
                )
            _complete(agent.project, action, engine, task_id, parameters)
            payload = build_payload(
                action,
                parameters,
                engine=engine,
                task_id=task_id,
                timeout_s=self.settings.command_timeout_s,
            )
            return self._state.order(agent, payload)

    def task(self, engine: str, task_id: str, *, project: str = "default") -> TaskRow | None:
        """Return a task's row, or None."""
        with self._state.changed:
            return self._state.project(project).tasks.row(engine, task_id)

    def tasks(self, *, project: str = "default") -> list[TaskRow]:
        """Return all tasks, oldest first."""
        with self._state.changed:
            return self._state.project(project).tasks.rows()

    def events(self, task_id: str | None = None, *, project: str = "default") -> list[EventRow]:
        """Return the stored events in order of arrival, of one task or of all."""
        with self._state.changed:
            events = self._state.project(project).intake.events
            return [event for event in events if task_id in {None, event.task_id}]

    def workers(self, *, project: str = "default") -> list[WorkerRow]:
        """Return the workers that events or heartbeats spoke of."""
        with self._state.changed:
            return self._state.project(project).inventory.workers()

    def queues(self, *, project: str = "default") -> list[QueueRow]:
        """Return the queues that events or heartbeats spoke of."""
        with self._state.changed:
            return self._state.project(project).inventory.queues()

    def agents(self) -> list[AgentRow]:
        """Return all agents of all projects."""
        with self._state.changed:
            now_ns = self.clock.now_ns()
            return [agent.row(now_ns) for agent in self._state.agents.values()]

    def wait_for(self, predicate: Callable[[], T], timeout_s: float = 10.0) -> T:
        """Block until the predicate holds and return what it returned.

        It is called again after every change, with the brain's lock held.

        Raises:
            TimeoutError: It did not hold within ``timeout_s`` seconds.
        """
        with self._state.changed:
            value = self._state.changed.wait_for(predicate, timeout_s)
            if not value:
                raise TimeoutError(f"not reached within {timeout_s} s")
            return value

    def tick(self) -> None:
        """Let time take effect: expire commands, close silent connections."""
        with self._state.changed:
            now_ns = self.clock.now_ns()
            for command in self._state.commands.values():
                command.expire(now_ns)
            for connection in self._state.connections():
                connection.check_idle(now_ns)
            self._state.changed.notify_all()

    def _check_bucket(self, peer: str) -> None:
        now_ns = self.clock.now_ns()
        recent = self._connects.setdefault(peer, deque())
        while recent and recent[0] <= now_ns - _BUCKET_NS:
            recent.popleft()
        if len(recent) >= self.settings.connects_per_minute:
            raise CloseWith(4429, "too many connections from this address")
        recent.append(now_ns)

    def _addressee(
        self, agent_id: str | None, engine: str | None, now_ns: int, *, unchecked: bool
    ) -> AgentRecord:
        agents = [agent for agent in self._state.agents.values() if agent_id in {None, agent.id}]
        online = [agent for agent in agents if agent.is_online(now_ns)]
        capable = [a for a in online if a.hello is not None and engine in {None, *a.hello.engines}]
        found = capable or online or (agents if unchecked else [])
        if not found:
            raise IssueRefused(503, "agent_offline")
        return found[0]


def _complete(
    project: Project,
    action: str,
    engine: str | None,
    task_id: str | None,
    parameters: dict[str, Any],
) -> None:
    """Add to a command's parameters what the real brain takes from its own tables."""
    if action == "purge_queue" and "observed_depth" in parameters:
        depth = parameters.pop("observed_depth")
        parameters["confirm_token"] = purge_token(project.key, parameters["queue"], depth)
    if action == "retry_task" and engine and task_id:
        row = project.tasks.row(engine, task_id)
        if row is not None:
            parameters.setdefault("task_name", row.name)
            parameters.setdefault("priority", row.priority)
            parameters.setdefault(
                "original_had_args", row.args is not None or row.kwargs is not None
            )
