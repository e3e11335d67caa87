"""Cancelling and reconciling of tasks."""

from types import SimpleNamespace

import pytest

from z4j_otel import z4j_task
from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.control import TaskControl
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.worker import Whereabouts

from .scripted import control_of

HERE = "w@here"
TASK = {"task_id": "t"}


class World:
    """Workers, a result backend and a broker that follow a script."""

    def __init__(self, *, flag=None, stop=None, held=None, rows=("PENDING",)):
        self.replies = {"flag": flag or {}, "stop": stop or {}, "query_task": held or {}}
        self.rows = list(rows)
        self.asked = []
        connection = SimpleNamespace(
            connection_errors=(),
            ensure_connection=lambda **_: None,
            release=lambda: None,
            transport=SimpleNamespace(
                implements=SimpleNamespace(asynchronous=True), driver_type="x"
            ),
        )
        app = SimpleNamespace(
            connection_for_write=lambda: connection,
            control=control_of(self.broadcast),
            backend=self,
            tasks={},
        )
        self.handle = CeleryHandle(app)
        self.control = TaskControl(self.handle)

    def broadcast(self, command, *, arguments, destination, **_):
        """Answer as the script says, and note who was asked what."""
        if command == "revoke":
            command = "stop" if arguments["terminate"] else "flag"
        self.asked.append((command, destination))
        reply = self.replies[command]
        if isinstance(reply, Exception):
            raise reply
        return [{name: answer} for name, answer in reply.items()]

    def get_task_meta(self, _task_id, *, cache):
        """Return the next row; the last one stays."""
        row = self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]
        return row if isinstance(row, dict) else {"status": row}

    def bind(self, *places, can_terminate=True):
        """Let this process have a worker that finds the task in these places, in turn."""
        left = list(places)
        self.handle.worker = SimpleNamespace(
            name=HERE,
            can_terminate=can_terminate,
            pool_name="solo",
            locate=lambda _: left.pop(0) if len(left) > 1 else left[0],
        )


OK = {"a@x": {"ok": "tasks unknown"}}


def test_waiting_task_is_flagged_by_every_worker():
    """A task that nobody runs is flagged everywhere, and told as not terminated."""
    world = World(flag=OK, held={"b@x": {"t": ["reserved", {}]}})
    assert world.control.cancel(TASK) == {"task_id": "t", "terminated": False}
    assert world.asked == [("flag", None), ("query_task", None)]


def test_running_task_is_terminated_by_its_worker():
    """The worker that runs the task, and no other, is told to terminate it."""
    world = World(flag=OK, held={"b@x": {"t": ["active", {}]}}, stop={"b@x": {"ok": "t"}})
    assert world.control.cancel(TASK)["terminated"] is True
    assert world.asked[-1] == ("stop", ["b@x"])


def test_own_waiting_task_needs_one_answer():
    """A task that waits here is flagged here, and nobody else is asked."""
    world = World(flag={HERE: {"ok": ""}})
    world.bind(Whereabouts.WAITING)
    assert world.control.cancel(TASK)["terminated"] is False
    assert world.asked == [("flag", [HERE])]


@pytest.mark.parametrize("place", [Whereabouts.RUNNING, Whereabouts.QUEUED_IN_POOL])
def test_own_started_task_is_terminated(place):
    """A task that our pool has, also one that started meanwhile, is terminated."""
    world = World(flag={HERE: {"ok": ""}}, stop={HERE: {"ok": ""}})
    world.bind(Whereabouts.WAITING, place)
    assert world.control.cancel(TASK)["terminated"] is True
    assert world.asked[-1] == ("stop", [HERE])


def test_pool_that_cannot_stop_is_told_before_anything_happens():
    """A running task of a solo pool cannot be cancelled, and no flag stays behind."""
    world = World()
    world.bind(Whereabouts.RUNNING, can_terminate=False)
    with pytest.raises(CommandRefused, match="a solo pool cannot stop it"):
        world.control.cancel(TASK)
    assert world.asked == []


def test_finished_task_is_refused():
    """A task with a result is not cancelled."""
    world = World(rows=["FAILURE"])
    with pytest.raises(CommandRefused, match=r"already finished \(FAILURE\)"):
        world.control.cancel(TASK)
    assert world.asked == []


def test_revoked_task_is_cancelled_already():
    """Cancelling twice succeeds twice."""
    world = World(rows=["REVOKED"])
    assert world.control.cancel(TASK) == {"task_id": "t", "terminated": False}


def test_silence_is_uncertain():
    """Without an answer a cancel may or may not have had an effect."""
    with pytest.raises(AdapterError, match="no worker answered") as raised:
        World().control.cancel(TASK)
    assert raised.value.indeterminate


def test_silence_is_made_up_for_by_the_backend():
    """A task that is seen revoked has been revoked, answer or not."""
    world = World(rows=["PENDING", "REVOKED"])
    assert world.control.cancel(TASK)["terminated"] is False


def test_refusing_worker_is_named():
    """An error of the worker that holds the task is no success."""
    world = World(flag=OK, held={"b@x": {"t": ("active", {})}}, stop={"b@x": {"error": "no"}})
    with pytest.raises(AdapterError, match="worker b@x could not stop the task"):
        world.control.cancel(TASK)


@pytest.mark.parametrize(
    ("place", "state"),
    [
        (Whereabouts.RUNNING, "started"),
        (Whereabouts.WAITING, "pending"),
        (Whereabouts.QUEUED_IN_POOL, "pending"),
    ],
)
def test_own_task_is_reconciled_without_asking(place, state):
    """What this worker holds is known, also without track_started."""
    world = World()
    world.bind(place)
    assert world.control.reconcile(TASK)["engine_state"] == state
    assert world.asked == []


@pytest.mark.parametrize(
    ("row", "state", "exception"),
    [
        ("SUCCESS", "success", None),
        ({"status": "FAILURE", "result": ValueError("no")}, "failure", "ValueError: no"),
        ("REVOKED", "failure", "TaskRevokedError: revoked"),
    ],
)
def test_ends_come_from_the_backend(row, state, exception):
    """A finished task is told at once, a revoked one as a failure."""
    world = World(rows=[row])
    answer = world.control.reconcile(TASK)
    assert (answer["engine_state"], answer["exception"]) == (state, exception)
    assert world.asked == []


@pytest.mark.parametrize(
    ("held", "row", "state"),
    [
        ({"b@x": {"t": ["active", {}]}}, "PENDING", "started"),
        ({"a@x": {}, "b@x": {"t": ["scheduled", {}]}}, "RETRY", "pending"),
        ({"b@x": {"t": ["ready", {}]}}, "PENDING", "unknown"),
        ({"b@x": "odd"}, "RECEIVED", "pending"),
        ({"b@x": {"t": []}}, "STARTED", "started"),
        (OSError(), "PROGRESS", "started"),
    ],
)
def test_unfinished_tasks_are_asked_for(held, row, state):
    """The worker that holds a task knows best; then the backend; a broker away costs nothing."""
    assert World(held=held, rows=[row]).control.reconcile(TASK)["engine_state"] == state


@pytest.mark.parametrize("action", ["cancel", "reconcile"])
def test_bad_ids_are_refused(action):
    """Both commands check the task's id."""
    with pytest.raises(CommandRefused, match="task_id"):
        getattr(World().control, action)({"task_id": "x" * 201})


def test_a_reconciled_failure_obeys_policies(policies):
    """A stored message may repeat what a policy hides; without the task's name nobody knows."""
    z4j_task("shop.pay", redact=["card"])
    world = World(rows=[{"status": "FAILURE", "result": ValueError("no 4111")}])
    assert world.control.reconcile(TASK)["exception"] == "ValueError: [REDACTED]"
