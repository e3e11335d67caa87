"""More that can happen to a task than the demo shows: ways to send, canvases, classes.

Rows are in the form of the workload's own table. A scenario that follows another one says
what is true of a second task of the same story: the callback, the member, the child.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery, chain, chord, group

from z4j_otel.cli.workload.scenarios import RAISES, RETURNS, Scenario

from .ids import id_below, id_of

__all__ = ["MORE"]

Send = Callable[[Celery, Path], Any]
_REDIS_LIKE = ("redis", "rediss", "sentinel", "valkey")


def _send(name: str, *args: Any, **options: Any) -> Send:
    """Send one task of the workload, with options of ``apply_async``."""
    return lambda app, _folder: app.tasks[f"shop.{name}"].apply_async(args, **options)


def _marked(name: str, *args: Any) -> Send:
    """Send a task that leaves a mark when it first runs."""
    return lambda app, folder: app.tasks[f"shop.{name}"].delay(
        id_of(folder, f"{name}.mark").join((f"{folder}/", "")), *args
    )


def _follows(name: str) -> Send:
    """Look at a task that another scenario sends under this name."""
    return lambda _app, folder: SimpleNamespace(id=id_of(folder, name))


def _child_of(name: str, generations: int = 1) -> Send:
    """Look at what the task of another scenario sends from within."""

    def send(_app: Celery, folder: Path) -> Any:
        task_id = id_of(folder, name)
        for _ in range(generations):
            task_id = id_below(task_id)
        return SimpleNamespace(id=task_id)

    return send


def _known(name: str, task: str, *args: Any, **options: Any) -> Send:
    """Send a task under the id that followers know."""
    return lambda app, folder: app.tasks[f"shop.{task}"].apply_async(
        args, task_id=id_of(folder, name), **options
    )


def _eta(app: Celery, _folder: Path) -> Any:
    moment = datetime.now(timezone.utc) + timedelta(seconds=1.5)
    return app.tasks["shop.add"].apply_async((1, 2), eta=moment, expires=300)


def _urgent(app: Celery, _folder: Path) -> Any:
    is_reversed = (app.conf.broker_url or "").split(":")[0] in _REDIS_LIKE
    return app.tasks["shop.add"].apply_async((1, 3), priority=2 if is_reversed else 7)


def _link(app: Celery, folder: Path) -> Any:
    callback = app.tasks["shop.add"].s(10).set(task_id=id_of(folder, "link.callback"))
    return app.tasks["shop.add"].apply_async((1, 4), link=callback)


def _link_error(app: Celery, folder: Path) -> Any:
    errback = app.tasks["shop.errback"].s().set(task_id=id_of(folder, "link_error.errback"))
    return app.tasks["shop.fail"].apply_async(
        ("no stock",), link_error=errback, task_id=id_of(folder, "link_error")
    )


def _link_error_inline(app: Celery, folder: Path) -> Any:
    errback = app.tasks["shop.inline_errback"].s()
    errback.set(task_id=id_of(folder, "link_error_inline.errback"))
    return app.tasks["shop.fail"].apply_async(("no stock",), link_error=errback)


def _group(app: Celery, folder: Path) -> Any:
    add = app.tasks["shop.add"]
    member = add.s(5, 6).set(task_id=id_of(folder, "group"))
    group(member, add.s(1, 1))()
    return SimpleNamespace(id=id_of(folder, "group"))


def _chain_of_groups(app: Celery, folder: Path) -> Any:
    add, total = app.tasks["shop.add"], app.tasks["shop.total"]
    first = add.s(1, 1).set(task_id=id_of(folder, "chain_of_groups.first"))
    return chain(group(first, add.s(2, 2)), total.s(), group(add.s(1), add.s(2)), total.s())()


def _chord_in_chain(app: Celery, _folder: Path) -> Any:
    add, total = app.tasks["shop.add"], app.tasks["shop.total"]
    return chain(add.s(1, 1), chord([add.s(1), add.s(2)], total.s()), add.s(10))()


def _nested_chord(app: Celery, _folder: Path) -> Any:
    add, total = app.tasks["shop.add"], app.tasks["shop.total"]
    inner = chord([add.s(1, 1), add.s(2, 2)], total.s())
    return chord([inner, add.s(3, 3)], total.s())()


def _chord_fails(app: Celery, folder: Path) -> Any:
    member = app.tasks["shop.fail"].s("no stock").set(task_id=id_of(folder, "chord_fails"))
    body = app.tasks["shop.total"].s().set(task_id=id_of(folder, "chord_fails.body"))
    chord([app.tasks["shop.add"].s(1, 1), member])(body)
    return SimpleNamespace(id=id_of(folder, "chord_fails"))


def _chunks(app: Celery, _folder: Path) -> Any:
    return app.tasks["shop.add"].starmap([(1, 2), (3, 4)]).apply_async()


def _stamped(app: Celery, _folder: Path) -> Any:
    signature = app.tasks["shop.add"].s(8, 8)
    signature.stamp(customer="c-17")
    return signature.apply_async(countdown=600)


MORE: tuple[Scenario, ...] = (
    Scenario(
        "acks_late", "is acked late", _send("add_late", 1, 1), RETURNS, "success",
        "shop.add_late", row={"args": [1, 1], "result": 2},
    ),
    Scenario(
        "eta", "waits for its ETA, and could expire", _eta, RETURNS, "success",
        row={"args": [1, 2], "result": 3}, data={"received": {"eta": ..., "expires": ...}},
    ),
    Scenario(
        "priority", "is more urgent than others", _urgent, RETURNS, "success",
        row={"args": [1, 3], "result": 4, "priority": "high"},
    ),
    Scenario(
        "by_name", "is sent by its name alone",
        lambda app, _: app.send_task("shop.add", (2, 2)), RETURNS, "success",
        row={"args": [2, 2], "result": 4},
    ),
    Scenario(
        "odd_id", "has an id of the application's own making",
        _send("add", 2, 5, task_id="order 17: Größe №5?"), RETURNS, "success",
        row={"args": [2, 5], "result": 7},
    ),
    Scenario(
        "shadow", "goes by another name in Celery's log", _send("add", 2, 6, shadow="a sum"),
        RETURNS, "success", row={"args": [2, 6], "result": 8},
    ),
    Scenario(
        "no_result", "keeps no result (ignore_result)", _send("add", 3, 3, ignore_result=True),
        RETURNS, "success", row={"args": [3, 3], "result": 6},
    ),
    Scenario(
        "stamped", "is revoked by a stamped header while it waits", _stamped, "received revoked",
        "revoked", row={"args": [8, 8]},
    ),
    Scenario(
        "requeued", "raises Reject(requeue=True), and succeeds then", _marked("requeued"),
        f"received started rejected retried {RETURNS}", "success", "shop.requeued",
        row={"args": ..., "retry_count": 1, "result": "second run"},
    ),
    Scenario(
        "retried_quietly", "asks for a retry and returns (throw=False)", _send("retry_quietly"),
        f"received started retried {RETURNS}", "success", "shop.retry_quietly",
        row={"retry_count": 1, "result": "attempt 1"},
    ),
    Scenario(
        "retried_changed", "retries in a second with other arguments", _send("retry_changed", 1),
        f"received started retried {RETURNS}", "success", "shop.retry_changed",
        row={"args": ..., "retry_count": 1, "result": 2},
        data={"retried": {"eta": ..., "reason": "ConnectionError: busy"}},
    ),
    Scenario(
        "soft_limit_caught", "notices its soft time limit and ends well",
        _send("limited_softly"), RETURNS, "success", "shop.limited_softly",
        row={"result": "in time"},
    ),
    Scenario(
        "system_exit", "raises SystemExit", _send("exit_system"), RAISES, "failure",
        "shop.exit_system", row={"exception": ...}, cause="worker_lost",
    ),
    Scenario(
        "link", "has a callback (link)", _link, RETURNS, "success",
        row={"args": [1, 4], "result": 5},
    ),
    Scenario(
        "link.callback", "is that callback", _follows("link.callback"), RETURNS, "success",
        row={"args": [5, 10], "result": 15}, is_root=False,
    ),
    Scenario(
        "link_error", "fails and has an errback (link_error)", _link_error, RAISES, "failure",
        "shop.fail", row={"args": ["no stock"], "exception": "OutOfStock: no stock"},
        cause="exception",
    ),
    Scenario(
        "link_error.errback", "is that errback", _follows("link_error.errback"), RETURNS,
        "success", "shop.errback", row={"args": ..., "result": ...}, is_root=False,
    ),
    Scenario(
        "link_error_inline", "fails; its errback takes three arguments", _link_error_inline,
        RAISES, "failure", "shop.fail",
        row={"args": ["no stock"], "exception": "OutOfStock: no stock"}, cause="exception",
    ),
    Scenario(
        "link_error_inline.errback", "is that errback, a mere function call to Celery",
        _follows("link_error_inline.errback"), "", "",
    ),
    Scenario(
        "group", "is a member of a group", _group, RETURNS, "success",
        row={"args": [5, 6], "result": 11}, data={"received": {"group_id": ...}},
    ),
    Scenario(
        "chain_of_groups", "is the end of a chain of groups", _chain_of_groups, RETURNS,
        "success", "shop.total", row={"args": [[7, 8]], "result": 15}, is_root=False,
    ),
    Scenario(
        "chain_of_groups.first", "is a member of the first group there",
        _follows("chain_of_groups.first"), RETURNS, "success",
        row={"args": [1, 1], "result": 2}, data={"received": {"group_id": ...}},
    ),
    Scenario(
        "chord_in_chain", "follows a chord in a chain", _chord_in_chain, RETURNS, "success",
        row={"args": [7, 10], "result": 17}, is_root=False,
    ),
    Scenario(
        "nested_chord", "collects a chord of chords", _nested_chord, RETURNS, "success",
        "shop.total", row={"args": [[6, 6]], "result": 12}, is_root=False,
    ),
    Scenario(
        "chord_fails", "fails in the header of a chord", _chord_fails, RAISES, "failure",
        "shop.fail", row={"args": ["no stock"], "exception": "OutOfStock: no stock"},
        cause="exception",
    ),
    Scenario(
        "chord_fails.body", "is the body of that chord; it is never sent",
        _follows("chord_fails.body"), "", "",
    ),
    Scenario(
        "starmap", "runs another task over many arguments (starmap)", _chunks, RETURNS, "success",
        "celery.starmap", row={"args": ..., "kwargs": ..., "result": [3, 7]},
    ),
    Scenario(
        "replaced_by_chain", "puts a chain in its place", _send("replaced_by_chain", 4),
        f"{RETURNS} {RETURNS}", "success", "shop.", row={"args": ..., "result": 9},
        data={"succeeded": {"celery_state": "IGNORED"}},
    ),
    Scenario(
        "replaced_by_group", "puts a group in its place", _send("replaced_by_group", 4),
        f"{RETURNS} {RETURNS}", "success", "shop.replaced_by_group",
        row={"args": ..., "kwargs": ..., "result": [8, 5]},
        data={"succeeded": {"celery_state": "IGNORED"}},
    ),
    Scenario(
        "sends", "sends a task from within", _known("sends", "sends", 1), RETURNS, "success",
        "shop.sends", row={"args": [1], "result": ...},
    ),
    Scenario(
        "sends.child", "is that task", _child_of("sends"), RETURNS, "success", "shop.sends",
        row={"args": [0], "result": ...}, is_root=False,
    ),
    Scenario(
        "sends.grandchild", "is what that task sends", _child_of("sends", 2), RETURNS, "success",
        "shop.echo", row={"args": ["leaf"], "result": ["str"]}, is_root=False,
    ),
    Scenario(
        "applies", "runs another task in place (Task.apply)", _known("applies", "applies"),
        RETURNS, "success", "shop.applies", row={"result": 2},
    ),
    Scenario(
        "applies.child", "is that task", _child_of("applies"), RETURNS, "success",
        row={"args": [1, 1], "result": 2, "queue": None}, is_root=False, is_published=False,
        data={kind: {"eager": True} for kind in ("received", "started")},
    ),
    Scenario(
        "applies_failing", "runs another task in place, which fails",
        _known("applies_failing", "applies_failing"), RETURNS, "success", "shop.applies_failing",
        row={"result": "went on"},
    ),
    Scenario(
        "applies_failing.child", "is that task", _child_of("applies_failing"), RAISES, "failure",
        "shop.raise_odd",
        row={"args": ["chained"], "queue": None, "exception": "ValueError: second"},
        cause="exception", is_root=False, is_published=False,
    ),
    Scenario(
        "custom_task", "has a class of the application's", _send("custom", False), RETURNS,
        "success", "shop.custom", row={"args": [False], "result": ...},
    ),
    Scenario(
        "custom_task_fails", "fails, and its class fails to handle it", _send("custom", True),
        RAISES, "failure", "shop.custom",
        row={"args": [True], "exception": "RuntimeError: on_failure failed"}, cause="exception",
    ),
    Scenario(
        "custom_request", "has a request class of the application's", _send("loud", "return"),
        RETURNS, "success", "shop.loud", row={"args": ["return"], "result": "return"},
    ),
    Scenario(
        "custom_request_fails", "fails with such a class", _send("loud", "raise"), RAISES,
        "failure", "shop.loud", row={"args": ["raise"], "exception": "ValueError: loud"},
        cause="exception",
    ),
    Scenario(
        "custom_request_killed", "is killed with such a class", _send("loud", "die"), RAISES,
        "failure", "shop.loud", row={"args": ["die"], "exception": "WorkerLostError"},
        cause="worker_lost",
    ),
    Scenario(
        "custom_request_limited", "runs into its hard time limit with such a class",
        _send("loud_limited"), RAISES, "failure", "shop.loud_limited",
        row={"exception": "TimeLimitExceeded"}, cause="time_limit",
    ),
)  # fmt: skip
