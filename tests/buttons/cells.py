"""One row per button of the dashboard: a click, and its effect on the engine itself.

The dashboard has no button that purges a queue. A worker's page has none for a rate limit:
a task's page has one, for all workers. What else the API can do is in ``make commands``.
"""

from __future__ import annotations

from z4j_otel.cli.brain_api import wait_until

from ..commands import dead_letters  # noqa: TID252 -- as make commands
from ..commands.names import BROKEN, DEAD, EXTRA  # noqa: TID252 -- as above
from ..commands.table import Row  # noqa: TID252 -- as above
from .operator import Operator

_DIALOG = "//*[@role='dialog']"


def grow(operator: Operator) -> str:
    """The pool gets one more process."""
    return _resize(operator, "Pool +1", "pool_grow", +1)


def shrink(operator: Operator) -> str:
    """The pool loses one process."""
    return _resize(operator, "Pool -1", "pool_shrink", -1)


def _resize(operator: Operator, label: str, action: str, delta: int) -> str:
    scene = operator.scene
    before = len(scene.pool())
    operator.go_to_worker(scene.wire)
    operator.press(label)
    assert operator.result(action) == {"worker": scene.wire, "delta": 1}
    pool = scene.pool()
    assert len(pool) == before + delta
    _see_pool(operator, pool)
    return f"{before} -> {len(pool)} processes, and so says the page"


def _see_pool(operator: Operator, pool: list[int]) -> None:
    # The whole line: of a pool that shrinks, the rest begins the longer one.
    operator.see(f"Processes\n{', '.join(map(str, pool))}\n")


def add_queue(operator: Operator) -> str:
    """The worker takes what waits in another queue."""
    scene = operator.scene
    scene.leave(EXTRA)
    waiting = scene.send("add", 1, 2, queue=EXTRA)
    operator.go_to_worker(scene.wire)
    operator.press("Add Queue")
    operator.fill("queue-name", EXTRA)
    operator.press("Add consumer", within=_DIALOG)
    assert operator.result("add_consumer") == {"worker": scene.wire, "queue": EXTRA}
    assert EXTRA in scene.queues()
    assert scene.outcome(waiting) == 3
    return "the task that waited there ran"


def remove_queue(operator: Operator) -> str:
    """What is sent to the queue afterwards waits."""
    scene = operator.scene
    scene.join(EXTRA)
    operator.go_to_worker(scene.wire)
    operator.open_tab("Queues")
    operator.press("Remove", within=f"//tr[td[1][normalize-space(.)='{EXTRA}']]")
    assert operator.result("cancel_consumer") == {"worker": scene.wire, "queue": EXTRA}
    assert EXTRA not in scene.queues()
    scene.send("add", 1, 2, queue=EXTRA)
    wait_until(lambda: scene.depth(EXTRA) == 1, "waiting message", timeout_s=10)
    return "a message sent there waits"


def restart(operator: Operator) -> str:
    """All pool processes are new ones, the main process stays."""
    scene = operator.scene
    before, main = set(scene.pool()), (scene.stats(scene.worker) or {})["pid"]
    operator.go_to_worker(scene.wire)
    operator.press("Restart Worker")
    operator.press("Restart pool", within=_DIALOG)
    assert operator.result("restart_worker") == {"worker": scene.wire}
    after = scene.pool()
    assert after
    assert not before & set(after)
    assert (scene.stats(scene.worker) or {})["pid"] == main
    _see_pool(operator, after)
    return f"pool {sorted(before)} -> {after}, and so says the page"


def restart_by_exit(operator: Operator) -> str:
    """A worker without pool restarts exits, and its supervisor starts it again."""
    scene = operator.scene
    before = (scene.stats(scene.watched) or {})["pid"]
    operator.go_to_worker(scene.watched)
    operator.press("Restart Worker")
    operator.press("Restart pool", within=_DIALOG)
    result = operator.result("restart_worker")
    assert (result["worker"], result["restarted_via"]) == (scene.watched, "exit")

    def is_new() -> int | None:
        pid = (scene.stats(scene.watched) or {}).get("pid")
        return pid if pid not in {None, before} else None

    after = wait_until(is_new, "new worker", timeout_s=60)
    operator.see(f"PID {after}\n")
    return f"process {before} -> {after}, and so says the page"


def rate_limit(operator: Operator) -> str:
    """Both workers get the limit, and lose it again."""
    scene = operator.scene
    task_id = scene.send("nap", 0)
    scene.api.wait_task(task_id, "success")
    for rate, is_set in (("11/m", True), ("0", False)):
        operator.go(f"tasks/celery/{task_id}")
        operator.press("Set rate limit for shop.nap")
        operator.fill("rate-limit-input", rate)
        operator.press("Apply", within=_DIALOG)
        answer = operator.result("rate_limit")
        assert answer == {"task_name": "shop.nap", "rate": rate, "worker": None}
        for name in (scene.worker, scene.watched):
            assert ("shop.nap [rate_limit=11/m]" in scene.rates(name)) is is_set
    return "both workers say 11/m, and no limit after 0"


def retry(operator: Operator) -> str:
    """A failed task runs again under a new id."""
    scene = operator.scene
    first = scene.send("repaired")
    scene.api.wait_task(first, "failure")
    operator.go(f"tasks/celery/{first}")
    operator.press("Retry")
    new = operator.result("retry_task")["new_task_id"]
    assert scene.outcome(new) == "repaired"
    assert scene.api.wait_task(new, "success")["parent_task_id"] == first
    return f"new run {scene.state(new)} below the failed one"


def cancel(operator: Operator) -> str:
    """A running task is stopped."""
    scene = operator.scene
    running = scene.send("nap", 120)
    scene.api.wait_task(running, "started")
    operator.go(f"tasks/celery/{running}")
    operator.press("Cancel")
    operator.press("Cancel task", within=_DIALOG)
    assert operator.result("cancel_task") == {"task_id": running, "terminated": True}
    wait_until(lambda: scene.state(running) == "REVOKED", "revoked task", timeout_s=20)
    scene.api.wait_task(running, "revoked")
    operator.go(f"tasks/celery/{running}")  # an open page does not follow the task
    operator.see("task.revoked")
    return "running task terminated, backend and page say revoked"


def retry_selected(operator: Operator) -> str:
    """Two failed tasks run again."""
    scene = operator.scene
    failed = [scene.send("repaired") for _ in range(2)]
    for task_id in failed:
        scene.api.wait_task(task_id, "failure")
    _select(operator, failed)
    operator.press("Retry")
    operator.agree("Retry 2 tasks?")
    results = operator.results("retry_task", len(failed))
    assert [scene.outcome(each["new_task_id"]) for each in results] == ["repaired"] * 2
    return "two new runs SUCCESS"


def revoke_selected(operator: Operator) -> str:
    """Two running tasks are stopped."""
    scene = operator.scene
    running = [scene.send("nap", 120) for _ in range(2)]
    for task_id in running:
        scene.api.wait_task(task_id, "started")
    _select(operator, running)
    operator.press("Revoke")
    operator.agree("Revoke 2 tasks?")
    results = operator.results("cancel_task", len(running))
    assert {each["task_id"] for each in results} == set(running)
    wait_until(
        lambda: {scene.state(each) for each in running} == {"REVOKED"},
        "two revoked tasks",
        timeout_s=20,
    )
    return "two running tasks terminated, backend says REVOKED"


def _select(operator: Operator, task_ids: list[str]) -> None:
    operator.go("tasks")
    for task_id in task_ids:
        operator.press("Select row", within=f"//tr[.//a[contains(@href,'{task_id}')]]")


def requeue(operator: Operator) -> str:
    """The letter goes back to where it died, under its own id, and runs."""
    scene = operator.scene
    if not dead_letters.keeps_letters(scene):
        operator.go("dead-letters")
        operator.see("no agent can list dead letters")
        return "not offered: this broker keeps no dead letters"
    dead_letters.declare(scene)
    died = dead_letters.die(scene, 40)
    operator.go("dead-letters")
    operator.press("Requeue", within=f"//tr[contains(.,'{died}')]")
    operator.press("Requeue", within=_DIALOG)
    result = operator.result("requeue_dead_letter")
    assert (result["task_id"], result["queue"]) == (died, BROKEN)
    assert scene.depth(DEAD) == 0
    assert dead_letters.run_again(scene, died) == 41
    return "queue length 1 -> 0, the task ran under its own id: 41"


ROWS = (
    Row("worker: Pool +1", grow),
    Row("worker: Pool -1", shrink),
    Row("worker: Add Queue", add_queue),
    Row("worker: Queues, Remove", remove_queue),
    Row("worker: Restart, new pool", restart),
    Row("worker: Restart, by exit", restart_by_exit),
    Row("task: Rate limit", rate_limit),
    Row("task: Retry", retry),
    Row("task: Cancel", cancel),
    Row("tasks: Retry of two", retry_selected),
    Row("tasks: Revoke of two", revoke_selected),
    Row("dead letters: Requeue", requeue),
)
