"""The Celery adapter against real prefork workers, on Redis and on plain files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from functools import partial
from pathlib import Path

import pytest

from z4j_otel.cli import brain_api
from z4j_otel.commands import Command
from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.ids import CommandId
from z4j_otel.instrumentors.celery.adapter import CeleryEngineAdapter
from z4j_otel.instrumentors.celery.broker import broadcast

pytestmark = pytest.mark.e2e

_PROJECT = """
import json, os, threading, time
from celery import Celery
from celery.signals import task_received, worker_ready

root = {root!r}
app = Celery("proj", broker={broker!r}, backend={backend!r})
app.conf.update(
    result_extended=True, broker_connection_retry_on_startup=False, worker_prefetch_multiplier=1,
    broker_transport_options={options!r}, control_exchange={exchange!r},
    task_default_queue={queue!r}, broker_connection_timeout=2,
)

@app.task(shared=False)
def add(x, y):
    return x + y

@app.task(bind=True, shared=False)
def fail(self, text):
    raise ValueError(text)

@app.task(shared=False)
def slow(mark, seconds=30):
    open(os.path.join(root, mark), "w").close()
    time.sleep(seconds)

@app.task(bind=True, shared=False, ignore_result=True, time_limit=40)
def note(self, path, **about):
    request = self.request
    about.update(
        root=request.root_id, parent=request.parent_id, limit=request.timelimit, eta=request.eta,
        expires=request.expires, queue=request.delivery_info["routing_key"],
        priority=request.delivery_info["priority"], mine=(request.headers or {{}}).get("mine"),
        old=(request.headers or {{}}).get("traceparent"), stamps=request.stamps,
    )
    with open(path + ".part", "w") as file:
        json.dump(about, file)
    os.rename(path + ".part", path)

def serve(adapter):
    from z4j_otel.commands import Command
    while True:
        for entry in os.listdir(os.path.join(root, "commands")):
            path = os.path.join(root, "commands", entry)
            with open(path) as file:
                action, parameters = json.load(file)
            os.remove(path)
            try:
                if action == "details":
                    answer = [adapter.worker_details(), adapter.queue_depths()]
                else:
                    answer = adapter.execute(Command(entry, action, parameters=parameters))
            except Exception as error:
                answer = {{"error": str(error)}}
            with open(path.replace("commands", "answers") + ".part", "w") as file:
                json.dump(answer, file)
            os.rename(file.name, file.name[:-5])
        time.sleep(0.02)

@worker_ready.connect
def ready(sender, **_):
    from z4j_otel.instrumentors.celery.adapter import CeleryEngineAdapter
    adapter = CeleryEngineAdapter(app=app)
    adapter.bind_worker(sender)
    task_received.connect(lambda request, **_: adapter.recent.remember(request), weak=False)
    threading.Thread(target=serve, args=(adapter,), daemon=True).start()
"""


class Project:
    """A Celery project in a folder, with a worker process of its own."""

    def __init__(self, root: Path, broker: str, backend: str, options: dict) -> None:
        self.root = root
        tag = uuid.uuid4().hex[:8]
        source = _PROJECT.format(
            root=str(root),
            broker=broker,
            backend=backend,
            options=options,
            exchange=f"control{tag}",
            queue=f"work{tag}",
        )
        (root / "proj.py").write_text(textwrap.dedent(source))
        for folder in ("commands", "answers"):
            (root / folder).mkdir()
        self.namespace: dict = {"__name__": "proj"}
        exec(compile(source, "proj.py", "exec"), self.namespace)
        self.app = self.namespace["app"]
        self.worker: subprocess.Popen | None = None

    def start_worker(self) -> None:
        """Start a prefork worker with two children and wait until it answers."""
        command = [sys.executable, "-m", "celery", "-A", "proj", "worker", "-c", "2", "-l", "INFO"]
        command += ["-n", f"w{uuid.uuid4().hex[:6]}@test", "--without-gossip", "--without-mingle"]
        environment = {**os.environ, "PYTHONPATH": str(self.root), "OTEL_SDK_DISABLED": "true"}
        with (self.root / "worker.log").open("wb") as log:
            self.worker = subprocess.Popen(
                command,
                cwd=self.root,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: "ready." in self.log())

    def ask(self, action: str, **parameters) -> dict:
        """Have the adapter inside the worker's main process execute a command."""
        name = uuid.uuid4().hex
        draft = self.root / name
        draft.write_text(json.dumps([action, parameters]))
        draft.rename(self.root / "commands" / name)
        answer = self.root / "answers" / name
        wait_until(answer.exists)
        return json.loads(answer.read_text())

    def log(self) -> str:
        """Return what the worker has written."""
        return (self.root / "worker.log").read_text()

    def stop(self) -> None:
        """End the worker and its children, and give every connection back."""
        if self.worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.worker.pid, signal.SIGKILL)
            self.worker.wait()
        self.app.pool.force_close_all()
        self.app.close()


wait_until = partial(brain_api.wait_until, what="a real process", timeout_s=20.0)


def _files(root: Path) -> Project:
    for name in ("queue", "control", "done"):
        (root / name).mkdir()
    options = {
        "data_folder_in": str(root / "queue"),
        "data_folder_out": str(root / "queue"),
        "control_folder": str(root / "control"),
        "processed_folder": str(root / "done"),
    }
    return Project(root, "filesystem://", f"db+sqlite:///{root / 'results.sqlite'}", options)


@pytest.fixture(scope="module", params=["redis", "rabbitmq", "files"])
def project(request, tmp_path_factory):
    """One project with a running worker per broker."""
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        project = Project(root, url, url, {})
    elif request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_url")
        project = Project(root, url, f"db+sqlite:///{root / 'results.sqlite'}", {})
    else:
        project = _files(root)
    try:
        project.start_worker()
        yield project
    finally:
        project.stop()


@pytest.fixture
def adapter(project):
    """An adapter outside the worker: it knows nothing but the app."""
    return CeleryEngineAdapter(app=project.app)


def run(adapter: CeleryEngineAdapter, action: str, **parameters) -> dict:
    """Execute one command."""
    # The id of the task that is run follows from the command's.
    return adapter.execute(Command(CommandId(str(uuid.uuid4())), action, parameters=parameters))


def send(project: Project, name: str, *args, **options) -> str:
    """Publish a task of the project."""
    return project.app.send_task(f"proj.{name}", args, **options).id


def state_of(project: Project, task_id: str) -> str:
    """Return what the result backend says of a task."""
    return project.app.backend.get_task_meta(task_id, cache=False)["status"]


def finish(project: Project, task_id: str, state: str) -> None:
    """Wait until a task has a state."""
    wait_until(lambda: state_of(project, task_id) == state)


def pool_of(project: Project) -> tuple[str, list[int]]:
    """Return the worker's name and its pool's processes, by its own word."""
    ((worker, stats),) = broadcast(project.app, "stats", {}, timeout_s=1).items()
    return worker, stats["pool"]["processes"]


def lives(pid: int) -> bool:
    """Whether a process is there, and not only waits to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_submitted_task_runs(project, adapter):
    """A submitted task is run by the worker with the given arguments."""
    answer = run(adapter, "submit_task", name="proj.add", args=[2], kwargs={"y": 3})
    assert answer["engine"] == "celery"
    finish(project, answer["task_id"], "SUCCESS")
    assert project.app.AsyncResult(answer["task_id"]).result == 5


def test_retry_takes_arguments_from_result_backend(project, adapter):
    """With result_extended a task runs again from its id alone, and not from the command."""
    first = send(project, "add", 4, 5)
    finish(project, first, "SUCCESS")
    answer = run(adapter, "retry_task", task_id=first, task_name="unknown", args=[9, 9], kwargs={})
    assert answer["task_name"] == "proj.add"
    finish(project, answer["new_task_id"], "SUCCESS")
    assert project.app.AsyncResult(answer["new_task_id"]).result == 9


def test_retry_uses_overrides_untouched(project, adapter):
    """Overrides replace the arguments, and the name comes from the backend."""
    first = send(project, "fail", "boom")
    finish(project, first, "FAILURE")
    answer = run(
        adapter, "retry_task", task_id=first, override_args=[], override_kwargs={"text": "again"}
    )
    finish(project, answer["new_task_id"], "FAILURE")
    assert str(project.app.AsyncResult(answer["new_task_id"]).result) == "again"


def test_retry_of_unknown_task_says_what_to_change(adapter):
    """Without a source the refusal names the setting that helps."""
    with pytest.raises(CommandRefused, match="result_extended"):
        run(adapter, "retry_task", task_id=str(uuid.uuid4()), task_name="proj.add")


def test_restart_without_pool_restarts_is_refused(project, adapter):
    """Nobody would start this worker again, so it goes on, with the processes it has."""
    # Others may have had a process terminated, which the pool replaces some moments later.
    wait_until(lambda: all(map(lives, pool_of(project)[1])))
    worker, before = pool_of(project)
    with pytest.raises(CommandRefused, match="Set worker_pool_restarts = True"):
        run(adapter, "restart_worker", worker_name=worker)
    assert project.worker.poll() is None
    assert pool_of(project) == (worker, before)


def test_cancelled_waiting_task_never_starts(project, adapter):
    """A task that waits for its time is revoked and told as not terminated."""
    waiting = send(project, "slow", "waiting", countdown=3)
    wait_until(lambda: waiting in project.log())
    answer = run(adapter, "cancel_task", task_id=waiting)
    assert answer == {"task_id": waiting, "terminated": False}
    finish(project, waiting, "REVOKED")
    assert not (project.root / "waiting").exists()


def test_cancelled_running_task_is_terminated(project, adapter):
    """A running task is stopped, and the backend says so."""
    mark = f"m{uuid.uuid4().hex[:6]}"
    running = send(project, "slow", mark)
    wait_until((project.root / mark).exists)
    assert run(adapter, "reconcile_task", task_id=running)["engine_state"] == "started"
    assert run(adapter, "cancel_task", task_id=running)["terminated"] is True
    finish(project, running, "REVOKED")
    state = run(adapter, "reconcile_task", task_id=running)
    assert (state["engine_state"], state["finished_at"] is None) == ("failure", False)
    assert "TaskRevokedError" in state["exception"]


def test_cancel_of_finished_task_is_refused(project, adapter):
    """A task that has its result cannot be cancelled."""
    done = send(project, "add", 1, 1)
    finish(project, done, "SUCCESS")
    with pytest.raises(CommandRefused, match="already finished"):
        run(adapter, "cancel_task", task_id=done)
    assert state_of(project, done) == "SUCCESS"


def test_reconcile_tells_ends(project, adapter):
    """A success, a failure and an unknown id are told apart."""
    good, bad = send(project, "add", 1, 2), send(project, "fail", "broken")
    finish(project, good, "SUCCESS")
    finish(project, bad, "FAILURE")
    success = run(adapter, "reconcile_task", task_id=good)
    assert success["engine_state"] == "success"
    assert success["finished_at"].endswith("+00:00")
    failure = run(adapter, "reconcile_task", task_id=bad)
    assert (failure["engine_state"], failure["exception"]) == ("failure", "ValueError: broken")
    assert run(adapter, "reconcile_task", task_id="nobody")["engine_state"] == "unknown"


def test_queue_depth_counts_waiting_messages(project, adapter):
    """A queue that nobody consumes grows by what is sent to it."""
    queue = f"idle{uuid.uuid4().hex[:6]}"
    project.app.amqp.queues.select_add(queue)
    adapter.queue_depths()
    for _ in range(3):
        send(project, "add", 1, 1, queue=queue)
    # RabbitMQ counts a message some moments after it took it.
    wait_until(lambda: adapter.queue_depths().get(queue) == 3)


def noted(project: Project, name: str) -> dict:
    """Wait for what a note task wrote."""
    wait_until((project.root / name).exists)
    return json.loads((project.root / name).read_text())


def test_worker_repeats_its_own_recent_task(project):
    """Inside the worker a task without any result runs again as it was sent, under its root."""
    path = project.root / f"note{uuid.uuid4().hex[:6]}"
    first = project.app.send_task(
        "proj.note",
        [str(path)],
        {"colour": "red"},
        expires=30,
        priority=3,
        headers={"mine": "kept", "traceparent": "00-old"},
    ).id
    before = noted(project, path.name)
    path.unlink()
    answer = project.ask("retry_task", task_id=first, priority="normal")
    assert (answer["task_name"], answer["priority"]) == ("proj.note", 3)
    after = noted(project, path.name)
    changed = {"parent": first, "expires": None, "old": None}
    assert after == {**before, **changed}
    assert (after["root"], after["mine"]) == (first, "kept")


def test_worker_keeps_stamps_of_a_repeated_task(project):
    """Stamps travel with the repeated task."""
    path = project.root / f"note{uuid.uuid4().hex[:6]}"
    options = {"stamped_headers": ["tenant"], "tenant": "blue"}
    first = project.app.send_task("proj.note", [str(path)], **options).id
    assert noted(project, path.name)["stamps"]["tenant"] == "blue"
    path.unlink()
    project.ask("retry_task", task_id=first)
    assert noted(project, path.name)["stamps"]["tenant"] == "blue"


def test_worker_takes_one_half_from_the_operator(project):
    """One override is enough where the worker knows the other half; eta is kept to."""
    path = project.root / f"note{uuid.uuid4().hex[:6]}"
    first = project.app.send_task("proj.note", [str(path)], {"colour": "red"}).id
    noted(project, path.name)
    path.unlink()
    eta = time.time() + 1.5
    project.ask("retry_task", task_id=first, override_kwargs={"colour": "blue"}, eta=eta)
    assert noted(project, path.name)["colour"] == "blue"
    assert time.time() >= eta


def test_worker_terminates_its_own_task_at_once(project):
    """Inside the worker a cancel needs no waiting for other workers."""
    mark = f"m{uuid.uuid4().hex[:6]}"
    running = send(project, "slow", mark)
    wait_until((project.root / mark).exists)
    assert project.ask("reconcile_task", task_id=running)["engine_state"] == "started"
    assert project.ask("cancel_task", task_id=running) == {"task_id": running, "terminated": True}
    finish(project, running, "REVOKED")


def test_worker_refuses_a_task_it_does_not_have(project):
    """A task name that this worker cannot run is refused instead of sent to it."""
    answer = project.ask("submit_task", name="proj.nothing")
    assert answer["error"].startswith("refused: worker w")


def test_worker_details_hold_no_arguments(project):
    """Details name the running task and the queue, and no argument or broker address."""
    mark = f"m{uuid.uuid4().hex[:6]}"
    running = send(project, "slow", mark, seconds=20)
    wait_until((project.root / mark).exists)
    answers = []

    def is_at_rest():
        """Whether the last task of an earlier test has ended, and the queue was measured.

        A measurement that fails, as over a connection just lost, is left out until the next.
        """
        answers.append(project.ask("details"))
        ((worker,), depths) = answers[-1][0].values(), answers[-1][1]
        return depths and len(worker["active"]) == 1

    wait_until(is_at_rest)
    details, depths = answers[-1]
    ((name, worker),) = details.items()
    assert name.endswith("@test")
    assert worker["active"] == [{"id": running, "name": "proj.slow"}]
    assert worker["stats"]["pool"]["max-concurrency"] == 2
    assert len(worker["stats"]["loadavg"]) == 3
    assert list(depths) == [queue["name"] for queue in worker["active_queues"]]
    assert "proj.add" in worker["registered"]
    text = json.dumps(details)
    assert mark not in text
    assert "6379" not in text
    project.ask("cancel_task", task_id=running)


def test_cancel_without_workers_is_uncertain(tmp_path):
    """Where nobody answers, a cancel is no success."""
    project = _files(tmp_path)
    try:
        adapter = CeleryEngineAdapter(app=project.app, reply_timeout_s=0.3)
        with pytest.raises(AdapterError, match="no worker answered") as raised:
            run(adapter, "cancel_task", task_id="x")
        assert raised.value.indeterminate
    finally:
        project.stop()


_FORKS = """
import multiprocessing, sys, threading
from celery import Celery
from z4j_otel.instrumentors.celery.broker import broadcast

app = Celery("fork", broker=sys.argv[1])
is_over = threading.Event()

def ask():
    while not is_over.is_set():
        broadcast(app, "ping", {}, timeout_s=0.2)

thread = threading.Thread(target=ask)
thread.start()
codes = []
for _ in range(20):
    child = multiprocessing.get_context("fork").Process(target=int)
    child.start()
    child.join(20)
    codes.append(child.exitcode)
    child.kill()
is_over.set()
thread.join()
print(codes)
"""


def test_child_forked_during_a_command_starts(redis_url):
    """Neither the child of a pool nor the command hangs on the other's broker connection."""
    command = [sys.executable, "-c", _FORKS, redis_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout.strip(), done.stderr) == (str([0] * 20), "")
