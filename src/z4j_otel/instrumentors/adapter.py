"""The port through which commands reach an engine. Public: third parties implement it.

An *adapter* is the acting half of an engine. It carries out the brain's commands and tells
what the engine knows about its queues and workers. It knows no OpenTelemetry and nothing
of the wire: it is given a :class:`~z4j_otel.commands.Command` and returns plain values.

Rules every adapter keeps:

* Parameters come from outside. They are checked before use (see
  :mod:`z4j_otel.instrumentors.parameters`); nothing in them is evaluated, unpickled or
  imported.
* Success is told on evidence only. Work that may have happened without proof ends in an
  error with ``indeterminate`` set.
* Arguments shown to an operator are redacted by the brain, so a retry never runs them: it
  runs the engine's own copy, or what the operator typed.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from z4j_otel.commands import Command

__all__ = ["EngineAdapter", "TaskRegistry"]


@runtime_checkable
class EngineAdapter(Protocol):
    """What the agent needs of one engine instance to act on it."""

    name: str
    """Name of this instance, unique in the process: a letter or digit, then letters,
    digits, ``.``, ``_`` or ``-``, at most 40 characters (PROTOCOL §2.4)."""

    def capabilities(self) -> list[str]:
        """Return the capability tokens of this engine (PROTOCOL §2.4), stable for its life.

        Listing ``retry_by_reference_v1`` promises never to run arguments sent by the brain
        other than an operator's overrides.
        """
        ...

    def execute(self, command: Command) -> dict[str, Any]:
        """Carry out one command; blocks until there is evidence of its outcome.

        Called from worker threads, several at a time; the caller watches the deadline and
        redacts the result. May be called again with the same command after a crash.

        Args:
            command: The request; its engine is this one.

        Returns:
            The ``result`` object of the command (PROTOCOL §6.2), JSON values only.

        Raises:
            CommandUnsupported: This engine cannot do the action.
            CommandRefused: The parameters or the engine's state do not allow it.
            AdapterError: The engine reported an error, or cannot be reached.
        """
        ...

    def queue_depths(self) -> dict[str, int]:
        """Return how many messages wait in each queue, at most 1024 queues.

        Called at each heartbeat, off the event loop. Never raises; whatever cannot be
        measured is left out.
        """
        ...

    def worker_details(self) -> dict[str, dict[str, Any]]:
        """Return what is known of the workers of this process, by worker name.

        The values have the optional keys ``stats``, ``active``, ``active_queues``,
        ``registered`` and ``conf`` (PROTOCOL §4.3). The brain does not redact them: no
        arguments, no results, no broker address, no credentials. Never raises.
        """
        ...


@runtime_checkable
class TaskRegistry(Protocol):
    """What an adapter may have besides, to tell which tasks its worker can run."""

    def task_registry(self) -> dict[str, dict[str, Any]] | None:
        """Return the tasks by name, each with JSON values about it; None for unknown.

        Called at each heartbeat, off the event loop. Never raises.
        """
        ...
