"""Rows about what must fail, and say why."""

from __future__ import annotations

from collections.abc import Callable

from z4j_otel.cli.brain_api import ApiError, wait_until

from .cells import CELERY, row
from .names import IDLE
from .scene import ADMISSION_S, Scene

TOO_MANY = 429


@row("retry_task, unknown task")
def retry_unknown(scene: Scene) -> str:
    """A task of which nothing is left anywhere is not run with anything else."""
    error = scene.fail("retry-task", **CELERY, task_id="no-such-task")
    assert "nothing here knows this task's arguments" in error
    return "refused"


@row("retry_task, one override of two")
def retry_half(scene: Scene) -> str:
    """The brain itself does not let it through; the agent alone: tests/e2e."""
    body = {**CELERY, "agent_id": scene.agent.agent_id, "task_id": "x", "override_args": [1]}
    see_answered(422, lambda: scene.api.request("POST", "commands/retry-task", body))
    return "the brain answers 422"


@row("cancel_task, finished task")
def cancel_finished(scene: Scene) -> str:
    """What has ended cannot be stopped."""
    done = scene.send("add", 1, 2)
    assert scene.outcome(done) == 3
    error = scene.fail("cancel-task", **CELERY, task_id=done)
    assert "has already finished (SUCCESS)" in error
    assert scene.state(done) == "SUCCESS"
    return "refused, the result stays"


@row("purge_queue, wrong token")
def purge_wrong_token(scene: Scene) -> str:
    """A confirmation that is not the brain's own deletes nothing."""
    scene.fill(IDLE, 3)
    error = scene.fail("purge-queue", queue=IDLE, confirm_token="0" * 64)
    assert "was not confirmed for what is there" in error
    assert scene.depth(IDLE) == 3
    return "refused, queue length still 3"


@row("rate_limit, absent worker")
def rate_limit_absent(scene: Scene) -> str:
    """A worker that is not there has not taken anything."""
    body = {"task_name": "shop.nap", "rate": "5/m", "worker_name": "celery@gone"}
    error = scene.fail("rate-limit", **body)
    assert "celery@gone" in error
    for name in (scene.worker, scene.watched):
        assert not [each for each in scene.rates(name) if "5/m" in each]
    return "failed, no worker has the limit"


def see_answered(status: int, click: Callable[[], object]) -> None:
    """See that the brain itself refuses, with this HTTP status."""

    def answered() -> int | None:
        try:
            click()
        except ApiError as error:
            return None if error.status == TOO_MANY else error.status
        return 200

    answer = wait_until(answered, "answer of the brain", timeout_s=ADMISSION_S)
    assert answer == status, f"the brain answered {answer}, not {status}"
