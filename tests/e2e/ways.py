"""One play: a worker and its publishers, started in one of the ways a user may start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.cli.workload.checks import differences
from z4j_otel.cli.workload.scenarios import SCENARIOS
from z4j_otel.devbrain.server import BrainThread

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent
INSTRUMENT = (str(BIN / "opentelemetry-instrument"),)
WAIT_S = 40.0
STOP_S = 20.0

Events = list[dict]


class Play:
    """One folder with a broker, one worker process, and publishers beside it."""

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, str],
        *,
        is_instrumented: bool = True,
        user_home: Path | None = None,
    ) -> None:
        self.folder = folder
        self.log_path = folder / "worker.log"
        self.user_home = user_home or folder / "user"
        self.user_home.mkdir(exist_ok=True)
        self.ids: dict[str, str] = {}
        self.publisher_log = ""
        self.worker_name = f"shop@{folder.name}"
        self.status: int | None = None
        self._prefix = INSTRUMENT if is_instrumented else ()
        own = {k: v for k, v in os.environ.items() if not k.startswith(("Z4J_", "OTEL_"))}
        self.env = {
            **own,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "HOME": str(self.user_home),
            "PYTHONPATH": str(APPS),
            "PYTHONUNBUFFERED": "1",
            "Z4J_OTEL_DEMO_DIR": str(folder),
            **variables,
        }
        self._worker: subprocess.Popen | None = None
        self._is_stopping = False

    def start(self) -> None:
        """Start the worker; it takes what was or will be published."""
        command = [str(BIN / "celery"), "-A", "ways_app", "worker", "--hostname", self.worker_name]
        options = ["--loglevel=INFO", "--pool=prefork", "--concurrency=2"]
        with self.log_path.open("wb") as log:
            self._worker = subprocess.Popen(
                [*self._prefix, *command, *options],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def publish(self, *names: str) -> None:
        """Run a publisher that sends these, in the same way as the worker runs."""
        done = subprocess.run(
            [*self._prefix, sys.executable, str(APPS / "ways_client.py"), *names],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        self.publisher_log += done.stderr
        assert done.returncode == 0, done.stderr
        self.ids.update(json.loads(done.stdout))

    def start_and_publish(self, *names: str) -> None:
        """Start the worker, and publish while it starts."""
        self.start()
        self.publish(*names)

    def terminate_task(self, name: str) -> None:
        """Revoke a task that has started, and have its process killed."""
        self.wait((self.folder / f"{name}.mark").exists, f"start of {name}")
        code = "import sys; from ways_app import app; app.control.revoke(sys.argv[1], terminate=1)"
        env = {k: v for k, v in self.env.items() if not k.startswith("WAYS_")}
        command = [sys.executable, "-c", code, self.ids[name]]
        subprocess.run(command, env=env, cwd=self.folder, check=True, timeout=WAIT_S)

    def started_ns(self, name: str) -> int:
        """Return when a noted task was running, nanoseconds since the epoch."""
        return int((self.folder / f"{name}.mark").read_text())

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
        """Wait until something is so; fail at once when the worker has ended."""

        def look() -> bool:
            assert self._worker is not None
            assert self._worker.poll() is None, f"the worker ended\n{self.log()}"
            return bool(condition())

        try:
            wait_until(look, what, timeout_s=timeout_s)
        except TimeoutError:
            raise AssertionError(f"no {what} in {timeout_s} s\n{self.log()}") from None

    def wait_log(self, text: str) -> None:
        """Wait until the worker has logged something."""
        self.wait(lambda: text in self.log(), f"{text!r} in the log")

    def threads(self) -> str:
        """Have the worker's main process log its threads and stacks; return the log."""
        assert self._worker is not None
        self.wait_log(" ready.")
        # Celery answers this signal with the stacks of all threads, by name.
        os.kill(self._worker.pid, signal.SIGUSR1)
        self.wait_log("LOCAL VARIABLES")
        return self.log()

    def end(self) -> int:
        """Wait for a worker that ends by itself; return its status."""
        assert self._worker is not None
        self.status = self._worker.wait(WAIT_S)
        return self.status

    def ask_to_stop(self) -> None:
        """Have the worker begin its warm stop, which takes Celery seconds of sleep."""
        if self._worker is not None and not self._is_stopping:
            self._is_stopping = True
            self._worker.send_signal(signal.SIGTERM)

    def stop(self) -> int | None:
        """Stop the worker warmly; return its status."""
        if self._worker is None:
            return None
        self.ask_to_stop()
        if self._worker.poll() is None:
            try:
                self._worker.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._worker.pid, signal.SIGKILL)
                self._worker.wait()
        self.status = self._worker.returncode
        return self.status

    def log(self) -> str:
        """Return what the worker has logged so far."""
        return self.log_path.read_text("utf-8", "replace")

    def files(self) -> list[Path]:
        """Return the agents' files in the user's home directory."""
        return sorted(self.user_home.rglob("*"))


class Told:
    """What the brain was told of the tasks of a play."""

    def __init__(self, brain: BrainThread, play: Play, worker: str | None = "") -> None:
        self._brain = brain.brain
        self._play = play
        self._worker = play.worker_name if worker == "" else worker

    def row(self, name: str) -> dict | None:
        """Return the row of a task, or None while there is none."""
        row = self._brain.task("celery", self._play.ids[name])
        return None if row is None else msgspec.structs.asdict(row)

    def events(self, name: str) -> Events:
        """Return the events of a task in the order they arrived."""
        return [msgspec.structs.asdict(each) for each in self._brain.events(self._play.ids[name])]

    def event(self, name: str, kind: str) -> dict:
        """Return the only event of a kind."""
        (found,) = [each for each in self.events(name) if each["kind"] == kind]
        return found

    def problems(self, *names: str) -> list[str]:
        """Say in what the brain's view of these scenarios differs from the truth."""
        scenarios = [scenario for scenario in SCENARIOS if scenario.name in names]
        assert len(scenarios) == len(names)
        return [
            f"{each.name}: {problem}"
            for each in scenarios
            for problem in differences(
                each,
                self.row(each.name),
                self.events(each.name),
                worker=self._worker,
                is_ordered=True,
            )
        ]

    def is_told(self, *names: str) -> bool:
        """Whether the brain's view of these scenarios is the truth."""
        return not self.problems(*names)

    def has_ended(self, *names: str) -> bool:
        """Whether the brain knows the end of these tasks."""
        ends = {"success", "failure", "revoked"}
        return all((row := self.row(name)) and row["state"] in ends for name in names)

    def kinds(self, name: str) -> Counter[str]:
        """Count the events of a task by kind, short."""
        return Counter(each["kind"].partition(".")[2] for each in self.events(name))

    def trace_problems(self, *names: str) -> list[str]:
        """Say where events of one task are not in one trace, or of one run not in one span."""
        found = []
        for name in names:
            events = self.events(name)
            if len({each["data"].get("trace_id") for each in events}) != 1 or not self.traces(name):
                found.append(f"{name}: {[each['data'].get('trace_id') for each in events]}")
            runs = {
                (each["data"]["attempt"], each["data"].get("span_id"))
                for each in events
                if each["kind"] not in {"task.sent", "task.received"}
            }
            if len(runs) != len({attempt for attempt, _ in runs}):
                found.append(f"{name}: start and end of a run differ in their span: {runs}")
        return found

    def traces(self, name: str) -> set[str]:
        """Return the traces that a task's events name."""
        return {each["data"].get("trace_id") for each in self.events(name)} - {None}
