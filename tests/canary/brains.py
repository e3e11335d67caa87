"""The two brains, as far as the canaries need them: what they show, and an operator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from z4j_otel.cli.brain_api import ApiError, wait_until
from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.real_brain import RealBrain

from .places import QUEUE

__all__ = ["Brain", "Embedded", "Installed"]

_COMMAND_S = 75.0
_LISTS = ("agents", "tasks", "commands", "workers", "queues", "schedules", "audit", "issues")


class Brain(Protocol):
    """What the canaries ask of a brain."""

    title: str

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...

    def environment(self) -> Mapping[str, str]:
        """Return the variables an agent needs."""

    def task(self, task_id: str) -> dict[str, Any] | None:
        """Return a task's row, or None while there is none."""

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's events, each with ``kind`` and ``data``."""

    def command(self, action: str, **parameters: Any) -> dict[str, Any]:
        """Issue a command and return it when it has ended."""

    def submit(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
        """Have the agent publish a task, and return its id."""

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the dead letters that the agent tells of."""

    def issues(self) -> list[int]:
        """Return how many failures it takes for one and the same, by its fingerprint."""

    def shown(self) -> dict[str, str]:
        """Return all that it shows, by list."""


class Embedded:
    """The brain of ``z4j-otel brain``, in a thread of this process."""

    title = "embedded brain"

    def __init__(self) -> None:
        self._brain = EmbeddedBrain()

    def __enter__(self) -> Embedded:  # noqa: PYI034 -- Self needs Python 3.11
        self._brain.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._brain.__exit__(None, None, None)

    def environment(self) -> Mapping[str, str]:
        """Return the variables an agent needs."""
        return self._brain.environment()

    def task(self, task_id: str) -> dict[str, Any] | None:
        """Return a task's row, or None while there is none."""
        return self._brain.task(task_id)

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's events, each with ``kind`` and ``data``."""
        return self._brain.events(task_id)

    def command(self, action: str, **parameters: Any) -> dict[str, Any]:
        """Issue a command and return it when it has ended."""
        issued = self._brain.inner.issue(action, unchecked=True, **parameters)
        ended = issued.wait(_COMMAND_S)
        return {"status": ended.status.value, "result": ended.result, "error": ended.error}

    def submit(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
        """Have the agent publish a task, and return its id."""
        task = {"name": name, "args": args, "kwargs": kwargs, "queue": QUEUE}
        return str(self.command("submit_task", engine="celery", **task)["result"]["task_id"])

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the dead letters that the agent tells of."""
        return list(self.command("dlq.list", engine="celery", limit=200)["result"]["entries"])

    def issues(self) -> list[int]:
        """Return how many failures it takes for one and the same, by its fingerprint."""
        failed = [row for row in self._brain.inner.tasks() if row.state == "failure"]
        return list(Counter(row.fingerprint for row in failed).values())

    def shown(self) -> dict[str, str]:
        """Return all that it shows, by list."""
        inner = self._brain.inner
        ends = [{"result": each.result, "error": each.error} for each in inner.commands]
        lists = {
            "tasks": inner.tasks(),
            "workers": inner.workers(),
            "queues": inner.queues(),
            "agents": inner.agents(),
            "heartbeats": [payload for _, payload in inner.heartbeats],
            "statuses": [payload for _, payload in inner.statuses],
            "command results": ends,
        }
        return {name: msgspec.json.encode(rows).decode() for name, rows in lists.items()}


class Installed:
    """The real brain (PyPI ``z4j``), in a process of its own."""

    title = "real brain"

    def __init__(self) -> None:
        self._brain = RealBrain()

    def __enter__(self) -> Installed:  # noqa: PYI034 -- Self needs Python 3.11
        self._brain.__enter__()
        self._agent = self._brain.mint_agent("canary")
        return self

    def __exit__(self, *_: object) -> None:
        self._brain.__exit__(None, None, None)

    @property
    def api(self) -> Any:
        """The client of its REST API."""
        return self._brain.api

    def environment(self) -> Mapping[str, str]:
        """Return the variables an agent needs."""
        return self._agent.environment()

    def task(self, task_id: str) -> dict[str, Any] | None:
        """Return a task's row, or None while there is none."""
        return self.api.task(task_id)

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's events, each with ``kind`` and ``data``."""
        found = self.api.events(task_id)
        return [{"kind": each["kind"], "data": each["payload"]} for each in found]

    def command(self, action: str, **parameters: Any) -> dict[str, Any]:
        """Issue a command over the REST API and return it when it has ended."""

        def ended() -> dict[str, Any]:
            # Refused until the brain has stored that the worker reports to this agent.
            return self.api.run_command(
                action.replace("_", "-"), agent_id=self._agent.agent_id, **parameters
            )

        return wait_until(ended, f"command {action}", timeout_s=_COMMAND_S)

    def submit(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
        """Have the agent publish a task, by a schedule of the brain's own; return its id."""
        made = self.api.request(
            "POST",
            "schedules",
            {
                "name": "by hand",
                "engine": "celery",
                "kind": "interval",
                "expression": "86400",
                "task_name": name,
                "queue": QUEUE,
                "args": args,
                "kwargs": kwargs,
            },
        )
        trigger = f"schedules/{made['id']}/trigger"
        wait_until(
            lambda: self.api.request("POST", trigger, {}) or True, "trigger", timeout_s=_COMMAND_S
        )

        def ended() -> str | None:
            rows = [row for row in self.api.list_all("commands") if row["action"] == "submit_task"]
            return next((row["result"]["task_id"] for row in rows if row["result"]), None)

        return wait_until(ended, "end of submit_task", timeout_s=_COMMAND_S)

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the dead letters that the agent tells of."""

        def page() -> Any:
            # The brain takes only so many of these and of bulk actions a minute.
            return self.api.request("GET", "dead-letters", engine="celery", limit=200)

        found = wait_until(page, "page of dead letters", timeout_s=_COMMAND_S)
        return list(found["entries"])

    def issues(self) -> list[int]:
        """Return how many failures it takes for one and the same, by its fingerprint."""
        return [int(issue["occurrences"]) for issue in self.api.list_all("issues", limit=100)]

    def shown(self) -> dict[str, str]:
        """Return all that its REST API shows, by list."""
        lists = {name: self._list(name) for name in _LISTS}
        ends = [
            {name: command.pop(name, None) for name in ("result", "error")}
            for command in lists["commands"]
        ]
        shown = {name: json.dumps(rows) for name, rows in lists.items()}
        health = [
            self.api.find(f"agents/{row['id']}/health") for row in self.api.list_all("agents")
        ]
        return shown | {"health": json.dumps(health), "command results": json.dumps(ends)}

    def _list(self, name: str) -> Any:
        try:
            return self.api.list_all(name, limit=200)
        except ApiError:
            return self.api.list_all(name)
