"""``hello``: how the agent introduces itself on every connection (PROTOCOL §2.1)."""

from __future__ import annotations

import functools
import os
import platform
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import metadata
from typing import Any, Final

from z4j_otel.agent.execution import allow_all
from z4j_otel.agent.policy import permitted
from z4j_otel.clock import iso_z
from z4j_otel.commands import Command
from z4j_otel.guard import note_failure
from z4j_otel.ids import new_boot_id
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.redaction import Redactor
from z4j_otel.wire.frames import Hello

__all__ = ["HelloBuilder", "agent_version", "capabilities_of"]

_PACKAGES: Final = ("z4j-otel", "opentelemetry-sdk", "websockets")


def agent_version() -> str:
    """Return this package's version, or ``""``, which the brain reads as unknown."""
    return _version_of("z4j-otel") or ""


@functools.cache
def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def capabilities_of(adapter: EngineAdapter) -> list[str]:
    """Return what an engine can do; nothing when it cannot tell, which ends no agent."""
    try:
        return list(adapter.capabilities())
    except Exception as error:  # noqa: BLE001 -- rim: adapters are third parties'
        note_failure(f"asking engine {adapter.name} what it can do", error)
        return []


class HelloBuilder:
    """Collects what ``hello`` says and builds it the same way every time.

    The brain keeps capabilities per token, not per connection (PROTOCOL §2.3): all
    processes that share a token should advertise the same engines.

    Args:
        framework: ``bare``, ``django``, ``fastapi``, ``flask`` or another word.
        agent_name: Shown as the host's name; the machine's name when empty.
        worker_role: ``web``, ``task``, ``scheduler``, ``beat``, ``other``, or empty.
        started_at_ns: When this process's agent was made, nanoseconds since the epoch.
        worker_id: Slot at the brain, unique per process; made up when None.
        pid: Of the process that captures; this one when None.
        host: Further facts about the machine, JSON values.
    """

    def __init__(
        self,
        *,
        framework: str = "bare",
        agent_name: str = "",
        worker_role: str = "",
        started_at_ns: int,
        worker_id: str | None = None,
        pid: int | None = None,
        host: Mapping[str, Any] | None = None,
    ) -> None:
        self.framework = framework
        self.worker_id = worker_id or _worker_id(framework)
        # A secret may have been pasted into the wrong setting.
        redactor = Redactor()
        self._agent_name = redactor.redact_name(agent_name)
        self._worker_role = redactor.redact_name(worker_role)
        self._started_at_ns = started_at_ns
        self._pid = pid or os.getpid()
        self._host = dict(host or {})
        self._capabilities: dict[str, list[str]] = {}
        self._schedulers: dict[str, list[str]] = {}

    def facts(self) -> dict[str, Any]:
        """Return the arguments that make an equal builder in another process, JSON values."""
        return {
            "framework": self.framework,
            "agent_name": self._agent_name,
            "worker_role": self._worker_role,
            "started_at_ns": self._started_at_ns,
            "worker_id": self.worker_id,
            "pid": self._pid,
            "host": self._host,
        }

    def add_engine(
        self, adapter: EngineAdapter, policy: Callable[[Command], None] = allow_all
    ) -> None:
        """List an engine with what it can do; a later one of the same name replaces it.

        Args:
            adapter: The engine.
            policy: What it denies is not listed: an operator is not offered a button that
                would only be refused.
        """
        self._capabilities[adapter.name] = permitted(capabilities_of(adapter), policy)

    @property
    def capabilities(self) -> dict[str, list[str]]:
        """What each engine may do here, by name."""
        return {name: list(self._capabilities[name]) for name in sorted(self._capabilities)}

    def add_scheduler(self, name: str, capabilities: Collection[str]) -> None:
        """List a scheduler with what it may do here; one that may do nothing is left out."""
        if not capabilities:
            return
        self._schedulers[name] = sorted(set(capabilities))

    def build(self, features: Iterable[str] = ()) -> Hello:
        """Return the introduction; equal for equal input.

        Args:
            features: Runtime features of this connection, besides those of all.
        """
        capabilities = {**self._capabilities, **self._schedulers}
        return Hello(
            agent_version=agent_version()[:40],
            framework=self.framework[:40],
            engines=sorted(self._capabilities),
            schedulers=sorted(self._schedulers),
            capabilities={name: capabilities[name] for name in sorted(capabilities)},
            host=self._describe_host(),
            worker_id=self.worker_id[:128],
            worker_role=self._worker_role[:32] or None,
            worker_pid=self._pid,
            worker_started_at=iso_z(self._started_at_ns),
            runtime_features=["retry_by_reference", *features],
        )

    def _describe_host(self) -> dict[str, Any]:
        hostname = socket.gethostname()
        packages = {name: version for name in _PACKAGES if (version := _version_of(name))}
        return {
            "hostname": hostname,
            "os": platform.system(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "packages": packages,
            **self._host,
            "name": self._agent_name or hostname,
        }


def _worker_id(framework: str) -> str:
    # Containers share process numbers, and forks share start times: only randomness is
    # unique. The rest is for people.
    host = socket.gethostname().partition(".")[0][:40]
    return f"{framework[:30]}-{host}-{os.getpid()}-{new_boot_id()[:8]}"
