"""What the workload sends, and what is true of each task afterwards.

This table is the product's main promise as data: the demo shows it, and the tests compare
it with what the embedded brain and the real one made of the events.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from celery import Celery, chain, chord

__all__ = ["SCENARIOS", "Scenario", "kinds_of", "send_all"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that can happen to a task, and its true story."""

    name: str
    story: str
    """What happens, in words a newcomer understands."""
    send: Callable[[Celery, Path], Any]
    """Publishes it; returns the result handle of the task that is looked at."""
    events: str
    """The kinds of its events in order, without ``task.sent``, short and space-separated.
    Empty for a task that nobody may hear of."""
    state: str
    """The final state of the task's row."""
    task: str = "shop.add"
    row: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Columns of the row and their values, where they are not those of an idle row. A text
    is a prefix of the column's; ``...`` allows anything."""
    cause: str | None = None
    """``data.cause`` of its failure."""
    is_root: bool = True
    """Whether it has no parent task."""
    is_published: bool = True
    """Whether a message is sent for it; an eager run has none."""
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _NOTHING)
    """More that an event says, by its short kind. It is enough that one event of this kind
    says so; ``...`` asks only for the key."""


def _task(name: str, *args: Any, **kwargs: Any) -> Callable[[Celery, Path], Any]:
    return lambda app, _folder: app.tasks[f"shop.{name}"].delay(*args, **kwargs)


def _expired(app: Celery, _folder: Path) -> Any:
    past = datetime.now(timezone.utc) - timedelta(seconds=60)
    return app.tasks["shop.add"].apply_async((1, 1), expires=past)


def _killed_once(app: Celery, folder: Path) -> Any:
    return app.tasks["shop.killed_once"].delay(str(folder / f"killed-{uuid.uuid4()}"))


def _chain(app: Celery, _folder: Path) -> Any:
    add = app.tasks["shop.add"]
    return chain(add.s(1, 2), add.s(3))()


def _chord(app: Celery, _folder: Path) -> Any:
    add = app.tasks["shop.add"]
    return chord([add.s(1, 1), add.s(2, 2)])(app.tasks["shop.total"].s())


RETURNS = "received started succeeded"
RAISES = "received started failed"

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "returns", "returns a value", _task("add", 2, 3), RETURNS, "success",
        row={"args": [2, 3], "result": 5},
    ),
    Scenario(
        "secrets", "takes and returns secrets; they stay here",
        _task("pay", "A-17", card="4111 1111 1111 1111", api_token="tok-17"),  # noqa: S106 -- bait
        RETURNS, "success", "shop.pay",
        row={
            "args": ["A-17"],
            "kwargs": {"card": "[REDACTED]", "api_token": "[REDACTED]"},
            "result": {"order": "A-17", "receipt": "sent to [REDACTED]"},
        },
    ),
    Scenario(
        "raises", "raises its own error", _task("fail", "no stock"), RAISES, "failure", "shop.fail",
        row={
            "args": ["no stock"], "exception": "OutOfStock: no stock",
            "traceback": "Traceback (most recent call",
        },
        cause="exception",
    ),
    Scenario(
        "raises_expected", "raises an error it announces (throws=)",
        _task("fail_expected", "sold out"), RAISES, "failure", "shop.fail_expected",
        row={"args": ["sold out"], "exception": "OutOfStock: sold out"}, cause="exception",
    ),
    Scenario(
        "retries", "fails twice within a second, then succeeds", _task("flaky", 2),
        "received started retried received started retried received started succeeded",
        "success", "shop.flaky", row={"args": [2], "retry_count": 2, "result": "attempt 2"},
    ),
    Scenario(
        "retries_exhausted", "fails on every retry", _task("hopeless"),
        "received started retried received started failed", "failure", "shop.hopeless",
        row={"retry_count": 1, "exception": "ConnectionError: gateway down"}, cause="exception",
    ),
    Scenario(
        "ignores", "raises Ignore", _task("ignore"), RETURNS, "success", "shop.ignore",
    ),
    Scenario(
        "replaces", "puts another task in its place (self.replace)", _task("replace", 4),
        f"{RETURNS} {RETURNS}", "success", "shop.replace", row={"args": [4], "result": 8},
    ),
    Scenario(
        "rejects", "raises Reject", _task("reject"), "received started rejected failed",
        "failure", "shop.reject", row={"exception": "Reject: malformed order"}, cause="rejected",
    ),
    Scenario(
        "soft_limit", "runs into its soft time limit", _task("soft_limited"), RAISES, "failure",
        "shop.soft_limited", row={"exception": "SoftTimeLimitExceeded"}, cause="soft_time_limit",
    ),
    Scenario(
        "hard_limit", "is killed at its hard time limit", _task("hard_limited"), RAISES, "failure",
        "shop.hard_limited", row={"exception": "TimeLimitExceeded"}, cause="time_limit",
    ),
    Scenario(
        "sigkill", "its process gets SIGKILL, as from the OOM killer", _task("killed"), RAISES,
        "failure", "shop.killed", row={"exception": "WorkerLostError"}, cause="worker_lost",
    ),
    Scenario(
        "exit", "leaves by os._exit", _task("exits"), RAISES, "failure", "shop.exits",
        row={"exception": "WorkerLostError"}, cause="worker_lost",
    ),
    Scenario(
        "redelivered", "is killed, redelivered, and succeeds (acks_late)", _killed_once,
        f"received started retried {RETURNS}", "success", "shop.killed_once",
        row={"args": ..., "retry_count": 1, "result": "second run"},
    ),
    Scenario(
        "expired", "expires before it starts", _expired, "received revoked", "revoked",
        row={"args": [1, 1]},
    ),
    Scenario(
        "revoked", "is revoked while it waits for its ETA",
        lambda app, _: app.tasks["shop.add"].apply_async((7, 7), countdown=600),
        "received revoked", "revoked", row={"args": [7, 7]},
    ),
    Scenario(
        "cancelled", "is cancelled from the brain while it runs", _task("slow", 45),
        "received started revoked", "revoked", "shop.slow", row={"args": [45]},
    ),
    Scenario(
        "countdown", "waits a second before it starts",
        lambda app, _: app.tasks["shop.add"].apply_async((3, 4), countdown=1), RETURNS, "success",
        row={"args": [3, 4], "result": 7},
    ),
    Scenario(
        "unknown", "is a task that no worker knows",
        lambda app, _: app.send_task("shop.nosuch", (1,)), "received failed", "failure",
        "shop.nosuch", row={"args": "(1,)", "kwargs": "{}", "exception": "NotRegistered"},
        cause="unknown_task",
    ),
    Scenario(
        "chain", "is the second step of a chain", _chain, RETURNS, "success",
        row={"result": 6, "args": [3, 3]}, is_root=False,
    ),
    Scenario(
        "chord", "collects the results of a chord", _chord, RETURNS, "success", "shop.total",
        row={"result": 6, "args": [[2, 4]]}, is_root=False,
    ),
)  # fmt: skip


def kinds_of(scenario: Scenario) -> list[str]:
    """Return the kinds of a scenario's events as the wire has them."""
    return [f"task.{kind}" for kind in scenario.events.split()]


def send_all(app: Celery, folder: Path, names: Collection[str] = ()) -> dict[str, str]:
    """Publish scenarios, each once.

    Args:
        app: The workload's application.
        folder: Where tasks may leave marks.
        names: Which; all when empty.

    Returns:
        The id of the task to look at, by scenario.
    """
    return {
        scenario.name: scenario.send(app, folder).id
        for scenario in SCENARIOS
        if not names or scenario.name in names
    }
