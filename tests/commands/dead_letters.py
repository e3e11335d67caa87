"""Rows about dead letters, which RabbitMQ keeps and Redis does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from z4j_otel.cli.brain_api import wait_until

from .cells import CELERY, row
from .names import BROKEN, DEAD, IDLE, LETTERS
from .refusals import see_answered
from .scene import ADMISSION_S, Scene

_LIST, _REQUEUE = "list_dead_letters", "requeue_dead_letter"


@row("dlq.list")
def list_letters(scene: Scene) -> str:
    """The operator sees what died, newest first and page by page, and it stays."""
    if not keeps_letters(scene):
        return _see_refused(scene, _LIST, 409, lambda: _ask(scene))
    declare(scene)
    ids = [die(scene, number) for number in range(3)]
    first = _page(scene, limit=2)
    second = _page(scene, limit=2, queue=BROKEN, cursor=first["next_cursor"])
    entries = first["entries"] + second["entries"]
    assert (first["total"], second["next_cursor"]) == (3, None)
    assert sorted(entry["task_id"] for entry in entries) == sorted(ids)
    assert {(entry["queue"], entry["task_name"]) for entry in entries} == {(BROKEN, "shop.add")}
    times = [entry["failed_at"] for entry in entries]
    assert times == sorted(times, reverse=True)
    see_answered(422, lambda: _ask(scene, cursor="nonsense"))
    assert scene.depth(DEAD) == 3
    return "3 letters on two pages, queue length still 3; a wrong cursor is 422"


@row("requeue_dead_letter")
def requeue(scene: Scene) -> str:
    """The letter goes back to where it died, under its own id, and runs."""
    if not keeps_letters(scene):
        body = {**CELERY, "agent_id": scene.agent.agent_id, "task_id": "x"}
        path = "commands/requeue-dead-letter"
        return _see_refused(scene, _REQUEUE, 422, lambda: scene.api.request("POST", path, body))
    declare(scene)
    other, mine = die(scene, 1), die(scene, 40)
    answer = scene.do("requeue-dead-letter", **CELERY, task_id=mine)
    assert answer == {
        "task_id": mine,
        "queue": BROKEN,
        "dead_letter_queue": DEAD,
        "dead_letters_before": 2,
        "dead_letters_after": 1,
    }
    assert [entry["task_id"] for entry in _page(scene)["entries"]] == [other]
    assert run_again(scene, mine) == 41
    return "queue length 2 -> 1, the task ran under its own id: 41"


@row("requeue_dead_letter, no such letter")
def requeue_nothing(scene: Scene) -> str:
    """A task that is no dead letter is a failure."""
    if not keeps_letters(scene):
        return "no dead letters on this broker"
    declare(scene)
    error = scene.fail("requeue-dead-letter", **CELERY, task_id="no-such-task")
    assert "no dead letter of this task is known here" in error
    return "refused"


@row("retry_task, of a dead letter")
def retry_letter(scene: Scene) -> str:
    """A new task runs with the letter's own arguments, and the letter stays."""
    if not keeps_letters(scene):
        return "no dead letters on this broker"
    declare(scene)
    died = die(scene, 20)
    new = scene.do("retry-task", **CELERY, task_id=died)["new_task_id"]
    assert new != died
    assert run_again(scene, new) == 21
    assert scene.depth(DEAD) == 1
    return "a new task ran: 21; the letter is still there"


@row("retry_task, of a waiting message")
def retry_waiting(scene: Scene) -> str:
    """A task that no worker took runs again with its own arguments; its message stays."""
    scene.fill(IDLE, 0)
    waiting = scene.send("add", 30, 3, queue=IDLE)
    wait_until(lambda: scene.depth(IDLE) == 1, "waiting task", timeout_s=30)
    new = scene.do("retry-task", **CELERY, task_id=waiting)["new_task_id"]
    wait_until(lambda: scene.depth(IDLE) == 2, "its repetition", timeout_s=30)
    scene.app.control.add_consumer(IDLE, destination=[scene.worker])
    assert (scene.outcome(waiting), scene.outcome(new)) == (33, 33)
    scene.leave(IDLE)
    return "the message stayed, and both ran: 33"


def _ask(scene: Scene, **query: Any) -> dict[str, Any]:
    return dict(scene.api.request("GET", "dead-letters", engine="celery", **query))


def _page(scene: Scene, **query: Any) -> dict[str, Any]:
    # The brain takes only so many of these and of bulk actions a minute.
    return wait_until(lambda: _ask(scene, **query), "page of dead letters", timeout_s=ADMISSION_S)


def keeps_letters(scene: Scene) -> bool:
    """Tell whether this broker has dead letters."""
    with scene.app.connection_for_read() as connection:
        return bool(connection.transport.driver_type == "amqp")


def declare(scene: Scene) -> None:
    """Make the queues as the application lists them, and empty them."""
    with scene.app.connection_for_write() as connection:
        for queue in LETTERS:
            scene.app.amqp.queues.add(queue)
            bound = queue(connection.default_channel)
            bound.declare()
            bound.purge()


def die(scene: Scene, number: int) -> str:
    """Publish a task, have it rejected as a worker would, and return its id."""
    before = scene.depth(DEAD)
    task_id = scene.send("add", number, 1, queue=BROKEN)
    wait_until(lambda: scene.depth(BROKEN) == 1, "waiting task", timeout_s=30)
    with scene.app.connection_for_read() as connection:
        channel = connection.default_channel
        channel.basic_reject(channel.basic_get(BROKEN).delivery_tag, requeue=False)
    wait_until(lambda: scene.depth(DEAD) == before + 1, "dead letter", timeout_s=30)
    return task_id


def run_again(scene: Scene, task_id: str) -> Any:
    """Have the worker take what waits there, and return a task's result."""
    assert scene.depth(BROKEN) == 1
    scene.app.control.add_consumer(BROKEN, destination=[scene.worker])
    try:
        return scene.outcome(task_id)
    finally:
        scene.app.control.cancel_consumer(BROKEN, destination=[scene.worker])
        wait_until(lambda: BROKEN not in scene.queues(), "no consumer", timeout_s=30)


def _see_refused(scene: Scene, token: str, status: int, click: Callable[[], object]) -> str:
    """See that the brain offers nothing where there are no dead letters."""
    agents = scene.api.list_all("agents")
    (mine,) = [each for each in agents if each["id"] == scene.agent.agent_id]
    assert token not in mine["capabilities"]["celery"]
    see_answered(status, click)
    return f"not offered, the brain answers {status}: this broker keeps no dead letters"
