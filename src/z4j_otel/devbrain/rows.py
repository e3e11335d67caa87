"""What the embedded brain answers when asked: rows named as in the real brain's REST API.

Rows are snapshots: they do not change after they were handed out. Times are ISO-8601
strings as the API gives them, or None.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec

from z4j_otel.clock import iso_z

__all__ = ["AgentRow", "AgentWorkerRow", "EventRow", "QueueRow", "TaskRow", "WorkerRow"]

_EVENT_NAMESPACE: Final = uuid.UUID("c4d2c84e-2f0a-4b6c-9c5b-1d6f9a1e7c2a")


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task as the brain sees it (PROTOCOL §5.6)."""

    project_id: str
    engine: str
    task_id: str
    name: str
    queue: str | None
    state: str
    """pending, received, started, success, failure, retry or revoked."""
    priority: str
    args: Any
    kwargs: Any
    result: Any
    exception: str | None
    traceback: str | None
    retry_count: int
    eta: str | None
    """Always None: no event fills it."""
    received_at: str | None
    started_at: str | None
    finished_at: str | None
    runtime_ms: int | None
    worker_name: str | None
    parent_task_id: str | None
    root_task_id: str | None
    tags: list[str]
    """Always empty: no event fills it."""
    fingerprint: str | None
    last_failed_at: str | None
    created_at: str
    updated_at: str

    @property
    def id(self) -> str:
        """The row's own UUID."""
        key = f"{self.project_id}:{self.engine}:{self.task_id}"
        return str(uuid.uuid5(_EVENT_NAMESPACE, key))


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stored event."""

    project_id: str
    agent_id: str
    engine: str
    task_id: str
    kind: str
    """As in PROTOCOL §5.5, for example ``task.sent``; ``unknown`` for any other."""
    occurred_at_ns: int
    """Cut to the second for events of a task (PROTOCOL §5.3)."""
    data: dict[str, Any]
    sent_id: str
    """The id the agent gave the event, which the brain does not keep for task events."""

    @property
    def id(self) -> str:
        """The identity by which the brain recognises duplicates."""
        if self.task_id:
            second = self.occurred_at_ns // 1_000_000_000
            text = f"{self.project_id}:{self.engine}:{self.task_id}:{self.kind}:{second}"
        else:
            text = f"{self.project_id}:{self.sent_id}"
        return str(uuid.uuid5(_EVENT_NAMESPACE, text))

    @property
    def event_type(self) -> str:
        """The kind with an underscore: ``task_sent``."""
        return self.kind.replace(".", "_")

    @property
    def occurred_at(self) -> str:
        """The stored time, ISO-8601."""
        return iso_z(self.occurred_at_ns)

    @property
    def payload(self) -> dict[str, Any]:
        """The event's data, by the REST API's name for it."""
        return self.data


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One queue (PROTOCOL §5.7, §4.3)."""

    project_id: str
    engine: str
    name: str
    pending_count: int | None
    """Only a heartbeat's ``queue_depths`` sets it."""
    last_seen_at: str


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of an engine (PROTOCOL §5.7, §4.3)."""

    project_id: str
    engine: str
    name: str
    state: str
    hostname: str | None
    pid: int | None
    concurrency: int | None
    queues: list[str]
    last_heartbeat: str | None
    load_average: list[float] | None
    active_tasks: int
    processed: int
    succeeded: int
    failed: int
    retried: int
    agent_id: str | None
    """The only agent that sent ``worker.*`` events of this worker, else None."""
    metadata: dict[str, Any]


class AgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One agent, as its last ``hello`` left it (PROTOCOL §2.3)."""

    id: str
    project_id: str
    name: str
    state: str
    protocol_version: str
    framework_adapter: str
    engine_adapters: list[str]
    scheduler_adapters: list[str]
    capabilities: dict[str, list[str]]
    host_name: str | None
    agent_version: str | None
    last_seen_at: str | None
    last_connect_at: str | None


class AgentWorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One slot of an agent: a process that is or was connected."""

    agent_id: str
    worker_id: str | None
    role: str | None
    framework: str
    pid: int | None
    started_at: str | None
    state: str
    last_seen_at: str
    last_connect_at: str
