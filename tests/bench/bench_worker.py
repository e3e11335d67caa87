"""A prefork worker on Redis: bare, with OpenTelemetry, with z4j; in turns, in one run.

Three workers live side by side, each with a queue of its own. Again and again one of them
gets a queue full of tasks that do nothing, while the other two sleep.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import processes
from fast_brain import FastBrain
from redis import Redis
from redis.exceptions import RedisError

TASKS = 3_000
ROUNDS = 4
WARM_TASKS = 600
IDLE_S = 60.0
_SETTLE_S = 1.5
_CALM_S = 12.0
"""Until then an agent looks into its journal more often."""
_STARTUP_S = 30.0
_ROUND_S = 60.0
_DATABASE = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/15")
_HERE = Path(__file__).parent
_PROGRAMS = Path(sys.executable).parent
_SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class NoRedis(Exception):
    """There is no Redis to measure with."""


class Worker:
    """One worker under measurement, with the messages that wait for it."""

    def __init__(
        self,
        name: str,
        redis: Redis,
        folder: Path,
        variables: dict[str, str],
        *,
        concurrency: int = 2,
    ) -> None:
        self.name = name
        self._concurrency = concurrency
        self._redis = redis
        self._prefix = f"z4j-bench-{uuid.uuid4().hex[:8]}-{name}-"
        self._log = folder / f"{name}.log"
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("Z4J_", "OTEL_"))},
            **variables,
            "BENCH_BROKER": _DATABASE,
            "BENCH_PREFIX": self._prefix,
            "Z4J_HOME": str(folder / "home"),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._message: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """The worker's main process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Worker:  # noqa: PYI034 -- Self needs Python 3.11
        self._message = self._publish_one()
        launcher = [str(_PROGRAMS / "opentelemetry-instrument")] if self.name != "bare" else []
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*launcher, str(_PROGRAMS / "celery"), "-A", "worker_app", "worker",
                 "--pool=prefork", f"--concurrency={self._concurrency}", "--loglevel=WARNING",
                 f"--hostname={self.name}@bench"],
                cwd=_HERE, env=self._env, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(_STARTUP_S)
        for key in self._redis.scan_iter(f"{self._prefix}*"):
            self._redis.delete(key)

    def _publish_one(self) -> dict[str, Any]:
        """Let Celery publish one task, and take its message as the pattern of all others."""
        code = "import worker_app; worker_app.nothing.delay(2, 3, note='n')"
        subprocess.run([sys.executable, "-c", code], cwd=_HERE, env=self._env, check=True)
        (message,) = self._redis.lrange(f"{self._prefix}celery", 0, -1)
        pattern: dict[str, Any] = json.loads(message)
        pattern["headers"] |= {"traceparent": _SPAN, "z4j_sent_ns": time.time_ns()}
        return pattern

    def work(self, count: int) -> float:
        """Let the worker run some tasks and return how long it took, seconds."""
        messages = [self._new_message() for _ in range(count)]
        begin = time.perf_counter()
        self._redis.lpush(f"{self._prefix}celery", *messages)
        while self._is_busy():
            assert time.perf_counter() - begin < _ROUND_S, self._log.read_text()
            time.sleep(0.005)
        return time.perf_counter() - begin

    def _is_busy(self) -> bool:
        waiting = self._redis.llen(f"{self._prefix}celery")
        return bool(waiting or self._redis.hlen(f"{self._prefix}unacked"))

    def _new_message(self) -> bytes:
        task_id = str(uuid.uuid4())
        message = {**self._message, "headers": {**self._message["headers"]}}
        message["headers"] |= {"id": task_id, "root_id": task_id}
        message["properties"] = {
            **self._message["properties"],
            "correlation_id": task_id,
            "delivery_tag": str(uuid.uuid4()),
        }
        return json.dumps(message).encode()


def run() -> dict[str, float]:
    """Return ratios of wall time, processor time per task, and what an idle worker does.

    Raises:
        NoRedis: Nobody answers at ``BENCH_REDIS_URL``.
    """
    redis = Redis.from_url(_DATABASE)
    try:
        redis.ping()
    except RedisError as error:
        raise NoRedis(f"no Redis at {urlsplit(_DATABASE).netloc}") from error
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        brain = stack.enter_context(FastBrain())
        workers = [
            stack.enter_context(Worker(name, redis, folder, variables))
            for name, variables in _variables(brain).items()
        ]
        for worker in workers:
            worker.work(WARM_TASKS)
        return {**_busy(workers), **_idle(workers)}


def _variables(brain: FastBrain) -> dict[str, dict[str, str]]:
    quiet = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    return {
        "bare": {},
        "otel": {**quiet, "OTEL_TRACES_EXPORTER": "none"},
        "z4j": {**quiet, "OTEL_TRACES_EXPORTER": "z4j", **brain.environment},
    }


def _busy(workers: list[Worker]) -> dict[str, float]:
    walls: dict[str, list[float]] = {worker.name: [] for worker in workers}
    costs: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for turn in range(ROUNDS):
        for worker in workers if turn % 2 else reversed(workers):
            begin = processes.cpu_s(worker.pid)
            walls[worker.name].append(worker.work(TASKS))
            # What was put off, such as the delivery of events, counts as well.
            time.sleep(_SETTLE_S)
            costs[worker.name].append(processes.cpu_s(worker.pid) - begin)
    wall = {name: statistics.median(values) for name, values in walls.items()}
    cost = {name: statistics.median(values) / TASKS * 1e6 for name, values in costs.items()}
    return {
        "bare_wall_s": wall["bare"],
        "otel_ratio": wall["otel"] / wall["bare"],
        "z4j_ratio": wall["z4j"] / wall["bare"],
        "bare_cpu_us": cost["bare"],
        "otel_cpu_us": cost["otel"] - cost["bare"],
        "z4j_cpu_us": cost["z4j"] - cost["bare"],
    }


def _idle(workers: list[Worker]) -> dict[str, float]:
    """Return what idle workers do.

    Wake-ups are those of all threads but the main one. It runs the broker's and Celery's own
    timers, with us as without us (seen with strace: the same calls on the same descriptors);
    how many of them fall together is decided at the start, by chance, and differs between two
    equal workers by up to 0.5 a second.
    """
    time.sleep(_CALM_S)
    begin = {worker.name: processes.voluntary_switches(worker.pid) for worker in workers}
    time.sleep(IDLE_S)
    rates = {}
    for worker in workers:
        pairs = zip(processes.voluntary_switches(worker.pid), begin[worker.name], strict=True)
        rates[worker.name] = [(now - then) / IDLE_S for now, then in pairs]
    port = urlsplit(_DATABASE).port or 6379
    held = {worker.name: processes.connections(worker.pid, port) for worker in workers}
    return {
        "otel_main_wakeups_per_s": rates["otel"][0],
        "z4j_main_wakeups_per_s": rates["z4j"][0],
        "z4j_wakeups_per_s": rates["z4j"][1] - rates["otel"][1],
        "z4j_connections": float(held["z4j"] - held["otel"]),
        "otel_connections": float(held["otel"]),
    }


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:30} {value:8.2f}")  # noqa: T201 -- this is what it is for
