"""What the real brain knows of a worker: itself, its queues, its tasks, and no secret."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from celery import Celery
from kombu import Queue

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.testing import FaultyProxy

pytestmark = pytest.mark.timeout(300)

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
AWS_KEY = "AKIA" + "Z4JPLANTEDKEYS42"
TASKS = """
def register(app):
    @app.task(name="inventory.pay", rate_limit="7/m", shared=False)
    def pay():
        return 1
"""
BEATS = 6


class Shop:
    """A worker at a broker, with an agent at the brain."""

    def __init__(self, folder, brain, broker, redis_url, **variables):
        self.folder, self.brain = folder, brain
        self.agent = brain.mint_agent(folder.name)
        tag = secrets.token_hex(4)
        self.jobs = f"jobs-{tag}"
        # The brain admits no command to a worker that two agents have told of.
        self.host = f"web-{tag}.example.com"
        parts = urlsplit(broker)
        self.proxy = FaultyProxy(parts.port).__enter__()
        login = f"{parts.username or 'default'}:{parts.password or 'planted-broker'}"
        at = f"{login}@127.0.0.1:{self.proxy.port}"
        self.broker = urlunsplit(parts._replace(netloc=at))
        backend = urlsplit(redis_url)
        backend = backend._replace(netloc=f"default:planted-backend@{backend.netloc}")
        (folder / "inventory_tasks.py").write_text(TASKS)
        own = {k: v for k, v in os.environ.items() if not k.startswith(("Z4J_", "OTEL_"))}
        self.env = {
            **own,
            **self.agent.environment(),
            "HOME": str(folder),
            "Z4J_HOME": str(folder / "home"),
            "Z4J_HEARTBEAT_SECONDS": "1",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "PYTHONPATH": f"{folder}:{APPS}",
            "INVENTORY_FOLDER": str(folder),
            "INVENTORY_BROKER": self.broker,
            "INVENTORY_BACKEND": urlunsplit(backend),
            "INVENTORY_JOBS": self.jobs,
            "INVENTORY_SECRET_QUEUE": f"q-{AWS_KEY}-{secrets.token_hex(3)}",
            **variables,
        }
        self.app = Celery("client", broker=broker, set_as_current=False)
        kind = {"x-queue-type": "quorum"} if "INVENTORY_QUORUM" in variables else None
        self.app.conf.task_queues = [Queue(self.jobs, queue_arguments=kind)]
        self.workers = []

    def wire_name(self, name):
        """Return what the brain calls a worker of this shop."""
        return f"{name}@[{self.host}]"

    def start(self, name):
        """Start a worker that looks like an e-mail address."""
        command = [str(BIN / "opentelemetry-instrument"), str(BIN / "celery")]
        options = [
            "-A",
            "inventory_app",
            "worker",
            "-n",
            f"{name}@{self.host}",
            "-c",
            "1",
            "-l",
            "INFO",
        ]
        with (self.folder / "worker.log").open("ab") as log:
            self.workers.append(
                subprocess.Popen(
                    [*command, *options],
                    env=self.env,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def log(self):
        """Return what the workers have written."""
        return (self.folder / "worker.log").read_text("utf-8")

    def frames(self, kind):
        """Return the payloads of the frames of a kind that were sent so far."""
        path = self.folder / "frames.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        frames = [json.loads(line) for line in lines]
        return [frame["payload"] for frame in frames if frame["type"] == kind]

    def wait(self, condition, what, timeout_s=60.0):
        """Wait until something is so."""
        try:
            return wait_until(condition, what, timeout_s=timeout_s)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def worker(self, name):
        """Return the brain's row of a worker."""
        found = self.brain.api.list_all("workers")
        rows = [row for row in found if row["name"] == self.wire_name(name)]
        assert len(rows) < 2
        return rows[0] if rows else None

    def send(self, name="inventory.hold", count=1, **options):
        """Publish tasks to the queue of jobs, with planted arguments."""
        for _ in range(count):
            self.app.send_task(name, ["planted-arg"], {"card": "planted-kw"}, **options)

    def depth(self):
        """Return what the brain says of the queue of jobs."""
        return {each["queue"] if "queue" in each else each["name"]: each for each in self._depths()}

    def _depths(self):
        found = self.brain.api.request("GET", "stats")["queue_depths"]
        return (
            found
            if isinstance(found, list)
            else [{"queue": name, "depth": depth} for name, depth in found.items()]
        )

    def stop(self):
        """End everything."""
        (self.folder / "go").touch()
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self.app.close()
        self.proxy.__exit__(None, None, None)


@pytest.fixture
def planted_rabbitmq(rabbitmq_url, service_missing):
    """URL of the run's virtual host for a user whose password is a planted secret."""
    program = shutil.which("rabbitmqctl")
    parts = urlsplit(rabbitmq_url)
    if program is None or parts.path == "//":
        service_missing("no rabbitmqctl; run the tests as its user")
    user = f"z4j-{secrets.token_hex(4)}"

    def control(*arguments):
        subprocess.run([program, "-q", *arguments], check=True, timeout=60)

    control("add_user", user, "planted-broker")
    control("set_permissions", "-p", parts.path[1:], user, ".*", ".*", ".*")
    yield urlunsplit(parts._replace(netloc=f"{user}:planted-broker@{parts.netloc.split('@')[-1]}"))
    control("delete_user", user)


@pytest.fixture
def make(tmp_path, real_brain, redis_url):
    """Return a function that makes a shop at a broker; it is stopped with the test."""
    made = []

    def make_shop(broker, **variables):
        made.append(Shop(tmp_path, real_brain, broker, redis_url, **variables))
        return made[-1]

    yield make_shop
    for shop in made:
        shop.stop()


@pytest.fixture(params=["redis", "rabbitmq", "rabbitmq-no-pool"])
def shop(request, make):
    """A shop on Redis, with a quorum queue on RabbitMQ, and without the app's pool."""
    if request.param == "redis":
        return make(request.getfixturevalue("redis_url"))
    url = request.getfixturevalue("planted_rabbitmq")
    pool = "0" if request.param.endswith("no-pool") else "10"
    return make(url, INVENTORY_QUORUM="1", INVENTORY_POOL=pool)


def waiting(shop):
    """Return how many jobs the broker itself says are waiting."""
    with shop.app.connection_for_read() as connection:
        if connection.transport.driver_type == "redis":
            client = connection.default_channel.client
            lists = [shop.jobs, *(f"{shop.jobs}\x06\x16{step}" for step in (3, 6, 9))]
            return sum(client.llen(name) for name in lists)
        return connection.default_channel.queue_declare(shop.jobs, passive=True).message_count


def test_brain_knows_the_worker_and_no_secret(shop):
    """Rows, details and depths are right, no heartbeat opens a connection or holds a secret."""
    shop.start("one")
    shop.start("two")
    shop.wait(lambda: shop.worker("one") and shop.worker("two"), "two workers' rows")
    priorities = [0, 3, 6, 9] * 3 if "redis" in shop.broker else [None] * 12
    for priority in priorities:
        shop.send(queue=shop.jobs, priority=priority)
    shop.wait(lambda: waiting(shop) == 8, "two running and two prefetched tasks")
    shop.wait(lambda: shop.depth().get(shop.jobs), "a depth at the brain")
    shop.wait(lambda: list(shop.depth()[shop.jobs].values()).count(8), "the true depth")
    shop.wait(lambda: shop.worker("one")["active_tasks"] == 1, "the running task")

    before = shop.proxy.connections, len(shop.frames("heartbeat"))
    shop.wait(lambda: len(shop.frames("heartbeat")) >= before[1] + 2 * BEATS, "more heartbeats")
    assert shop.proxy.connections == before[0]

    row = shop.worker("one")
    assert (row["state"], row["concurrency"]) == ("online", 1)
    assert row["pid"] in {worker.pid for worker in shop.workers}
    assert shop.jobs in row["queues"]
    assert row["load_average"]
    check_secrets(shop)


def check_secrets(shop):
    """Look for what was planted in every frame that was sent, and in the brain."""
    sent = (shop.folder / "frames.jsonl").read_text("utf-8")
    assert "inventory.hold" in sent
    assert shop.wire_name("one") in sent
    pages = ("workers", "queues", "stats", "agents")
    shown = json.dumps([shop.brain.api.request("GET", page) for page in pages])
    heartbeats = json.dumps(shop.frames("heartbeat") + shop.frames("registry_delta"))
    assert "planted" not in heartbeats
    for text in (sent, shown):
        assert AWS_KEY not in text
        for word in ("broker", "backend", "option", "key-password", "own"):
            assert f"planted-{word}" not in text
    backups = [str(path) for path in (shop.folder / "home").rglob("*") if path.is_file()]
    assert all(AWS_KEY.encode() not in Path(path).read_bytes() for path in backups)


def test_buttons_reach_the_worker_by_its_wire_name(make, redis_url):
    """The brain admits commands for a worker that its own agent has announced."""
    shop = make(redis_url)
    shop.start("one")
    shop.wait(lambda: shop.worker("one"), "the worker's row")

    def told():
        batches = shop.frames("event_batch")
        return [e["kind"] for batch in batches for e in batch["events"] if not e["task_id"]]

    assert shop.wait(told, "the worker's event") == ["worker.online"]
    done = shop.wait(
        lambda: shop.brain.api.run_command(
            "add-consumer",
            agent_id=shop.agent.agent_id,
            engine="celery",
            worker_name=shop.wire_name("one"),
            queue=f"{shop.jobs}-more",
        ),
        "the end of the command",
    )
    assert done["status"] == "completed", done
    shop.wait(lambda: f"{shop.jobs}-more" in shop.worker("one")["queues"], "the new queue")


@pytest.mark.parametrize("is_development", [True, False])
def test_tasks_are_told_and_followed_in_development_only(make, redis_url, is_development):
    """All tasks at the start; later what their files say, where that was asked for."""
    shop = make(redis_url, **({"Z4J_DEV_MODE": "1"} if is_development else {}))
    shop.start("one")
    (first,) = shop.wait(lambda: shop.frames("registry_delta"), "the registry")
    tasks = {task["name"]: task for task in first["added"]}
    assert tasks["inventory.pay"]["rate_limit"] == "7/m"
    assert "inventory.hold" in tasks
    assert not [name for name in tasks if name.startswith("celery.")]

    path = shop.folder / "inventory_tasks.py"
    path.write_text("def half(")
    path.write_text(TASKS.replace("return 1", "return 2") + TASKS.replace("pay", "refund"))
    if not is_development:
        beats = len(shop.frames("heartbeat"))
        shop.wait(lambda: len(shop.frames("heartbeat")) >= beats + 4, "more heartbeats")
        assert len(shop.frames("registry_delta")) == 1
        assert "task files" not in shop.log()
        return
    second = shop.wait(lambda: shop.frames("registry_delta")[1:], "the change")[0]
    assert [task["name"] for task in second["added"]] == ["inventory.refund"]
    assert [task["name"] for task in second["updated"]] == ["inventory.pay"]
    assert second["removed"] == []
    path.write_text(TASKS.replace("pay", "refund"))
    third = shop.wait(lambda: shop.frames("registry_delta")[2:], "the removal")[0]
    assert third["removed"] == ["inventory.pay"]
    assert "changes of task files are told (watchdog)" in shop.log()
    assert "restart the worker to run what they say" in shop.log()
    # The worker itself has reloaded nothing.
    shop.send("inventory.pay", queue=shop.jobs)
    shop.wait(lambda: "inventory.pay" in shop.log().split("restart the worker")[-1], "its run")
