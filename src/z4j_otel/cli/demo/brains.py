"""The two brains a demo can run against, behind one view of what they know."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

import msgspec

from z4j_otel.cli.real_brain import RealBrain
from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.devbrain.server import BrainThread

__all__ = ["BrainView", "EmbeddedBrain", "InstalledBrain"]

_RANKS = {"task.received": 1, "task.started": 2, "task.rejected": 3}
_RANKS |= dict.fromkeys(("task.retried", "task.succeeded", "task.failed", "task.revoked"), 4)
"""The real brain lists the events of one second in any order."""


class BrainView(Protocol):
    """What the demo asks of a brain."""

    title: str
    is_ordered: bool
    """Whether it keeps the order of a task's events within one second."""

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def environment(self) -> Mapping[str, str]:
        """Return the variables an agent needs."""
        ...

    def task(self, task_id: str) -> dict[str, Any] | None:
        """Return a task's row, or None while there is none."""
        ...

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's events, each with ``kind`` and ``data``."""
        ...

    def workers(self) -> list[str]:
        """Return the names of the workers it knows."""
        ...

    def command(self, action: str, task_id: str, timeout_s: float) -> dict[str, Any]:
        """Issue ``retry_task`` or ``cancel_task`` and wait for its end.

        Returns:
            ``status`` (``completed``, ``failed``, ``timeout``), ``result`` and ``error``.
        """
        ...

    def lines(self) -> list[str]:
        """Return what to tell the user of it: addresses, logins."""
        ...


class EmbeddedBrain:
    """The brain of ``z4j-otel brain``, in a thread of this process."""

    title = "embedded brain"
    is_ordered = True

    def __init__(self) -> None:
        self._thread = BrainThread()

    def __enter__(self) -> EmbeddedBrain:  # noqa: PYI034 -- Self needs Python 3.11
        self._thread.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.__exit__(kind, error, trace)

    @property
    def inner(self) -> DevBrain:
        """The brain itself, with its faults."""
        return self._thread.brain

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._thread.url.rpartition(":")[2])

    def environment(self) -> Mapping[str, str]:
        """Return the variables an agent needs."""
        return self._thread.env()

    def task(self, task_id: str) -> dict[str, Any] | None:
        """Return a task's row, or None while there is none."""
        row = self.inner.task("celery", task_id)
        return None if row is None else msgspec.structs.asdict(row)

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's events in the order they arrived."""
        events = self.inner.events(task_id)
        return [{"kind": event.kind, "data": event.data} for event in events]

    def workers(self) -> list[str]:
        """Return the names of the workers it knows."""
        return [worker.name for worker in self.inner.workers()]

    def command(self, action: str, task_id: str, timeout_s: float) -> dict[str, Any]:
        """Issue a command and wait for its end."""
        issued = self.inner.issue(action, engine="celery", task_id=task_id)
        ended = issued.wait(timeout_s)
        return {"status": ended.status.value, "result": ended.result, "error": ended.error}

    def lines(self) -> list[str]:
        """Return nothing: it has no pages and ends with the demo."""
        return []


class InstalledBrain:
    """The real brain (PyPI ``z4j``), in a process of its own."""

    title = "real brain (z4j)"
    is_ordered = False

    def __init__(self) -> None:
        self._brain = RealBrain()
        self._agent: Any = None

    def __enter__(self) -> InstalledBrain:  # noqa: PYI034 -- Self needs Python 3.11
        self._brain.__enter__()
        self._agent = self._brain.mint_agent("demo")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._brain.__exit__(kind, error, trace)

    def environment(self) -> Mapping[str, str]:
        """Return the variables an agent needs."""
        return dict(self._agent.environment())

    def task(self, task_id: str) -> dict[str, Any] | None:
        """Return a task's row, or None while there is none."""
        return self._brain.api.task(task_id)

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's events in the order of a life, as far as whole seconds tell."""
        events = sorted(
            self._brain.api.events(task_id),
            key=lambda event: (event["occurred_at"], _RANKS.get(event["kind"], 0)),
        )
        return [{"kind": event["kind"], "data": event["payload"]} for event in events]

    def workers(self) -> list[str]:
        """Return the names of the workers it knows."""
        return [worker["name"] for worker in self._brain.api.list_all("workers")]

    def command(self, action: str, task_id: str, timeout_s: float) -> dict[str, Any]:
        """Issue a command over the REST API and wait for its end."""
        return self._brain.api.run_command(
            action.replace("_", "-"),
            agent_id=self._agent.agent_id,
            timeout_s=timeout_s,
            engine="celery",
            task_id=task_id,
        )

    def lines(self) -> list[str]:
        """Return the dashboard's address and login."""
        return [
            f"dashboard {self._brain.base_url}/",
            f"login     {self._brain.email}  password {self._brain.password}",
        ]
