"""The port through which the schedules of an engine are read and changed. Public.

An adapter whose engine has a scheduler of its own offers it by a method ``schedulers()``.
Methods block and are called from threads of the agent, never from a task's.

Rules every scheduler keeps:

* :meth:`Scheduler.read` returns everything or raises: the brain deletes what is missing.
* A change is one transaction of the scheduler's store. ``settle`` is called within it, with
  the entry as it is now, so that nobody's change is overwritten unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from z4j_otel.schedules import Schedule, ScheduleChange

__all__ = ["Scheduled", "Scheduler", "Settle"]

Settle = Callable[[Schedule | None], Mapping[str, Any]]
"""Takes an entry as it is (None: there is none), refuses the change by ``CommandRefused``, or
returns which members of the entry are to have which values."""


@runtime_checkable
class Scheduler(Protocol):
    """One scheduler of one engine instance."""

    name: str
    """Unique in the process, as an engine's name; the brain calls it the owner."""

    def capabilities(self) -> list[str]:
        """Return the scheduler's capability tokens (PROTOCOL §2.4), stable for its life.

        Of ``list``, ``read``, ``create``, ``update``, ``delete``, ``enable``, ``disable`` and
        ``trigger_now``; what the protocol needs besides is added by the agent.
        """
        ...

    def version(self) -> str:
        """Return a text that changes when a schedule is created, changed or deleted.

        Called every few seconds. It need not change with a schedule's runs.

        Raises:
            AdapterError: The store cannot be read.
        """
        ...

    def read(self) -> list[Schedule]:
        """Return all schedules.

        Raises:
            AdapterError: Not all of them can be read.
        """
        ...

    def apply(self, change: ScheduleChange, settle: Settle) -> str:
        """Carry out one change, whole or not at all, and return the entry's key.

        Raises:
            CommandUnsupported: This entry, or this scheduler, cannot be changed so.
            CommandRefused: ``settle`` refused it, or a value is not allowed.
            AdapterError: The store failed; ``indeterminate`` where it may have taken it.
        """
        ...

    def trigger(self, key: str, settle: Settle, *, task_id: str) -> dict[str, Any]:
        """Run an entry's task now, once, with its own arguments and options.

        Args:
            key: The ``source_key``.
            settle: See :meth:`apply`; what it returns is not used.
            task_id: The id to publish the task with.

        Returns:
            JSON values about what was published, for the operator.

        Raises:
            CommandRefused: There is no such entry, or ``settle`` refused.
            AdapterError: The broker did not take the task.
        """
        ...


@runtime_checkable
class Scheduled(Protocol):
    """What an adapter may have besides, where its engine has schedules."""

    def schedulers(self) -> Sequence[Scheduler]:
        """Return the schedulers in use, the same at every call; never raises."""
        ...
