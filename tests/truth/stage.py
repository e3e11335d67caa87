"""The processes of one cell of the table: the demo's, with an application that has more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from z4j_otel.cli.demo.stage import WORKER_NAME, Stage, StageError

__all__ = ["APP", "MemoryStage", "TruthStage"]

APP = "truth.app"
_ANSWER_S = 60.0
_TESTS = Path(__file__).parent.parent
_CODE = "import sys; from truth.app import app; app.control."
_BY_STAMP = f"{_CODE}revoke_by_stamped_headers({{'customer': ['c-17']}})"
_BY_ID = f"{_CODE}revoke(sys.argv[1])"


class TruthStage(Stage):
    """A worker and publishers that know every scenario."""

    def __init__(
        self,
        folder: Path,
        agent: Mapping[str, str],
        *,
        broker: str | None = None,
        worker_options: tuple[str, ...] = ("--pool=prefork", "--concurrency=2"),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare; nothing runs yet. The arguments are those of the demo's stage."""
        path = os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        super().__init__(
            folder,
            agent,
            broker=broker,
            worker_options=worker_options,
            # Celery refuses pickle to a worker that runs as root, as in a container.
            variables={**(variables or {}), "PYTHONPATH": path, "C_FORCE_ROOT": "1"},
            app=APP,
        )

    def publish(self, *names: str) -> dict[str, str]:
        """Send scenarios, each once; return the ids of the tasks to look at."""
        ids: dict[str, str] = json.loads(self.run("-m", "truth.client", str(self.folder), *names))
        return ids

    def revoke(self, task_id: str) -> None:
        """Revoke a waiting task, as ``celery control revoke`` does."""
        self._control(_BY_ID, task_id)

    def revoke_by_stamp(self) -> None:
        """Revoke what is stamped with the customer of the scenario."""
        self._control(_BY_STAMP)

    def _control(self, code: str, *arguments: str) -> None:
        command = [sys.executable, "-c", code, *arguments]
        subprocess.run(command, env=self.environment, cwd=self.folder, check=True)


class MemoryStage(TruthStage):
    """A worker and a publisher in one process, for the memory broker."""

    _orders = 0

    def start(self) -> None:
        """Start the process; the worker is ready some seconds later."""
        program = Path(sys.executable).with_name("opentelemetry-instrument")
        command = [program, sys.executable, "-m", "truth.in_memory", "--hostname", WORKER_NAME]
        with self.log_path.open("ab") as log:
            self._worker = subprocess.Popen(
                [*command, "--loglevel=INFO", *self._options],
                env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def publish(self, *names: str) -> dict[str, str]:
        """Send scenarios, each once; return the ids of the tasks to look at."""
        ids: dict[str, str] = self._order("publish", *names)
        return ids

    def revoke(self, task_id: str) -> None:
        """Revoke a waiting task."""
        self._order("revoke", task_id)

    def revoke_by_stamp(self) -> None:
        """Revoke what is stamped with the customer of the scenario."""
        self._order("revoke_by_stamp")

    def _order(self, *order: str) -> Any:
        path = self.folder / f"order-{self._orders}.json"
        answer = self.folder / f"answer-{self._orders}.json"
        self._orders += 1
        path.with_suffix(".part").write_text(json.dumps(order), "utf-8")
        path.with_suffix(".part").rename(path)
        deadline = time.monotonic() + _ANSWER_S
        while not answer.exists():
            self.is_ready()  # raises when the process has ended
            if time.monotonic() > deadline:
                raise StageError("the publisher does not answer", self.log())
            time.sleep(0.05)
        return json.loads(answer.read_text("utf-8"))
