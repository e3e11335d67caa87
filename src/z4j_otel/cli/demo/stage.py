"""The processes of a demo: a worker and a publisher, as a user would start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from z4j_otel.errors import Z4JOtelError

__all__ = ["WORKER_NAME", "Stage", "StageError", "instrumented"]

WORKER_NAME = "shop@demo"
_APP = "z4j_otel.cli.workload.app"
_STOP_S = 30.0


class StageError(Z4JOtelError):
    """A process of the demo did not do its part."""

    def __init__(self, what: str, log: str) -> None:
        super().__init__(what, log)
        self.what = what
        self.log = log

    def __str__(self) -> str:
        return f"{self.what}\n{self.log}"


class Stage:
    """One prefork worker under ``opentelemetry-instrument``, and publishers beside it."""

    def __init__(
        self,
        folder: Path,
        agent: Mapping[str, str],
        *,
        broker: str | None = None,
        worker_options: tuple[str, ...] = ("--pool=prefork", "--concurrency=2"),
        variables: Mapping[str, str] | None = None,
        app: str = _APP,
        is_wrapped: bool = True,
        worker_name: str = WORKER_NAME,
        cwd: Path | None = None,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            folder: Where the broker's messages, the results, the agent's files and the
                worker's log go.
            agent: Variables that lead the agent to its brain.
            broker: Broker URL; the embedded filesystem broker when None.
            worker_options: What to pass to ``celery worker``.
            variables: More variables for both processes.
            app: Module of the worker's application.
            is_wrapped: Whether the worker runs under ``opentelemetry-instrument``; if not,
                its application hooks itself.
            worker_name: What the worker calls itself.
            cwd: Where the processes run; in the folder when None.
        """
        self.folder = folder
        self.cwd = cwd or folder
        self.log_path = folder / "worker.log"
        self._broker = broker
        self._options = worker_options
        self._app = app
        self._is_wrapped = is_wrapped
        self._worker_name = worker_name
        self._log_begin = 0
        self.environment = self._environment(agent, variables or {})
        self._worker: subprocess.Popen[bytes] | None = None

    def _environment(self, agent: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("Z4J_", "OTEL_"))}
        broker = {"Z4J_OTEL_DEMO_BROKER": self._broker} if self._broker else {}
        return {
            **own,
            "OTEL_TRACES_EXPORTER": "z4j",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_SERVICE_NAME": "shop",
            "Z4J_HOME": str(self.folder / "home"),
            "Z4J_ENVIRONMENT": "demo",
            "Z4J_OTEL_DEMO_DIR": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            **broker,
            **agent,
            **more,
        }

    def __enter__(self) -> Stage:  # noqa: PYI034 -- Self needs Python 3.11
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the worker; it is ready some seconds later."""
        celery = instrumented("celery")[0 if self._is_wrapped else 1 :]
        with self.log_path.open("ab") as log:
            self._log_begin = log.tell()
            self._worker = subprocess.Popen(  # noqa: S603 -- our own module
                [*celery, "-A", self._app, "worker", "--hostname", self._worker_name,
                 "--loglevel=INFO", *self._options],
                env=self.environment, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def worker_pid(self) -> int:
        """The worker's main process."""
        assert self._worker is not None
        return self._worker.pid

    @property
    def has_worker(self) -> bool:
        """Whether the worker's main process lives."""
        return self._worker is not None and self._worker.poll() is None

    def is_ready(self) -> bool:
        """Whether the worker takes tasks.

        Raises:
            StageError: It has ended.
        """
        assert self._worker is not None
        if self._worker.poll() is not None:
            raise StageError("the worker ended", self.log())
        return b" ready." in self.log_path.read_bytes()[self._log_begin :]

    def publish(self, *names: str) -> dict[str, str]:
        """Run a publisher that sends scenarios, each once.

        Args:
            names: Which; all when none is named.

        Returns:
            The id of the task to look at, by scenario.

        Raises:
            StageError: The publisher failed.
        """
        printed = self.run("-m", "z4j_otel.cli.workload.client", str(self.folder), *names)
        ids: dict[str, str] = json.loads(printed)
        return ids

    def run(self, *arguments: str) -> str:
        """Run Python under ``opentelemetry-instrument`` to its end, beside the worker.

        Args:
            arguments: What to pass to the interpreter.

        Returns:
            What it printed.

        Raises:
            StageError: It failed.
        """
        done = subprocess.run(  # noqa: S603 -- our own module
            [*instrumented("python"), *arguments],
            env=self.environment, cwd=self.cwd, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StageError("the publisher failed", done.stderr)
        return done.stdout

    def revoke(self, task_id: str) -> None:
        """Revoke a waiting task, as ``celery control revoke`` does."""
        code = (
            "import sys; from z4j_otel.cli.workload.app import app; app.control.revoke(sys.argv[1])"
        )
        subprocess.run(  # noqa: S603 -- our own code
            [sys.executable, "-c", code, task_id], env=self.environment, cwd=self.cwd, check=True
        )

    def stop(self, signal_number: int = signal.SIGTERM) -> int | None:
        """Stop the worker; its agent delivers what is left.

        Args:
            signal_number: SIGTERM stops warmly, SIGQUIT coldly.

        Returns:
            The worker's exit status; None when it did not run.
        """
        if self._worker is None:
            return None
        if self._worker.poll() is None:
            self._worker.send_signal(signal_number)
            try:
                self._worker.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._worker.pid, signal.SIGKILL)
                self._worker.wait()
        return self._worker.returncode

    def kill(self, *, whole_group: bool) -> None:
        """SIGKILL the worker's main process, or with it all its children at once."""
        assert self._worker is not None
        (os.killpg if whole_group else os.kill)(self._worker.pid, signal.SIGKILL)
        self._worker.wait()

    def log(self, lines: int = 40) -> str:
        """Return the end of the worker's log."""
        text = self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def instrumented(program: str) -> list[str]:
    """Return the command line that runs a program of our environment instrumented.

    Args:
        program: Its name beside the interpreter; ``python`` is the interpreter itself.
    """
    folder = Path(sys.executable).parent
    target = sys.executable if program == "python" else str(folder / program)
    return [str(folder / "opentelemetry-instrument"), target]
