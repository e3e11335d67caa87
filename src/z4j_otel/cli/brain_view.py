"""What ``z4j-otel brain`` shows: its tasks as a table, or its events as lines.

Texts come from agents, so nothing of them reaches the terminal but printable characters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from z4j_otel.clock import iso_z
from z4j_otel.devbrain.rows import AgentRow, EventRow, TaskRow

__all__ = ["build_table", "event_json", "event_line", "printable"]

_STYLES: Final = {
    "success": "green",
    "failure": "bold red",
    "retry": "yellow",
    "revoked": "magenta",
    "started": "cyan",
}
_DETAIL_CHARACTERS: Final = 60


def printable(text: str) -> str:
    """Replace every character that could steer a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def build_table(tasks: Sequence[TaskRow], agents: Sequence[AgentRow], *, limit: int) -> Table:
    """Lay out the latest tasks, the newest last.

    Args:
        tasks: All tasks, oldest first.
        agents: All agents; the caption tells how many are online.
        limit: Most rows to show, at least 1.
    """
    online = sum(agent.state == "online" for agent in agents)
    table = Table(
        title=f"{len(tasks)} tasks",
        caption=f"{online} of {len(agents)} agents online; Ctrl-C ends the brain",
        expand=True,
    )
    for heading in ("task", "id", "state", "queue", "worker"):
        table.add_column(heading, no_wrap=True)
    table.add_column("retries", justify="right")
    table.add_column("ms", justify="right")
    table.add_column("exception", no_wrap=True, ratio=1)
    for task in tasks[-limit:]:
        table.add_row(*_cells(task))
    return table


def _cells(task: TaskRow) -> list[Text]:
    texts = (
        task.name,
        task.task_id[:8],
        task.state,
        task.queue or "",
        task.worker_name or "",
        str(task.retry_count or ""),
        "" if task.runtime_ms is None else str(task.runtime_ms),
        (task.exception or "")[:_DETAIL_CHARACTERS],
    )
    cells = [Text(printable(text)) for text in texts]
    cells[2].stylize(_STYLES.get(task.state, ""))
    return cells


def event_line(event: EventRow) -> str:
    """Write an event as one line for people."""
    name = str(event.data.get("task_name") or event.data.get("worker") or "")
    detail = str(event.data.get("exception") or event.data.get("cause") or "")
    line = f"{event.occurred_at[11:19]}  {event.kind:<15}  {event.task_id[:8]:<8}  {name}"
    return printable(f"{line}  {detail[:_DETAIL_CHARACTERS]}".rstrip())


def event_json(event: EventRow) -> str:
    """Write an event as one line of JSON."""
    return json.dumps(
        {
            "kind": event.kind,
            "engine": event.engine,
            "task_id": event.task_id,
            "occurred_at": iso_z(event.occurred_at_ns),
            "agent_id": event.agent_id,
            "data": event.data,
        }
    )
