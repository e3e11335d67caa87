"""The state behind the embedded brain's facade: projects and agents."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from z4j_otel.clock import iso_z
from z4j_otel.devbrain.brain_rules import BrainRules
from z4j_otel.devbrain.intake import Intake
from z4j_otel.devbrain.inventory import Inventory
from z4j_otel.devbrain.projection import TaskTable
from z4j_otel.devbrain.rows import AgentRow, AgentWorkerRow
from z4j_otel.wire.frames import Hello

if TYPE_CHECKING:
    from z4j_otel.devbrain.connection import BrainConnection

__all__ = ["AgentRecord", "Credentials", "Project", "Slot", "derive_project_key"]

_OFFLINE_AFTER_NS: Final = 30_000_000_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an operator copies from the brain into an agent's environment."""

    token: str = field(repr=False)
    hmac_secret: str = field(repr=False)
    agent_id: str
    project_id: str
    """The project's UUID."""
    project: str
    """The project's slug: the value of ``Z4J_PROJECT_ID``."""


def derive_project_key(master: str, project_id: str) -> bytes:
    """Return a project's signing key (PROTOCOL §0)."""
    message = b"z4j-project-secret-v1:" + uuid.UUID(project_id).bytes_le
    return hmac.new(master.encode(), message, hashlib.sha256).digest()


class Project:
    """One project: its key and its tables."""

    def __init__(
        self,
        slug: str,
        master: str,
        rules: BrainRules,
        is_foreign: Callable[[Project, str], bool],
    ) -> None:
        self.slug = slug
        self.id = str(uuid.uuid4())
        self.key = derive_project_key(master, self.id)
        self.is_archived = False
        self.tasks = TaskTable(self.id, lambda task_id: is_foreign(self, task_id))
        self.inventory = Inventory(self.id)
        self.intake = Intake(self.id, rules, self.tasks, self.inventory)

    def rotate(self) -> None:
        """Take another signing key, for sessions that begin from now on."""
        self.key = derive_project_key(uuid.uuid4().hex, self.id)

    @property
    def hmac_secret(self) -> str:
        """The key as operators see it."""
        return base64.urlsafe_b64encode(self.key).decode("ascii")


@dataclass(slots=True)
class Slot:
    """One process of an agent; outlives its connection."""

    hello: Hello
    connected_ns: int
    seen_ns: int
    connection: BrainConnection | None


@dataclass(slots=True, eq=False)
class AgentRecord:
    """One agent."""

    id: str
    name: str
    project: Project
    is_revoked: bool = False
    hello: Hello | None = None
    """The last accepted; last hello wins (PROTOCOL §2.3)."""
    seen_ns: int | None = None
    connected_ns: int | None = None
    polled_ns: int | None = None
    """When its last frame came by long-poll."""
    slots: dict[str | None, Slot] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether the token works."""
        return not self.is_revoked and not self.project.is_archived

    def connections(self) -> list[BrainConnection]:
        """Return the live connections, in order of their slots."""
        return [slot.connection for slot in self.slots.values() if slot.connection is not None]

    def is_online(self, now_ns: int) -> bool:
        """Whether the agent is connected and was heard lately."""
        is_polling = self.polled_ns is not None and now_ns - self.polled_ns <= _OFFLINE_AFTER_NS
        return (
            (is_polling or bool(self.connections()))
            and self.seen_ns is not None
            and now_ns - self.seen_ns <= _OFFLINE_AFTER_NS
        )

    def row(self, now_ns: int) -> AgentRow:
        """Return a snapshot."""
        hello = self.hello or Hello(agent_version="", framework="")
        host_name = hello.host.get("name")
        return AgentRow(
            id=self.id,
            project_id=self.project.id,
            name=self.name,
            state="online" if self.is_online(now_ns) else "offline",
            protocol_version=hello.protocol_version,
            framework_adapter=hello.framework,
            engine_adapters=list(hello.engines),
            scheduler_adapters=list(hello.schedulers),
            capabilities=dict(hello.capabilities),
            host_name=host_name if isinstance(host_name, str) else None,
            agent_version=hello.agent_version or None,
            last_seen_at=None if self.seen_ns is None else iso_z(self.seen_ns),
            last_connect_at=None if self.connected_ns is None else iso_z(self.connected_ns),
        )

    def worker_rows(self) -> list[AgentWorkerRow]:
        """Return snapshots of the slots."""
        return [
            AgentWorkerRow(
                agent_id=self.id,
                worker_id=worker_id,
                role=slot.hello.worker_role,
                framework=slot.hello.framework,
                pid=slot.hello.worker_pid,
                started_at=slot.hello.worker_started_at,
                state="offline" if slot.connection is None else "online",
                last_seen_at=iso_z(slot.seen_ns),
                last_connect_at=iso_z(slot.connected_ns),
            )
            for worker_id, slot in self.slots.items()
        ]
