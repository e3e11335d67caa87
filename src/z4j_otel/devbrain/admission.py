"""Whether the brain would let an operator issue a command (PROTOCOL §2.4, §6.4)."""

from __future__ import annotations

from typing import Any, Final

from z4j_otel.devbrain.inventory import Inventory
from z4j_otel.wire.frames import Hello

__all__ = ["IssueRefused", "check_admission", "keeps_retry_contract"]

RETRY_CONTRACT: Final = "retry_by_reference_v1"
_RETRIES: Final = frozenset({"retry_task", "bulk_retry"})
_GATED: Final = frozenset({"cancel_task", "requeue_dead_letter"})
_WORKER_ACTIONS: Final = frozenset(
    ["restart_worker", "pool_grow", "pool_shrink", "add_consumer", "cancel_consumer"]
)
_REFERENCE_ENGINES: Final = frozenset({"celery", "rq"})


class IssueRefused(Exception):
    """The brain's API would refuse the command with this HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.status}: {self.detail}"


def keeps_retry_contract(hello: Hello, action: str, engine: str | None) -> bool:
    """Whether a session may be given this command."""
    if action not in _RETRIES:
        return True
    return engine is not None and RETRY_CONTRACT in hello.capabilities.get(engine, ())


def check_admission(
    action: str,
    engine: str | None,
    parameters: dict[str, Any],
    *,
    agent_id: str,
    hello: Hello | None,
    inventory: Inventory,
) -> None:
    """Check a command against what the agent's last ``hello`` listed.

    An agent that never said ``hello``, because it only polls, is given task commands
    unchecked (PROTOCOL §7).

    Raises:
        IssueRefused: With the status the real API answers.
    """
    if hello is None:
        if action in _WORKER_ACTIONS:
            raise IssueRefused(422, "the agent has reported no engines")
        return
    tokens = hello.capabilities.get(engine or "", []) if engine in hello.engines else []
    needed = {action} if action in _RETRIES | _GATED | _WORKER_ACTIONS else set()
    if action in _RETRIES:
        needed.add(RETRY_CONTRACT)
    if action == "dlq.list" and "list_dead_letters" not in tokens:
        raise IssueRefused(409, "no online agent lists dead letters of this engine")
    if needed - set(tokens):
        raise IssueRefused(422, f"agent does not list {action!r} for {engine!r}: {sorted(tokens)}")
    if action == "retry_task" and engine not in _REFERENCE_ENGINES:
        overrides = (parameters.get("override_args"), parameters.get("override_kwargs"))
        if None in overrides:
            raise IssueRefused(409, f"engine {engine!r} needs both overrides for a retry")
    if action in _WORKER_ACTIONS:
        _check_worker_link(parameters.get("worker_name"), engine, agent_id, inventory)


def _check_worker_link(
    name: str | None, engine: str | None, agent_id: str, inventory: Inventory
) -> None:
    rows = [row for row in inventory.workers() if row.name == name and engine in {None, row.engine}]
    if name is None or len(rows) != 1 or inventory.reporters(name, engine) != {agent_id}:
        raise IssueRefused(422, "worker has no unambiguous reporting relationship to this agent")
