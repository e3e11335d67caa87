"""A real brain's agent in two real workers, and an operator who clicks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from celery import Celery

from z4j_otel.cli.brain_api import BrainApi, wait_until

from .names import QUEUE

_READY_S = 60.0
_STOP_S = 20.0
ADMISSION_S = 75.0
"""The brain takes only so many bulk actions a minute."""


class Scene:
    """Two workers of one token on one broker; a context manager."""

    def __init__(self, brain: Any, broker: str, results: str, folder: Path) -> None:
        name = f"commands-{os.urandom(4).hex()}"
        # A project of its own: the brain answers some requests for all agents of a project.
        self.api = BrainApi(brain.base_url, brain.email, brain.password, project=name)
        self.api.create_project()
        self.agent = self.api.mint_agent(name)
        # A name belongs to the one agent that told it first.
        host = f"web-01.{self.agent.name}.example.com"
        self.worker, self.wire = f"celery@{host}", f"celery@[{host}]"
        """Looks like an e-mail address, so the brain knows it in another form."""
        self.watched = f"watched@{self.agent.name}"
        """Runs without pool restarts, under a supervisor that starts it again."""
        self.folder = folder
        self.app = Celery("operator", broker=broker, backend=results, set_as_current=False)
        self.app.conf.task_default_queue = QUEUE
        own = {k: v for k, v in os.environ.items() if not k.startswith(("Z4J_", "OTEL_"))}
        self._environment = {
            **own,
            **self.agent.environment(),
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "Z4J_HOME": str(folder / "home"),
            "COMMANDS_BROKER": broker,
            "COMMANDS_RESULTS": results,
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "PYTHONUNBUFFERED": "1",
            "C_FORCE_ROOT": "1",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Scene:  # noqa: PYI034 -- Self needs Python 3.11
        try:
            self._start(self.worker, {"COMMANDS_POOL_RESTARTS": "1"})
            self._start(self.watched, {}, keeper=True)
            for name in (self.worker, self.watched):
                wait_until(lambda name=name: self.stats(name), f"worker {name}", timeout_s=_READY_S)
            wait_until(self._are_known, "both workers at the brain", timeout_s=_READY_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.app.pool.force_close_all()
        self.app.close()
        self.api.close()

    def log(self) -> str:
        """Return what the workers printed."""
        return "\n".join(path.read_text("utf-8", "replace") for path in self.folder.glob("*.log"))

    # The operator.

    def click(self, action: str, **body: Any) -> dict[str, Any]:
        """Issue a command, wait for its end, and see that it is in the audit log."""
        ended = wait_until(
            # Refused until the brain has stored that the worker reports to this agent.
            lambda: self.api.run_command(action, agent_id=self.agent.agent_id, **body),
            f"command {action}",
            timeout_s=ADMISSION_S,
        )
        wait_until(lambda: self._audited(ended["id"]), f"audit entry of {action}", timeout_s=30)
        return ended

    def do(self, action: str, **body: Any) -> dict[str, Any]:
        """Issue a command that is to succeed, and return its result."""
        ended = self.click(action, **body)
        assert ended["status"] == "completed", (ended["status"], ended["error"])
        result: dict[str, Any] = {k: v for k, v in ended["result"].items() if k != "trace_id"}
        return result

    def fail(self, action: str, **body: Any) -> str:
        """Issue a command that is to fail, and return its error."""
        ended = self.click(action, **body)
        assert ended["status"] == "failed", ended
        return str(ended["error"])

    def _audited(self, command_id: str) -> bool:
        page = self.api.request("GET", "audit", limit=200)
        return any(command_id in str(item) for item in page["items"])

    def _are_known(self) -> bool:
        return {self.wire, self.watched} <= {row["name"] for row in self.api.list_all("workers")}

    # The engine itself.

    def stats(self, name: str) -> dict[str, Any] | None:
        """Return what a worker says of itself over the broker."""
        return self._inspect(name, "stats")

    def pool(self) -> list[int]:
        """Return the processes of the worker's pool."""
        name = self.worker
        stats = wait_until(lambda: self.stats(name), f"stats of {name}", timeout_s=_READY_S)
        return list(stats["pool"]["processes"])

    def queues(self) -> set[str]:
        """Return the queues the worker consumes from."""
        return {queue["name"] for queue in self._inspect(self.worker, "active_queues") or ()}

    def rates(self, name: str) -> list[str]:
        """Return a worker's tasks with their rate limits."""
        answer = self.app.control.inspect([name], timeout=5).registered("rate_limit") or {}
        return list(answer.get(name, ()))

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            try:
                return int(channel.queue_declare(queue=queue, passive=True).message_count)
            except connection.channel_errors:
                return 0

    def send(self, name: str, *args: Any, **options: Any) -> str:
        """Publish a task without any agent of ours."""
        return str(self.app.send_task(f"shop.{name}", args, **options).id)

    def join(self, queue: str) -> None:
        """Have the worker consume from a queue that is empty."""
        self._empty(queue)
        self.app.control.add_consumer(queue, destination=[self.worker])
        wait_until(lambda: queue in self.queues(), f"consumer of {queue}", timeout_s=30)

    def leave(self, queue: str) -> None:
        """Have the worker not consume from a queue, and the queue be empty."""
        self.app.control.cancel_consumer(queue, destination=[self.worker])
        wait_until(lambda: queue not in self.queues(), f"no consumer of {queue}", timeout_s=30)
        self._empty(queue)

    def fill(self, queue: str, count: int) -> None:
        """Have so many messages, and no others, wait in a queue that nobody consumes from."""
        self._empty(queue)
        for number in range(count):
            self.send("add", number, 1, queue=queue)
        wait_until(lambda: self.depth(queue) == count, f"depth of {queue}", timeout_s=30)

    def _empty(self, queue: str) -> None:
        with self.app.connection_for_write() as connection:
            self.app.amqp.queues.select_add(queue)
            bound = self.app.amqp.queues[queue](connection.default_channel)
            bound.declare()
            bound.purge()

    def outcome(self, task_id: str) -> Any:
        """Wait for a task's end and return its result, from the result backend."""
        result = self.app.AsyncResult(task_id)
        wait_until(result.ready, f"end of task {task_id}", timeout_s=30)
        return result.result

    def state(self, task_id: str) -> str:
        """Return a task's state, from the result backend."""
        return str(self.app.AsyncResult(task_id).state)

    def _inspect(self, name: str, what: str) -> Any:
        answer = getattr(self.app.control.inspect([name], timeout=5), what)() or {}
        return answer.get(name)

    def _start(self, name: str, more: dict[str, str], *, keeper: bool = False) -> None:
        programs = Path(sys.executable).parent
        command = [
            str(programs / "opentelemetry-instrument"), str(programs / "celery"),
            "-A", "commands.app", "worker", "-n", name, "-c", "2", "-Q", QUEUE, "-l", "INFO",
        ]  # fmt: skip
        if keeper:
            command = [sys.executable, str(Path(__file__).with_name("keeper.py")), *command]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env={**self._environment, **more}, cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
