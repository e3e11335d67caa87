"""Every pool and every way to start a worker: all tasks told, each exactly once."""

from __future__ import annotations

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from z4j_otel.cli.demo.brains import EmbeddedBrain

from ..truth.pools import POOLS  # noqa: TID252 -- shared with make truth
from ..truth.stories import play as play_truth  # noqa: TID252 -- as above
from .pool_plays import APPS, DONE, TASKS, Scene, children_of, is_running, whole

pytestmark = pytest.mark.timeout(400)

AT_ONCE = 4
WAITED_FOR = 3
AGENT = "z4j_otel.agent.process_main"
WRAPPED, INSTRUMENTS, INSTALLS = "", "instrument", "install"
"""How the hooks come: by opentelemetry-instrument, or by the application's own module."""


def tells_the_truth(scene, pool, hook, **variables):
    """Play all that can happen in a pool."""
    made = scene(hook, **variables)
    stage = made.stage(*POOLS[pool].options)
    truth = play_truth(made.brain, stage, scenarios=POOLS[pool].scenarios, run_s=90)
    assert {line.scenario.name: line.problems for line in truth.lines if line.problems} == {}
    assert (truth.retry_status, truth.retry_state, truth.exit_status) == ("completed", "failure", 0)
    assert truth.cancel_status == "completed"
    assert made.left() == []


def runs_inside_a_program(scene, how, hook, *options):
    """Run a worker inside a program, which goes on after its end."""
    made = scene(hook)
    program = made.start("program.log", "python", str(APPS / "embedding.py"), how, *options)
    made.wait(lambda: made.count(b" ready.", "program.log"), "worker")
    ids = made.publish()
    made.wait(lambda: made.count(DONE, "program.log") == TASKS, "end of all tasks")
    program.send_signal(signal.SIGTERM)
    assert program.wait(30) == 0
    assert made.stories(ids) == whole(TASKS)
    later = (made.folder / "later").read_text()
    assert [event.kind for event in made.rows.events(later)] == ["task.sent"]
    assert made.left() == []


def runs_as_many(scene, hook):
    """Start two workers with ``celery multi``, which leaves them to themselves."""
    made = scene(hook)
    nodes = ["one", "two", f"--pidfile={made.folder}/%n.pid", f"--logfile={made.folder}/%n.log"]
    options = ["--pool=prefork", "--concurrency=1", "--loglevel=INFO"]
    made.run("celery", "-A", "pools_app", "multi", "start", *nodes, *options)
    try:
        made.wait(lambda: len(made.rows.workers()) == 2, "two workers")
        ids = made.publish()
        made.wait(lambda: made.count(DONE, "one.log", "two.log") == TASKS, "end of all tasks")
    finally:
        made.run("celery", "-A", "pools_app", "multi", "stopwait", *nodes)
    assert made.stories(ids) == whole(TASKS)
    assert made.left() == []


def runs_with_its_scheduler(scene, hook, pool):
    """Run a worker with a scheduler inside (``-B``) until a few tasks have run."""
    made = scene(hook, POOLS_BEAT="0.5")
    with made.stage(f"--pool={pool}", "--concurrency=2", "--beat") as stage:
        made.wait(lambda: stage.is_ready() and len(ended(made)) >= WAITED_FOR, "tasks")
        assert stage.stop() == 0
    stories = made.stories([row.task_id for row in made.rows.tasks()])
    # What was scheduled while the worker stopped waits in the queue, or went back to it.
    for state, kinds in (("pending", ("sent",)), ("received", ("received", "sent"))):
        stories.pop((state, tuple((kind, 1) for kind in kinds)), None)
    runs = {"run_started": 1, "run_completed": 1}
    assert stories == whole(sum(stories.values()), **runs)
    assert sum(stories.values()) >= WAITED_FOR
    assert made.left() == []


def ended(made):
    """Return the tasks that have succeeded."""
    return [row for row in made.rows.tasks() if row.state == "success"]


def tells_two_apps_apart(scene):
    """Run a worker for each of two apps; the first one's task publishes to the second."""
    made = scene(INSTALLS)
    logs = ("orders.log", "analytics.log")
    options = ["--loglevel=INFO", "--pool=threads", "--concurrency=2"]
    for log in logs:
        name = log.partition(".")[0]
        worker = ["-A", f"two_apps:{name}", "worker", "--hostname", f"{name}@demo"]
        made.start(log, "celery", *worker, *options)
    made.wait(lambda: len(made.rows.workers()) == 2, "two workers")
    code = "import two_apps as a; print(a.take.delay(7).id, a.count.delay(8).id)"
    taken, counted = made.run("python", "-c", code).split()
    made.wait(lambda: made.count(DONE, *logs) == 3, "end of three tasks")
    made.wait(lambda: len(made.rows.tasks()) == 3, "three rows")
    retry = made.rows.issue("retry_task", engine="celery", task_id=taken).wait(30)
    new = made.rows.issue("submit_task", engine="analytics", name="analytics.count", args=[5])
    made.wait(lambda: made.count(DONE, *logs) == 6, "end of six tasks")
    for worker in made.processes:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(30) for worker in made.processes] == [0, 0]
    submitted = new.wait(0).result["task_id"]
    by_engine = {"celery": [taken, retry.result["new_task_id"]], "analytics": [counted, submitted]}
    for engine, ids in by_engine.items():
        assert made.stories(ids, engine) == whole(2)
    names = {row.task_id: (row.engine, row.name, row.worker_name) for row in made.rows.tasks()}
    assert sorted(names.values()) == [
        *[("analytics", "analytics.count", "analytics@demo")] * 4,
        *[("celery", "orders.take", "orders@demo")] * 2,
    ]
    assert made.left() == []


def survives(scene, pool, end):
    """Kill a worker, its agent process or all of its group, and look at what was told."""
    made = scene(WRAPPED, Z4J_AGENT_HOST="process")
    with made.stage(f"--pool={pool}", "--concurrency=4") as stage:
        made.wait(lambda: stage.is_ready() and made.rows.workers(), "worker")
        (agent,) = children_of(stage.worker_pid, AGENT)
        assert_keeps_secrets(made, agent)
        ids = made.publish()
        made.wait(lambda: made.count(DONE, "worker.log") == TASKS, "end of all tasks")
        agents = {agent, *end(made, stage, agent, ids)}
    made.wait(lambda: not any(map(is_running, agents)), "end of the agent process")
    assert made.stories(ids) == whole(len(ids))
    assert made.left() == []


def assert_keeps_secrets(made, agent):
    """Neither arguments nor environment of the agent process tell a secret."""
    shown = b"".join(Path(f"/proc/{agent}", name).read_bytes() for name in ("cmdline", "environ"))
    for name in ("Z4J_TOKEN", "Z4J_HMAC_SECRET"):
        assert made.brain.environment()[name].encode() not in shown


def killed_owner(_made, stage, _agent, _ids):
    """SIGKILL the worker alone: its agent process sees it and delivers."""
    os.kill(stage.worker_pid, signal.SIGKILL)
    stage._worker.wait()
    return ()


def killed_agent(made, stage, agent, ids):
    """SIGKILL the agent process: the worker starts another, and nothing is missing."""
    os.kill(agent, signal.SIGKILL)
    ids += made.publish()
    made.wait(lambda: made.count(DONE, "worker.log") == 2 * TASKS, "end of more tasks")
    made.wait(lambda: {agent} ^ {*children_of(stage.worker_pid, AGENT)} > {agent}, "another one")
    others = children_of(stage.worker_pid, AGENT)
    stage.stop()
    return others


def interrupted_group(_made, stage, agent, _ids):
    """Ctrl-C in the terminal, and an impatient SIGTERM to the agent process itself."""
    os.kill(agent, signal.SIGTERM)
    os.killpg(stage.worker_pid, signal.SIGINT)
    stage._worker.wait(30)
    return ()


PLAYS = {
    "gevent, wrapped": partial(tells_the_truth, pool="gevent", hook=WRAPPED),
    "gevent, installs": partial(tells_the_truth, pool="gevent", hook=INSTALLS),
    "eventlet, wrapped": partial(tells_the_truth, pool="eventlet", hook=WRAPPED),
    "eventlet, instruments": partial(tells_the_truth, pool="eventlet", hook=INSTRUMENTS),
    "prefork, agent beside": partial(
        tells_the_truth, pool="prefork", hook=WRAPPED, Z4J_AGENT_HOST="process"
    ),
    "worker_main, wrapped": lambda scene: runs_inside_a_program(
        scene, "worker_main", WRAPPED, "--pool=prefork", "--concurrency=2"
    ),
    "worker_main, installs": lambda scene: runs_inside_a_program(
        scene, "worker_main", INSTALLS, "--pool=threads", "--concurrency=2"
    ),
    "Worker, instruments": lambda scene: runs_inside_a_program(
        scene, "Worker", INSTRUMENTS, "--pool=solo"
    ),
    "Worker on gevent, wrapped": lambda scene: runs_inside_a_program(
        scene, "Worker", WRAPPED, "--pool=gevent", "--concurrency=4"
    ),
    "multi, wrapped": partial(runs_as_many, hook=WRAPPED),
    "multi, installs": partial(runs_as_many, hook=INSTALLS),
    "beat, wrapped": partial(runs_with_its_scheduler, hook=WRAPPED, pool="prefork"),
    "beat, instruments": partial(runs_with_its_scheduler, hook=INSTRUMENTS, pool="threads"),
    "two apps": tells_two_apps_apart,
    "owner killed": partial(survives, pool="gevent", end=killed_owner),
    "agent killed": partial(survives, pool="threads", end=killed_agent),
    "group interrupted": partial(survives, pool="prefork", end=interrupted_group),
}


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """Run the plays that were chosen, a few at a time; give their futures by name."""
    wanted = [
        item.callspec.params["play"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]

    def perform(name):
        with EmbeddedBrain() as brain, contextlib.ExitStack() as stack:

            def scene(hook, **variables):
                made = Scene(folders[name], brain, hook, **variables)
                stack.callback(made.close)
                return made

            PLAYS[name](scene)

    folders = {name: tmp_path_factory.mktemp(f"play{n}") for n, name in enumerate(wanted)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(perform, name) for name in wanted}


@pytest.mark.parametrize("play", PLAYS)
def test_every_task_is_told_once(outcomes, play):
    """However a worker is started and ended: each run has one start and one true end."""
    outcomes[play].result()
