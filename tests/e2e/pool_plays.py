"""Workers started in every way a pool and a program allow, each told of to one brain.

Celery sleeps for seconds when a worker stops, so the plays run a few at a time; a test looks
at what came of one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage

APPS = Path(__file__).parent / "apps"
WAIT_S = 90.0
TASKS = 6
PUBLISH = f"""
from pools_app import app
print(*[app.tasks["shop.add"].delay(n, 1).id for n in range({TASKS})])
"""
RAN = {"sent": 1, "received": 1, "started": 1, "succeeded": 1}
DONE = b" succeeded in "


class Scene:
    """A folder, a brain of its own, and programs in both ways of set-up."""

    def __init__(self, folder: Path, brain: EmbeddedBrain, hook: str = "", **variables: str):
        """Prepare; ``hook`` says how the app hooks itself, nothing means that it is wrapped."""
        path = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])
        hooks = {"POOLS_HOOK": hook, "Z4J_OTEL_TEST_HOOK": "1"} if hook else {}
        self.folder, self.brain, self.is_wrapped = folder, brain, not hook
        self.variables = {"PYTHONPATH": path, **hooks, **variables}
        self.rows = brain._thread.brain
        self.processes: list[subprocess.Popen] = []
        """What was started, in order."""

    def stage(self, *options: str, app: str = "pools_app", **variables: str) -> Stage:
        """Return a worker's stage that is not started."""
        return Stage(
            self.folder,
            self.brain.environment(),
            worker_options=options,
            variables={**self.variables, **variables},
            app=app,
            is_wrapped=self.is_wrapped,
        )

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line of a program, wrapped where the scene is."""
        path = sys.executable if program == "python" else str(Path(sys.executable).parent / program)
        wrapper = [str(Path(sys.executable).with_name("opentelemetry-instrument"))]
        return [*(wrapper if self.is_wrapped else []), path, *arguments]

    def start(self, log: str, program: str, *arguments: str) -> subprocess.Popen:
        """Start a program that writes to a log of its own."""
        with (self.folder / log).open("wb") as out:
            started = subprocess.Popen(
                self.command(program, *arguments),
                env=self.stage().environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.processes.append(started)
        return started

    def run(self, program: str, *arguments: str) -> str:
        """Run a program to its end and return what it printed."""
        done = subprocess.run(
            self.command(program, *arguments),
            env=self.stage().environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def publish(self) -> list[str]:
        """Publish a few tasks and return their ids."""
        return self.run("python", "-c", PUBLISH).split()

    def count(self, text: bytes, *logs: str) -> int:
        """Count how often logs say something."""
        paths = [self.folder / log for log in logs]
        return sum(path.read_bytes().count(text) for path in paths if path.exists())

    def wait(self, is_true, what: str) -> None:
        """Wait for real processes to do something."""
        deadline = time.monotonic() + WAIT_S
        while not is_true():
            if time.monotonic() > deadline:
                logs = {path.name: path.read_text()[-2000:] for path in self.folder.glob("*.log")}
                raise AssertionError(f"no {what} in {WAIT_S} s: {logs}")
            time.sleep(0.05)

    def stories(self, ids, engine: str = "celery") -> Counter:
        """Count the stories of tasks: how many of each kind of event, and the final state."""
        return Counter(self._story(engine, task_id) for task_id in ids)

    def _story(self, engine: str, task_id: str):
        row = self.rows.task(engine, task_id)
        kinds = Counter(event.kind.partition(".")[2] for event in self.rows.events(task_id))
        return (row and row.state, tuple(sorted(kinds.items())))

    def left(self) -> list[str]:
        """Return the names of what agents left in their home.

        Which schedules were told, and by whom, is kept for the next owner.
        """
        names = {path.name for path in (self.folder / "home").iterdir()}
        return sorted(name for name in names if not name.startswith("schedules-"))

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for path in self.folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)


def whole(count: int, **more: int) -> Counter:
    """Return the stories of tasks that all ran once and were told once, with further kinds."""
    return Counter({("success", tuple(sorted({**RAN, **more}.items()))): count})


def children_of(pid: int, program: str) -> list[int]:
    """Return the processes that a process started and that run a program."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid and program in (path / "cmdline").read_text():
                found.append(int(path.name))
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
