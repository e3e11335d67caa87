"""One row per action: a click at the brain, and its effect on the engine itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from z4j_otel.cli.brain_api import wait_until

from .names import EXTRA, IDLE, QUEUE
from .scene import ADMISSION_S, Scene
from .table import Row

CELERY = {"engine": "celery"}


ROWS: list[Row] = []


def row(name: str) -> Callable[[Callable[[Scene], str]], Callable[[Scene], str]]:
    """List a function as a row."""

    def add(play: Callable[[Scene], str]) -> Callable[[Scene], str]:
        ROWS.append(Row(name, play))
        return play

    return add


def _main(scene: Scene) -> dict[str, str]:
    return {**CELERY, "worker_name": scene.wire}


@row("retry_task")
def retry_task(scene: Scene) -> str:
    """A failed task runs again under a new id, with its own arguments."""
    first = scene.send("repaired")
    scene.api.wait_task(first, "failure")
    answer = scene.do("retry-task", **CELERY, task_id=first)
    new = answer["new_task_id"]
    assert (answer["task_name"], scene.outcome(new)) == ("shop.repaired", "repaired")
    shown = scene.api.wait_task(new, "success")
    assert shown["parent_task_id"] == first
    return f"new run {scene.state(new)} below the failed one"


@row("cancel_task")
def cancel_task(scene: Scene) -> str:
    """A running task is stopped."""
    running = scene.send("nap", 120)
    scene.api.wait_task(running, "started")
    answer = scene.do("cancel-task", **CELERY, task_id=running)
    assert answer == {"task_id": running, "terminated": True}
    wait_until(lambda: scene.state(running) == "REVOKED", "revoked task", timeout_s=20)
    scene.api.wait_task(running, "revoked")
    return "running task terminated, backend says REVOKED"


@row("bulk_retry")
def bulk_retry(scene: Scene) -> str:
    """Two failed tasks run again."""
    failed = [scene.send("repaired") for _ in range(2)]
    for task_id in failed:
        scene.api.wait_task(task_id, "failure")
    answer = scene.do("bulk-retry", filter={**CELERY, "task_ids": failed}, max=10)
    assert (answer["requested"], answer["succeeded"], answer["failed"]) == (2, 2, 0)
    outcomes = [scene.outcome(new) for new in answer["new_task_ids"]]
    assert outcomes == ["repaired", "repaired"]
    return "two new runs SUCCESS"


@row("submit_task")
def submit_task(scene: Scene) -> str:
    """A schedule of the brain's own, triggered by hand, publishes its task."""
    made = scene.api.request(
        "POST",
        "schedules",
        {
            "name": f"by-hand-{scene.agent.name}",
            "engine": "celery",
            "kind": "interval",
            "expression": "86400",
            "task_name": "shop.add",
            "queue": QUEUE,
            "args": [20, 22],
            "kwargs": {},
        },
    )
    wait_until(
        # Refused while the brain knows no agent that is online for this engine.
        lambda: scene.api.request("POST", f"schedules/{made['id']}/trigger", {}) or True,
        "accepted trigger",
        timeout_s=ADMISSION_S,
    )

    def ended() -> dict[str, Any] | None:
        rows = [each for each in scene.api.list_all("commands") if each["action"] == "submit_task"]
        mine = [each for each in rows if each["agent_id"] == scene.agent.agent_id]
        return mine[0] if mine and mine[0]["status"] in {"completed", "failed"} else None

    command = wait_until(ended, "end of submit_task", timeout_s=30)
    assert command["status"] == "completed", command
    assert scene.outcome(command["result"]["task_id"]) == 42
    return "the task ran: 42"


@row("purge_queue, confirmed")
def purge_confirmed(scene: Scene) -> str:
    """The operator saw three messages, and three are deleted."""
    scene.fill(IDLE, 3)
    answer = scene.do("purge-queue", queue=IDLE, observed_depth=3)
    assert answer == {"queue": IDLE, "depth_before": 3, "purged": 3, "force": False}
    wait_until(lambda: scene.depth(IDLE) == 0, "empty queue", timeout_s=30)
    return "queue length 3 -> 0"


@row("purge_queue, depth has moved")
def purge_moved(scene: Scene) -> str:
    """The operator saw one message less than there are: nothing is deleted."""
    scene.fill(IDLE, 3)
    error = scene.fail("purge-queue", queue=IDLE, observed_depth=2)
    assert f"queue {IDLE} has 3 messages now" in error
    assert scene.depth(IDLE) == 3
    return "refused, queue length still 3"


@row("purge_queue, forced")
def purge_forced(scene: Scene) -> str:
    """Force needs no confirmation."""
    scene.fill(IDLE, 3)
    answer = scene.do("purge-queue", queue=IDLE, force=True)
    assert (answer["purged"], answer["force"]) == (3, True)
    wait_until(lambda: scene.depth(IDLE) == 0, "empty queue", timeout_s=30)
    return "queue length 3 -> 0"


@row("purge_queue, no such queue")
def purge_nothing(scene: Scene) -> str:
    """A queue that nobody has is not purged with success."""
    error = scene.fail("purge-queue", queue="no-such-queue", force=True)
    assert "there is no queue no-such-queue" in error
    return "refused"


@row("rate_limit, one worker")
def rate_limit(scene: Scene) -> str:
    """One worker gets the limit, the other keeps its own."""
    body = {"task_name": "shop.nap", "rate": "7/m"}
    answer = scene.do("rate-limit", **body, worker_name=scene.wire)
    assert answer == {**body, "worker": scene.wire}
    assert "shop.nap [rate_limit=7/m]" in scene.rates(scene.worker)
    assert "shop.nap [rate_limit=7/m]" not in scene.rates(scene.watched)
    return "the worker says 7/m, the other does not"


@row("rate_limit, all workers")
def rate_limit_all(scene: Scene) -> str:
    """Both workers get the limit."""
    body = {"task_name": "shop.nap", "rate": "9/h"}
    assert scene.do("rate-limit", **body) == {**body, "worker": None}
    for name in (scene.worker, scene.watched):
        assert "shop.nap [rate_limit=9/h]" in scene.rates(name)
    scene.do("rate-limit", task_name="shop.nap", rate="0")
    return "both workers say 9/h"


@row("rate_limit, unknown task")
def rate_limit_unknown(scene: Scene) -> str:
    """A name that no worker knows is a failure."""
    error = scene.fail("rate-limit", task_name="shop.nothing", rate="1/s")
    assert "has a task shop.nothing" in error
    return "refused"


@row("pool_grow")
def pool_grow(scene: Scene) -> str:
    """The pool gets one more process."""
    before = len(scene.pool())
    answer = scene.do("pool-resize", **_main(scene), delta=1)
    assert answer == {"worker": scene.wire, "delta": 1}
    after = len(scene.pool())
    assert after == before + 1
    return f"{before} -> {after} processes"


@row("pool_shrink")
def pool_shrink(scene: Scene) -> str:
    """The pool loses one process."""
    before = len(scene.pool())
    answer = scene.do("pool-resize", **_main(scene), delta=-1)
    assert answer == {"worker": scene.wire, "delta": 1}
    after = len(scene.pool())
    assert after == before - 1
    return f"{before} -> {after} processes"


@row("pool_shrink, below one")
def pool_shrink_too_far(scene: Scene) -> str:
    """The last process stays."""
    before = len(scene.pool())
    error = scene.fail("pool-resize", **_main(scene), delta=-before)
    assert "keeps at least one" in error
    assert len(scene.pool()) == before
    return f"refused, still {before} processes"


@row("add_consumer")
def add_consumer(scene: Scene) -> str:
    """The worker takes what waits in another queue."""
    scene.leave(EXTRA)
    waiting = scene.send("add", 1, 2, queue=EXTRA)
    answer = scene.do("add-consumer", **_main(scene), queue=EXTRA)
    assert answer == {"worker": scene.wire, "queue": EXTRA}
    assert EXTRA in scene.queues()
    assert scene.outcome(waiting) == 3
    return "the task that waited there ran"


@row("cancel_consumer")
def cancel_consumer(scene: Scene) -> str:
    """What is sent to the queue afterwards waits."""
    scene.join(EXTRA)
    answer = scene.do("cancel-consumer", **_main(scene), queue=EXTRA)
    assert answer == {"worker": scene.wire, "queue": EXTRA}
    assert EXTRA not in scene.queues()
    scene.send("add", 1, 2, queue=EXTRA)
    wait_until(lambda: scene.depth(EXTRA) == 1, "waiting message", timeout_s=30)
    return "a message sent there waits"


@row("cancel_consumer, other queue")
def cancel_other(scene: Scene) -> str:
    """A queue the worker does not consume from is a failure."""
    error = scene.fail("cancel-consumer", **_main(scene), queue="no-such-queue")
    assert "does not consume from no-such-queue" in error
    return "refused"


@row("restart_worker, new pool")
def restart_pool(scene: Scene) -> str:
    """All pool processes are new ones, the main process stays."""
    before, main = set(scene.pool()), (scene.stats(scene.worker) or {})["pid"]
    assert scene.do("restart-worker", **_main(scene)) == {"worker": scene.wire}
    after = set(scene.pool())
    assert after
    assert not before & after
    assert (scene.stats(scene.worker) or {})["pid"] == main
    assert scene.outcome(scene.send("add", 2, 3)) == 5
    return f"pool {sorted(before)} -> {sorted(after)}"


@row("restart_worker, by exit")
def restart_by_exit(scene: Scene) -> str:
    """A worker without pool restarts exits, and its supervisor starts it again."""
    before = (scene.stats(scene.watched) or {})["pid"]
    answer = scene.do("restart-worker", **CELERY, worker_name=scene.watched)
    assert answer == {
        "worker": scene.watched,
        "restarted_via": "exit",
        "supervisor": "supervisord",
        "exit_status": 75,
    }

    def is_new() -> int | None:
        pid = (scene.stats(scene.watched) or {}).get("pid")
        return pid if pid not in {None, before} else None

    after = wait_until(is_new, "new worker", timeout_s=60)
    assert "keeper: ended with 75" in scene.log()
    return f"process {before} -> {after}, exit status 75"
