"""The processes of one run: a worker, a publisher, beat, the tools of the command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .places import QUEUE, plant

__all__ = ["ROOT", "Scene"]

ROOT = Path(__file__).parent.parent.parent
_BIN = Path(sys.executable).parent
_STOP_S = 30.0
_TOOLS = {
    "status": ("status", "--json"),
    "status, for people": ("status", "--processes"),
    "buffer show": ("buffer", "show", "--limit", "2000"),
    "buffer export": ("buffer", "export"),
    "redact": ("redact", "--preview", "--buffer", "--last", "2000"),
    "redact, for programs": ("redact", "--preview", "--buffer", "--last", "2000", "--json"),
    "config": ("config",),
    "config, for programs": ("config", "--json"),
    "doctor": ("doctor", "--json"),
    "doctor, of the app": ("doctor", "--json", "-A", "tests.canary.app"),
    "doctor, for people": ("doctor", "-A", "tests.canary.app"),
}


class Scene:
    """One worker's world in one folder; a context manager that ends its processes."""

    def __init__(
        self,
        folder: Path,
        agent: Mapping[str, str],
        *,
        broker: str,
        results: str,
        spans: Mapping[str, str],
        without: str | None,
        agent_host: str = "thread",
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            folder: Where all files go.
            agent: Variables that lead the agent to its brain.
            broker: The broker's URL.
            results: The result backend's URL.
            spans: Variables that lead OpenTelemetry's own exporter to its receiver.
            without: The rule to run without.
            agent_host: Where the agent lives: ``thread`` or ``process``.
        """
        self.folder, self.home = folder, folder / "home"
        self._without = without
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        temporary = folder / "tmp"
        temporary.mkdir()
        own = {k: v for k, v in os.environ.items() if not k.startswith(("Z4J_", "OTEL_"))}
        self.environment = {
            **own,
            **agent,
            **spans,
            "OTEL_TRACES_EXPORTER": "otlp,z4j",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_RESOURCE_ATTRIBUTES": plant("resource attribute").content(),
            "Z4J_HOME": str(self.home),
            "Z4J_LOG_LEVEL": "DEBUG",
            "Z4J_AGENT_HOST": agent_host,
            "Z4J_TAGS": plant("tag").content(),
            "Z4J_AGENT_NAME": plant("agent's name").content(),
            "Z4J_ENVIRONMENT": plant("name of the deployment").content(),
            "Z4J_WORKER_ROLE": plant("worker's role").content(),
            "OTEL_SERVICE_NAME": plant("name of the service").content(),
            "Z4J_HEARTBEAT_SECONDS": "1",
            "PAYMENT_PASSWORD": plant("environment").secret,
            "CANARY_FOLDER": str(folder),
            "CANARY_BROKER": broker,
            "CANARY_RESULTS": results,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(temporary),
            "C_FORCE_ROOT": "1",
        }

    def __enter__(self) -> Scene:  # noqa: PYI034 -- Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._processes):
            self.stop(name)

    def worker(self, name: str = "worker") -> None:
        """Start a worker that has the agent; it is ready some seconds later."""
        queues = f"{QUEUE},{plant('queue name').content()}"
        self._start(
            name, "worker", "--pool=prefork", "--concurrency=2", "--loglevel=CRITICAL",
            "-Q", queues, "--hostname", plant("worker's host name").content(),
        )  # fmt: skip

    def schedules(self) -> None:
        """Make the database of schedules."""
        command = [sys.executable, "-m", "tests.canary.database"]
        subprocess.run(command, env=self.environment, cwd=ROOT, check=True)

    def beat(self) -> None:
        """Start beat."""
        self._start("beat", "beat", "--loglevel=CRITICAL", CANARY_BEAT="1")

    def publish(self) -> dict[str, str]:
        """Send every plant once, wait for the tasks to end; return their ids by plant."""
        return self._told("publisher", self._launched("python", "-m", "tests.canary.client"))

    def trace(self) -> dict[str, str]:
        """Run the program whose spans tell of tasks; return their ids by plant."""
        plain = [sys.executable, "-m", "tests.canary.foreign"]
        rule = [sys.executable, "-m", "tests.canary.launch", self._without or "", "python"]
        return self._told("tracer", [*rule, *plain[1:]] if self._without else plain)

    def _told(self, name: str, command: Sequence[str]) -> dict[str, str]:
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, check=False
        )
        (self.folder / f"{name}.log").write_bytes(done.stderr)
        if done.returncode:
            raise RuntimeError(f"the {name} failed:\n{done.stderr.decode()[-4000:]}")
        ids: dict[str, str] = json.loads(done.stdout)
        return ids

    def stop(self, name: str) -> None:
        """End a process of this scene as an operator would."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def is_alive(self, name: str = "worker") -> bool:
        """Tell whether a process of this scene runs."""
        return name in self._processes and self._processes[name].poll() is None

    def log(self, name: str = "worker") -> str:
        """Return what a process printed."""
        path = self.folder / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def logs(self) -> Iterator[tuple[str, bytes]]:
        """Yield what each process printed."""
        for path in sorted(self.folder.glob("*.log")):
            yield path.name, path.read_bytes()

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield every file that an agent has made."""
        for below in (self.home, self.folder / "tmp"):
            for path in sorted(below.rglob("*")):
                with contextlib.suppress(FileNotFoundError):  # rotated away meanwhile
                    if path.is_file():
                        yield str(path.relative_to(self.folder)), path.read_bytes()
                    yield str(path.relative_to(self.folder)), str(path).encode()

    def tools(self, names: Sequence[str] = tuple(_TOOLS)) -> Iterator[tuple[str, bytes]]:
        """Yield what tools of the command line print."""
        for name in names:
            done = subprocess.run(
                [_BIN / "z4j-otel", *_TOOLS[name]],
                env=self.environment, cwd=self.folder, capture_output=True, check=False,
            )  # fmt: skip
            yield name, done.stdout + done.stderr

    def _start(self, name: str, *arguments: str, **variables: str) -> None:
        command = self._launched("celery", "-q", "-A", "tests.canary.app", *arguments)
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, env={**self.environment, **variables}, cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def _launched(self, program: str, *arguments: str) -> list[str]:
        if self._without:
            return [sys.executable, "-m", "tests.canary.launch", self._without, program, *arguments]
        target = sys.executable if program == "python" else str(_BIN / program)
        return [str(_BIN / "opentelemetry-instrument"), target, *arguments]
