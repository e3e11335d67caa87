"""What happens to the embedded brain from outside: operators and accidents."""

from __future__ import annotations

from z4j_otel.devbrain.orders import REPEATABLE, IssuedCommand, build_payload
from z4j_otel.devbrain.projects import AgentRecord
from z4j_otel.devbrain.rows import AgentWorkerRow
from z4j_otel.devbrain.state import BrainState

__all__ = ["Operator"]

_MAX_PROBES = 100


class Operator:
    """Revokes, archives, disconnects, stalls and sweeps one brain."""

    def __init__(self, state: BrainState) -> None:
        self._state = state

    def revoke(self, agent_id: str) -> None:
        """Revoke an agent's token: its next frame costs 4003, its next connect 4401."""
        with self._state.changed:
            self._agent(agent_id).is_revoked = True

    def archive(self, project: str = "default") -> None:
        """Archive a project, with the same effect on all its agents."""
        with self._state.changed:
            self._state.project(project).is_archived = True

    def rotate_secret(self, project: str = "default") -> None:
        """Change a project's signing key; agents are closed with 4403 until minted anew."""
        with self._state.changed:
            self._state.project(project).rotate()

    def disconnect(self, code: int = 1012, reason: str = "", *, agent_id: str | None = None) -> int:
        """Close every connection, or those of one agent; returns how many."""
        with self._state.changed:
            closed = 0
            for agent in self._state.agents.values():
                if agent_id in {None, agent.id}:
                    for connection in agent.connections():
                        connection.close(code, reason)
                        closed += 1
            return closed

    def stall(self) -> None:
        """Stop reading what agents send, until ``resume``."""
        with self._state.changed:
            self._state.faults.is_stalled = True

    def resume(self) -> None:
        """Read again, first what came in the meantime."""
        with self._state.changed:
            self._state.faults.is_stalled = False
            for connection in list(self._state.readers):
                connection.resume()

    def redeliver(self, command: IssuedCommand) -> None:
        """Deliver a command again, as the brain may (PROTOCOL §6.1).

        Raises:
            ValueError: The brain never repeats this action.
        """
        if command.action not in REPEATABLE:
            raise ValueError(f"{command.action} is delivered at most once")
        with self._state.changed:
            for connection in self._agent(command.agent_id).connections()[:1]:
                connection.send_command(command, self._state.clock.now_ns())

    def reconcile_stale(self, project: str = "default") -> list[IssuedCommand]:
        """Ask agents about tasks that are unfinished for too long (PROTOCOL §6.2)."""
        with self._state.changed:
            now_ns = self._state.clock.now_ns()
            home = self._state.project(project)
            before_ns = now_ns - int(self._state.settings.reconcile_after_s * 1e9)
            probes = []
            for engine, task_id in list(home.tasks.unfinished_before(before_ns))[:_MAX_PROBES]:
                agent = self._online_with(engine, now_ns)
                if agent is not None:
                    payload = build_payload(
                        "reconcile_task",
                        {},
                        engine=engine,
                        task_id=task_id,
                        timeout_s=self._state.settings.command_timeout_s,
                    )
                    probes.append(self._state.order(agent, payload))
            return probes

    def agent_workers(self) -> list[AgentWorkerRow]:
        """Return the slots of all agents."""
        with self._state.changed:
            return [row for agent in self._state.agents.values() for row in agent.worker_rows()]

    def _agent(self, agent_id: str) -> AgentRecord:
        return next(agent for agent in self._state.agents.values() if agent.id == agent_id)

    def _online_with(self, engine: str, now_ns: int) -> AgentRecord | None:
        for agent in self._state.agents.values():
            if agent.is_online(now_ns) and agent.hello and engine in agent.hello.engines:
                return agent
        return None
